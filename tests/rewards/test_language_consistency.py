"""The task `language_consistency`: languages, names, what is no prose, limits."""

import subprocess
import sys
import time

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.prose import prose, reads_as_prose, sentences

TEXTS = {
    "en": "The meeting was moved to Thursday because two members of the board are travelling. Please tell the others "
    "before noon, so that nobody waits in front of a closed door.",
    "de": "Die Sitzung wurde auf Donnerstag verlegt, weil zwei Mitglieder des Vorstands verreist sind. Bitte sag den "
    "anderen vor Mittag Bescheid, damit niemand vor verschlossener Tür wartet.",
    "fr": "La réunion a été déplacée à jeudi parce que deux membres du conseil sont en voyage. Merci de prévenir les "
    "autres avant midi, pour que personne n'attende devant une porte fermée.",
    "es": "La reunión se ha trasladado al jueves porque dos miembros de la junta están de viaje. Avisa a los demás "
    "antes del mediodía, para que nadie espere delante de una puerta cerrada.",
    "it": "La riunione è stata spostata a giovedì perché due membri del consiglio sono in viaggio. Avvisa gli altri "
    "prima di mezzogiorno, così nessuno aspetta davanti a una porta chiusa.",
    "pt": "A reunião foi adiada para quinta-feira porque dois membros da direção estão em viagem. Avise os outros "
    "antes do meio-dia, para que ninguém espere diante de uma porta fechada.",
    "nl": "De vergadering is verplaatst naar donderdag omdat twee leden van het bestuur op reis zijn. Vertel het de "
    "anderen vóór de middag, zodat niemand voor een gesloten deur staat.",
    "pl": "Spotkanie przeniesiono na czwartek, ponieważ dwóch członków zarządu jest w podróży. Powiedz o tym innym "
    "przed południem, żeby nikt nie czekał przed zamkniętymi drzwiami.",
    "tr": "Toplantı perşembe gününe alındı çünkü yönetim kurulunun iki üyesi seyahatte. Lütfen öğleden önce "
    "diğerlerine haber ver, böylece kimse kapalı bir kapının önünde beklemez.",
    "vi": "Cuộc họp đã được dời sang thứ năm vì hai thành viên của hội đồng đang đi công tác. Hãy báo cho những người "
    "khác trước buổi trưa để không ai phải đợi trước cánh cửa đóng.",
    "id": "Rapat dipindahkan ke hari Kamis karena dua anggota dewan sedang bepergian. Tolong beri tahu yang lain "
    "sebelum tengah hari supaya tidak ada yang menunggu di depan pintu yang tertutup.",
    "ru": "Собрание перенесли на четверг, потому что два члена правления в отъезде. Пожалуйста, скажи остальным до "
    "полудня, чтобы никто не ждал перед закрытой дверью.",
    "uk": "Збори перенесли на четвер, бо двоє членів правління у від'їзді. Будь ласка, скажи іншим до полудня, щоб "
    "ніхто не чекав перед зачиненими дверима.",
    "ar": "تم نقل الاجتماع إلى يوم الخميس لأن اثنين من أعضاء المجلس مسافران. أرجو أن تخبر الآخرين قبل الظهر حتى لا "
    "ينتظر أحد أمام باب مغلق.",
    "fa": "جلسه به پنجشنبه منتقل شد چون دو عضو هیئت مدیره در سفر هستند. لطفا پیش از ظهر به دیگران خبر بده تا کسی پشت "
    "در بسته منتظر نماند.",
    "he": "הפגישה הועברה ליום חמישי כי שני חברי הנהלה נמצאים בנסיעה. בבקשה תודיע לאחרים לפני הצהריים.",
    "hi": "बैठक गुरुवार को कर दी गई है क्योंकि बोर्ड के दो सदस्य यात्रा पर हैं। कृपया दोपहर से पहले बाकी लोगों को बता दें।",
    "el": "Η συνάντηση μεταφέρθηκε για την Πέμπτη επειδή δύο μέλη του συμβουλίου ταξιδεύουν.",
    "th": "การประชุมถูกเลื่อนไปเป็นวันพฤหัสบดีเพราะกรรมการสองคนกำลังเดินทาง",
    "ko": "이사 두 명이 여행 중이어서 회의가 목요일로 옮겨졌습니다. 아무도 닫힌 문 앞에서 기다리지 않도록 알려 주세요.",
    "zh": "因为两名董事正在出差，会议改到了星期四。请在中午之前通知其他人，免得有人在关着的门前等候。",
    "ja": "役員二人が出張中のため、会議は木曜日に変更されました。正午までにほかの人に伝えてください。",
}


def judge(response, reference, **params):
    request = RewardRequest(task="language_consistency", response=response, reference=reference, params=params)
    return load_tasks()["language_consistency"].function(request)


@pytest.mark.parametrize("language", TEXTS)
def test_each_language_is_itself_and_no_other(language):
    assert judge(TEXTS[language], language).score == 1
    for other in TEXTS:
        if other != language:
            assert judge(TEXTS[language], other).score < 0.5, other


@pytest.mark.parametrize("language", ["en", "de", "ru", "zh", "ar"])
@pytest.mark.parametrize("other", ["en", "fr", "zh", "ko"])
def test_half_a_text_in_another_language_is_about_half_a_score(language, other):
    if language == other:
        return
    result = judge(f"{TEXTS[language]}\n{TEXTS[other]}", language)
    assert 0.25 < result.score < 0.75
    assert result.reason.startswith(f"not in {language}")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我用 Python 写了一个脚本，它会读取 CSV 文件，然后调用 OpenAI 的接口。", "zh"),
        ("根据 Einstein 的理论，能量等于质量乘以光速的平方，即 $E = mc^2$，这是物理学里最有名的公式。", "zh"),
        ("Мы обучали модель на PyTorch, а затем запускали её на GPU вместе с vLLM в течение недели.", "ru"),
        ("Er sagte „Good morning, ladies and gentlemen“ und verbeugte sich tief vor dem versammelten Publikum.", "de"),
        ("Der Film «La vie en rose» lief gestern Abend im Kino am Marktplatz vor einem vollen Haus.", "de"),
        ("東京にあるGoogleのオフィスで、TensorFlowの開発者と会いました。とても楽しい時間でした。", "ja"),
        ("삼성전자와 LG전자는 오늘 새로운 OLED 제품을 발표했습니다. 가격은 아직 정해지지 않았습니다.", "ko"),
        ("Marie Curie and Pierre Curie discovered radium in Paris, and later she worked with Paul Langevin.", "en"),
        ("# Lösung\n\n- Zuerst rechnen wir die Summe aus.\n- Dann teilen wir sie durch zwei.\n\n\\boxed{7}", "de"),
        ("Zuerst lösen wir $x^2 + 2x = 8$ nach $x$ auf, also $x = 2$ oder $x = -4$, und setzen dann ein.", "de"),
    ],
)
def test_names_terms_and_quotations_are_tolerated(text, language):
    assert judge(text, language).score == 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("因为两名董事正在出差 the meeting was moved to next Thursday afternoon instead 会议改到了", "zh"),
        ("$the meeting was moved to Thursday because two members are travelling$ 好的", "zh"),
        ("`the meeting was moved to Thursday because two members are travelling` 好的", "zh"),
        ("会议 meeting 改到 moved 星期四 Thursday 因为 because 董事 board 出差 travelling 请 please", "zh"),
        ("kaigi wa mokuyoubi ni henkou saremashita node, shougo made ni tsutaete kudasai ne", "en"),
    ],
)
def test_mixtures_and_transliterations_are_foreign(text, language):
    assert judge(text, language).score < 0.7


@pytest.mark.parametrize(
    "text", ["", " ", "42", "\\boxed{42}", "```\nprint(1)\n```", "$x$", "x = 2", "🙂", "https://a.de"]
)
def test_nothing_to_judge_is_0(text):
    assert judge(text, "de").score == 0


@pytest.mark.parametrize("reference", [None, "", 7, [], ["de", 7], "klingon", "xx", {"de": 1}, ["de", "xx"]])
def test_references_that_are_no_language_are_unscorable(reference):
    assert judge("Guten Tag", reference).status == "unscorable"


@pytest.mark.parametrize("reference", ["de", "DE", "de-CH", "de_AT", ["de"]])
def test_codes_are_read_leniently(reference):
    assert judge(TEXTS["de"], reference).score == 1


@pytest.mark.parametrize(
    "params",
    [{"threshold": 2}, {"threshold": "0.5"}, {"threshold": True}, {"names": -1}, {"part": "all"}, {"candidates": "xx"},
     {"candidates": 3}],
)  # fmt: skip
def test_params_that_cannot_be_used_are_named(params):
    with pytest.raises(ValueError, match=f"params.{next(iter(params))}"):
        judge("Guten Tag", "de", **params)


def test_a_threshold_makes_the_share_a_verdict():
    text = f"{TEXTS['de']} {TEXTS['de']} {TEXTS['en']}"
    share = judge(text, "de").score
    assert 0.4 < share < 0.9
    assert judge(text, "de", threshold=share - 0.05).score == 1
    assert judge(text, "de", threshold=share + 0.05).score == 0


def test_close_languages_are_told_apart_where_they_are_named():
    danish = "Mødet er flyttet til torsdag, fordi to medlemmer af bestyrelsen er ude at rejse i denne uge."
    assert judge(danish, "da").score == 1
    assert judge(danish, "sv").score == 0


def test_prose_is_what_is_left():
    assert prose("a `x` b $y$ c https://d.e/f?g=h i <b>j</b>").split() == ["a", "b", "c", "i", "j"]
    assert prose("one\n```python\nx = 1\n```\ntwo\n~~~\ny = 2").split() == ["one", "two"]
    assert not reads_as_prose("for i in range(10): total += values[i] * weights[i]")
    assert reads_as_prose("the quick brown fox jumps over it")
    assert sentences("One. Two! 三。四？\nFive") == ["One.", "Two!", "三", "四", "Five"]
    assert max(len(piece.split()) for piece in sentences("word " * 1000)) <= 24


@pytest.mark.parametrize(
    "piece",
    ["$", "`", "```\n", "\\(", "\\[", "\\begin{a}", "<a", "www.", "a@", "a.", "(", "[", "](", "\"", "“", "_", "\\",
              "字", "a b ", "Die Antwort ist sieben. ", "\n"]
)  # fmt: skip
def test_time_is_linear(piece):
    def seconds(size):
        text = (piece * size)[:size]
        start = time.perf_counter()
        judge(text, "de")
        return time.perf_counter() - start

    seconds(1000)
    small, large = min(seconds(20_000) for _ in range(2)), min(seconds(160_000) for _ in range(2))
    assert large < 30 * small + 0.2


def test_memory_stays_far_below_the_limit_of_a_worker():
    code = (
        "from tests.rewards.test_language_consistency import TEXTS, judge\n"
        "for language, text in TEXTS.items(): judge(text * 20, language)\n"
        # The peak of this process alone: ru_maxrss starts with that of the one that forked it.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    )
    used = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(used) / 1024 < 1024
