"""IFEval's instructions: which texts follow them, how references are read, and where the published checkers agree."""

# ruff: noqa: E501 (tables)

import importlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.instructions import UnreadableInstruction, loose_variants, read_constraints
from rewards.verifiers.instructions_ifeval import IFEVAL
from rewards.verifiers.segmentation import prepare
from tests.rewards.timing import assert_linear

# id, arguments, texts that follow it, texts that do not
FOLLOWED = [
    ("keywords:existence", {"keywords": ["tide", "full moon"]},
     ["At full\nmoon the TIDE is high.", "A full moon: tide, high and spring alike."],
     ["The tide is high.", "full moon tide", "full moon tide full moon tide now", "Full moons make tides of all kinds."]),
    ("keywords:frequency", {"keyword": "tide", "frequency": 2, "relation": "at least"},
     ["This tide and that tide are not the same."], ["The tide and the tidewater differ.", "tide tide", "One tide rises."]),
    ("keywords:frequency", {"keyword": "tide", "frequency": 2, "relation": "less than"},
     ["One tide rises.", "The tidewater and the tide."], ["This tide and that tide are not the same.", "tide tide"]),
    ("keywords:forbidden_words", {"forbidden_words": ["sun", "big bang"]},
     ["A sunny day with a big\u00a0bag."], ["The SUN.", "A big  bang.", "The s\u00fan.", "s\u00adun up", "\u0455un up", "(sun)"]),
    ("keywords:letter_frequency", {"letter": "Z", "let_frequency": 4, "let_relation": "at least"},
     ["Zigzag pizza.", "zzz and z"], ["zzzzzzzz", "pizza"]),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "less than"},
     ["No!"], ["No!!", "No! No!"]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"},
     ["It rose. It fell.", "Dr. Li sat. He slept."], ["Dr. Li sat.", "It rose.", ". . . It rose."]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"},
     ["It cost 3.5 dollars.", "It rose"], ["It rose. It fell."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2},
     ["one\n***\ntwo", "one *** two", "***\none\n\n***\n\ntwo\n***"],
     ["one", "one\n\ntwo", "one\n***\n\n***\ntwo", "one\n***\n...", "one ***two*** is one", "one\n****\ntwo"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"},
     ["one two three"], ["one two", "one - - two", "_ _ _ one"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"},
     ["one two"], ["one two three", "w" * 60]),
    ("length_constraints:nth_paragraph_first_word", {"first_word": "weekend", "num_paragraphs": 2, "nth_paragraph": 2},
     ["one\n\n\n\nWeekend comes.", 'one\n\n"Weekend," she said', "one\n\n**weekend** is it"],
     ["one\n\nweekends come", "weekend\n\none", "one\n\nweekend\n\nthree", "one\nweekend"]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2},
     ["[name] at [the address]"], ["[name]", "[ ] [x]", "[a link](b) [another](c)", "[1] [2]", "[name] [", "[] []"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."},
     ["Body.\nP.S. more", "Body.\n\n**P. S.** more", "Body.\np.s. more\n\nand more"],
     ["P.S. more", "Body. P.S. more", "Body.\nP.S.", "Body.\nPS more", "Body.\nP.P.S. more"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"},
     ["Body.\nP.P.S more", "Body.\nP.P.S. more"], ["Body.\nP.S. more", "Body.\nP.P.S"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2},
     ["* one\n* two", "Text:\n- one\n  - two\nText."],
     ["* one", "* one\n* two\n* three", "* one\n---\n", "*one* and\n*two*", "* \n* ", "* one * two"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 0}, ["None."], ["* one"]),
    ("detectable_format:constrained_response", {},
     ["My answer is no.", "My answer is maybe. It depends."],
     ["No.", "my answer is perhaps.", "My answer is yes. My answer is no. My answer is maybe."]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     ["*one* and **two**", "* a *b* c *d*"], ["*one*", "** ** and * *", "* one * two *", "*one\ntwo*", "3 * 4 * 5 * 6", "***"]),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2},
     ["Section 1\nText.\nSection 2\nText.", "## Section 1: a\n**Section 2**\nb"],
     ["Section 1\nSection 2\n", "Section 1\na\nSection 1\nb", "See Section 1 and Section 2.", "Sections 1\na\nSections 2\nb"]),
    ("detectable_format:json_format", {},
     ['{"a": 1}', '[1, "b"]', '```json\n{"a": [1]}\n```', '```\n{"a": "```"}\n```'],
     ["5", "{}", "[]", "{'a': 1}", '{"a": NaN}', 'Here: {"a": 1}', '{"a": 1} done', '{"a": 1', "[" * 1_000 + "]" * 1_000,
      '{"a": ' * 60_000, "[" + "9" * 50_000 + "]"]),
    ("detectable_format:title", {}, ["<<A title>>\nText.", "# <<Title>>"], ["<<>>", "<< >> a", "<A title>", "<<A\ntitle>>", ">>a<<"]),
    ("combination:two_responses", {},
     ["One.\n******\nTwo.", "******\nOne.\n******\nTwo.\n******"],
     ["One.", "One.\n******\none!", "One.\n******\n", "a\n******\nb\n******\nc", "a\n***\nb", "a\n*******\nb"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a sea."},
     ["Name a sea.\n\nThe Red Sea.", "name  a SEA. The Red Sea."],
     ["Name a sea.", "The Red Sea. Name a sea.", "Name a sea. ...", "Name the sea. Red."]),
    ("startend:end_checker", {"end_phrase": "That is all."},
     ["The Red Sea. That is all.", 'Red. "that is  all."', "Red. **That is all.**"],
     ["That is all.", "That is all. Or not?", "Red. That is all", "\"That is all.\""]),
    ("startend:quotation", {},
     ['"The Red Sea."', "“The Red Sea.”", '"He said "no" to us."'], ['"', '""', '"Red', "Red", "'Red'", '"..."']),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"},
     ["The RED and BLUE sea.", "NASA's and ESA's"], ["The RED sea.", "RED-blue and Blue"]),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "less than"},
     ["The RED sea."], ["RED AND BLUE"]),
    ("change_case:english_capital", {},
     ["THE SEA IS BLUE, AND THE SKY ABOVE IT IS BLUE AS WELL ON MOST DAYS OF THE YEAR."],
     ["The sea is blue.", "LE CIEL EST BLEU ET LA MER AUSSI PARCE QUE LA LUMIÈRE EST DIFFUSÉE PAR L'AIR.", "123 456"]),
    ("change_case:english_lowercase", {},
     ["the sea is blue, and the sky above it is blue as well on most days of the year."],
     ["The sea is blue.", "le ciel est bleu et la mer aussi parce que la lumière est diffusée par l'air.", "123"]),
    ("punctuation:no_comma", {}, ["Red; blue."], ["Red, blue.", "Red\uff0c blue.", "Red、blue", "1,000 seas", "\u060c a"]),
]  # fmt: skip
RIGHT = [(name, arguments, text) for name, arguments, right, _ in FOLLOWED for text in right]
WRONG = [(name, arguments, text) for name, arguments, _, wrong in FOLLOWED for text in wrong]


def judge(text, *constraints, **params):
    return load_tasks()["ifeval"].function(
        RewardRequest(task="ifeval", response=text, reference=list(constraints), params=params)
    )


@pytest.mark.parametrize(("name", "arguments", "text"), RIGHT)
def test_followed(name, arguments, text):
    assert judge(text, {"id": name, **arguments}).score == 1


@pytest.mark.parametrize(("name", "arguments", "text"), WRONG)
def test_not_followed(name, arguments, text):
    assert judge(text, {"id": name, **arguments}).score == 0


def test_all_25_are_there():
    assert len(IFEVAL) == 25
    assert {name for name, *_ in FOLLOWED} | {"language:response_language"} == set(IFEVAL)


@pytest.mark.parametrize("name", sorted(IFEVAL))
def test_nothing_follows_nothing(name):
    arguments = next((arguments for known, arguments, *_ in FOLLOWED if known == name), {"language": "en"})
    for text in ("", " ", "...", "\u200b", "*", "<think>", "<think>a</think>"):
        assert judge(text, {"id": name, **arguments}).score == 0


def test_published_format():
    empty = {"num_words": None, "relation": None, "keywords": None}
    reference = {
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [empty, {**empty, "num_words": 2.0, "relation": "at least"}],
    }
    constraints = read_constraints(reference, IFEVAL)
    assert [constraint.id for constraint in constraints] == reference["instruction_id_list"]
    assert constraints[1].arguments == {"num_words": 2, "relation": "at least"}
    as_text = '[{"id": "punctuation:no_comma"}, {"id": "startend:quotation", "kwargs": null}]'
    assert len(read_constraints(as_text, IFEVAL)) == 2
    nested = [{"id": "keywords:existence", "kwargs": {"keywords": ["a"]}}]
    assert read_constraints(nested, IFEVAL)[0].arguments == {"keywords": ["a"]}


@pytest.mark.parametrize(
    "reference",
    [
        None, 7, "", "no JSON", "[" * 100_000, [], {}, ["punctuation:no_comma"], [{"id": "unknown:thing"}], [{"id": 7}],
        {"instruction_id_list": []}, {"instruction_id_list": "punctuation:no_comma"},
        {"instruction_id_list": ["x"], "kwargs": [{}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}, {}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": ["a"]},
        [{"id": "punctuation:no_comma", "extra": 1}],
        [{"id": "keywords:existence"}], [{"id": "keywords:existence", "keywords": []}],
        [{"id": "keywords:existence", "keywords": "moon"}], [{"id": "keywords:existence", "keywords": [" "]}],
        [{"id": "keywords:letter_frequency", "letter": "ab", "let_frequency": 1, "let_relation": "at least"}],
        [{"id": "keywords:letter_frequency", "letter": "a", "let_frequency": 0, "let_relation": "at least"}],
        [{"id": "length_constraints:number_words", "num_words": 0, "relation": "at least"}],
        [{"id": "length_constraints:number_words", "num_words": 1.5, "relation": "at least"}],
        [{"id": "length_constraints:number_words", "num_words": True, "relation": "at least"}],
        [{"id": "length_constraints:number_words", "num_words": float("nan"), "relation": "at least"}],
        [{"id": "length_constraints:number_words", "num_words": 5, "relation": "about"}],
        [{"id": "length_constraints:number_words", "num_words": 5}],
        [{"id": "length_constraints:nth_paragraph_first_word", "first_word": "a", "num_paragraphs": 1, "nth_paragraph": 2}],
        [{"id": "language:response_language", "language": "xx"}],
        [{"id": "detectable_content:postscript", "postscript_marker": "..."}],
        [{"id": "punctuation:no_comma"}] * 51,
    ],
)  # fmt: skip
def test_unreadable_references_are_unscorable(reference):
    result = load_tasks()["ifeval"].function(RewardRequest(task="ifeval", response="A sea.", reference=reference))
    assert (result.score, result.status) == (None, "unscorable")
    with pytest.raises(UnreadableInstruction):
        read_constraints(reference, IFEVAL)


@pytest.mark.parametrize("params", [{"mode": "lenient"}, {"reward": "some"}, {"mode": None}])
def test_unknown_params_are_errors(params):
    with pytest.raises(ValueError, match=r"params\."):
        judge("A sea.", {"id": "punctuation:no_comma"}, **params)


def test_components_name_each_instruction():
    one, other = ({"id": "keywords:existence", "keywords": [word]} for word in ("moon", "tide"))
    result = judge("The moon is up.", one, other, {"id": "punctuation:no_comma"}, reward="fraction")
    assert result.components == {"keywords:existence": 1, "keywords:existence#2": 0, "punctuation:no_comma": 1}
    assert result.score == 2 / 3
    assert result.reason == "not followed: keywords:existence"


def test_loose_variants_are_ifevals_eight():
    assert set(loose_variants("*a*\nb\n*c*")) == {
        "*a*\nb\n*c*", "b\n*c*", "*a*\nb", "b", "a\nb\nc", "b\nc", "a\nb",
    }  # fmt: skip
    assert judge('Sure:\n"Red."', {"id": "startend:quotation"}, mode="loose").score == 1
    assert judge("Sure!", {"id": "startend:quotation"}, mode="loose").score == 0


LANGUAGES = {
    "en": "The sea is rising because the ice of the north is melting faster than anybody expected.",
    "es": "El mar está subiendo porque el hielo del norte se derrite más rápido de lo que nadie esperaba.",
    "pt": "O mar está subindo porque o gelo do norte está derretendo mais rápido do que qualquer um esperava.",
    "fr": "La mer monte parce que la glace du nord fond plus vite que ce que tout le monde attendait.",
    "de": "Das Meer steigt, weil das Eis im Norden schneller schmilzt, als irgendjemand erwartet hatte.",
    "it": "Il mare sta salendo perché il ghiaccio del nord si scioglie più velocemente di quanto si pensasse.",
    "pl": "Morze się podnosi, ponieważ lód na północy topnieje szybciej, niż ktokolwiek się spodziewał.",
    "vi": "Nước biển đang dâng lên vì băng ở phương bắc tan nhanh hơn mọi người dự kiến rất nhiều.",
    "sw": "Bahari inapanda kwa sababu barafu ya kaskazini inayeyuka haraka kuliko mtu yeyote alivyotarajia.",
    "fi": "Meri nousee, koska pohjoisen jää sulaa nopeammin kuin kukaan osasi odottaa viime vuosina.",
    "ru": "Море поднимается, потому что лёд на севере тает быстрее, чем кто-либо ожидал в последние годы.",
    "uk": "Море піднімається, тому що лід на півночі тане швидше, ніж хтось очікував останніми роками.",
    "bg": "Морето се покачва, защото ледът на север се топи по-бързо, отколкото някой е очаквал през годините.",
    "ar": "يرتفع البحر لأن الجليد في الشمال يذوب بسرعة أكبر مما كان يتوقعه أي شخص في السنوات الأخيرة.",
    "fa": "دریا بالا می‌آید زیرا یخ‌های شمال سریع‌تر از آنچه هر کسی انتظار داشت در حال آب شدن هستند.",
    "ur": "سمندر بلند ہو رہا ہے کیونکہ شمال کی برف کسی کی بھی توقع سے زیادہ تیزی سے پگھل رہی ہے۔",
    "hi": "समुद्र का स्तर बढ़ रहा है क्योंकि उत्तर की बर्फ किसी की भी उम्मीद से तेज़ी से पिघल रही है।",
    "mr": "समुद्राची पातळी वाढत आहे कारण उत्तरेकडील बर्फ कोणाच्याही अपेक्षेपेक्षा वेगाने वितळत आहे.",
    "ne": "समुद्रको सतह बढिरहेको छ किनभने उत्तरको हिउँ कसैले सोचेको भन्दा छिटो पग्लिरहेको छ।",
    "bn": "সমুদ্রের উচ্চতা বাড়ছে কারণ উত্তরের বরফ যে কারো প্রত্যাশার চেয়ে দ্রুত গলছে।",
    "ja": "北の氷が誰もが予想したよりも速く溶けているため、海面が上昇しています。",
    "zh": "由于北方的冰融化得比任何人预期的都快，海平面正在上升。",
    "ko": "북쪽의 얼음이 누구의 예상보다도 빨리 녹고 있기 때문에 바다가 높아지고 있습니다.",
    "th": "ทะเลกำลังสูงขึ้นเพราะน้ำแข็งทางเหนือละลายเร็วกว่าที่ทุกคนคาดไว้",
    "he": "הים עולה משום שהקרח בצפון נמס מהר יותר ממה שמישהו ציפה.",
    "ta": "வடக்கின் பனி எதிர்பார்த்ததை விட வேகமாக உருகுவதால் கடல் மட்டம் உயர்கிறது.",
    "te": "ఉత్తరాన మంచు ఊహించిన దానికంటే వేగంగా కరుగుతున్నందున సముద్రం పెరుగుతోంది.",
    "kn": "ಉತ್ತರದ ಹಿಮವು ನಿರೀಕ್ಷೆಗಿಂತ ವೇಗವಾಗಿ ಕರಗುತ್ತಿರುವುದರಿಂದ ಸಮುದ್ರ ಏರುತ್ತಿದೆ.",
    "ml": "വടക്കൻ മഞ്ഞ് പ്രതീക്ഷിച്ചതിലും വേഗത്തിൽ ഉരുകുന്നതിനാൽ കടൽ ഉയരുന്നു.",
    "gu": "ઉત્તરનો બરફ અપેક્ષા કરતાં ઝડપથી ઓગળી રહ્યો હોવાથી સમુદ્ર વધી રહ્યો છે.",
    "pa": "ਉੱਤਰ ਦੀ ਬਰਫ਼ ਉਮੀਦ ਨਾਲੋਂ ਤੇਜ਼ੀ ਨਾਲ ਪਿਘਲ ਰਹੀ ਹੈ ਇਸ ਲਈ ਸਮੁੰਦਰ ਵੱਧ ਰਿਹਾ ਹੈ।",
}  # fmt: skip


@pytest.mark.parametrize("code", LANGUAGES)
def test_languages(code):
    for other, text in LANGUAGES.items():
        assert judge(text, {"id": "language:response_language", "language": code}).score == (other == code), other


@pytest.mark.parametrize(
    ("text", "code", "score"),
    [
        ("Oui, merci.", "fr", 1), ("The sea is blue.", "fr", 0), ("The sea, and the shore of it.", "fr", 0), ("Danke schön!", "de", 1), ("Sí.", "es", 1), ("Yes.", "ru", 0), ("Да.", "ru", 1),
        (LANGUAGES["fr"] + "\n\n" + LANGUAGES["en"], "fr", 0), ("Oui. " + LANGUAGES["en"], "fr", 0),
        ("Voici le code :\n```python\nfor sea in seas: print(sea)\n```\nIl affiche chaque mer de la liste.", "fr", 1),
        ("Voir https://example.com/the/sea/is/rising pour en savoir plus sur la montée des eaux.", "fr", 1),
        ("東京大学の学生です。", "ja", 1), ("我是学生。", "ja", 0), ("私は学生です。", "zh", 0), ("123", "en", 0),
        ("GPT-4 ist ein Modell von OpenAI aus den USA.", "de", 1),
    ],
)  # fmt: skip
def test_languages_of_short_and_mixed_texts(text, code, score):
    assert judge(text, {"id": "language:response_language", "language": code}).score == score


def test_languages_do_not_hang_on_chance():
    text = "Das ist not the same, c'est tout."
    verdicts = {judge(text, {"id": "language:response_language", "language": "en"}).score for _ in range(20)}
    assert len(verdicts) == 1


PROSE = [
    "The tide rises twice a day. It falls twice a day, too! Why does it do so?\n\nThe moon pulls at the sea.",
    "* Buy milk\n* Call mum\n* Sleep",
    "<<On tides>>\n\nTides are *regular* and **strong**. They move *sand*.\n\nP.S. They move boats as well.",
    '"The sea is calm tonight."',
    "SECTION 1\nThe sea.\nSECTION 2\nThe shore.",
    "First part of it.\n***\nSecond part of it.\n***\nThird part of it.",
    "Dear [name],\n\nwe meet at [place] on [date].\n\nYours",
    '{"sea": "red", "size": 438000}',
    "My answer is maybe.",
    "One answer is the moon.\n******\nAnother answer is the sun.",
    "THE SEA IS BLUE AND THE SKY ABOVE IT IS BLUE AS WELL ON MOST DAYS OF THE YEAR.",
    "the sea is blue and the sky above it is blue as well on most days of the year.",
    "La mer monte parce que la glace du nord fond plus vite que ce que tout le monde attendait.",
    "Why is the sea salty?\nRivers carry salt into it. Is there anything else I can help with?",
]
ASKED = [
    ("keywords:existence", {"keywords": ["sea", "sky"]}), ("keywords:existence", {"keywords": ["tide"]}),
    ("keywords:frequency", {"keyword": "twice", "frequency": 2, "relation": "at least"}),
    ("keywords:frequency", {"keyword": "sea", "frequency": 2, "relation": "less than"}),
    ("keywords:forbidden_words", {"forbidden_words": ["moon", "milk"]}),
    ("keywords:letter_frequency", {"letter": "s", "let_frequency": 5, "let_relation": "at least"}),
    ("keywords:letter_frequency", {"letter": "e", "let_frequency": 9, "let_relation": "less than"}),
    ("language:response_language", {"language": "fr"}),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
    ("length_constraints:number_words", {"num_words": 12, "relation": "at least"}),
    ("length_constraints:number_words", {"num_words": 9, "relation": "less than"}),
    ("length_constraints:nth_paragraph_first_word", {"first_word": "tides", "num_paragraphs": 3, "nth_paragraph": 2}),
    ("detectable_content:number_placeholders", {"num_placeholders": 3}),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}), ("detectable_format:constrained_response", {}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 3}),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}),
    ("detectable_format:json_format", {}), ("detectable_format:title", {}), ("combination:two_responses", {}),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why is the sea salty?"}),
    ("startend:end_checker", {"end_phrase": "Is there anything else I can help with?"}), ("startend:quotation", {}),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}),
    ("change_case:english_capital", {}), ("change_case:english_lowercase", {}), ("punctuation:no_comma", {}),
]  # fmt: skip


STRICTER = {
    ("keywords:existence", PROSE[2]),
    ("detectable_format:json_format", PROSE[3]),
}  # docs/instructions.md says why


@pytest.mark.parametrize(("name", "arguments"), ASKED)
def test_the_published_checkers_agree(name, arguments):
    registry = importlib.import_module("if_verifiable.ifeval.instructions_registry")
    importlib.import_module("langdetect").DetectorFactory.seed = 0
    random.seed(0)
    published = registry.INSTRUCTION_DICT[name](name)
    published.build_description(**arguments)
    (constraint,) = read_constraints([{"id": name, **arguments}], IFEVAL)
    try:
        theirs = {text for text in PROSE if published.check_following(text)}
    except LookupError:
        pytest.skip("needs data that NLTK downloads")
    ours = {text for text in PROSE if constraint.holds(prepare(text))}
    assert ours
    assert {(name, text) for text in ours ^ theirs} <= STRICTER


HOSTILE = ["*", "* ", "**a", "[", "[a", "<<", "<<a>", "P.S.", "p. s. ", "Section 1 ", "Section 1\n", "***\n", "******\n", '"', '{"a":',
           "\n", "\n\n", "```\n", "a,", "z", "A ", "é", "猫", "\u0430", "tide ", "tid", "Name a sea."]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear(unit):
    constraints = [
        read_constraints([{"id": name, **arguments}], IFEVAL)[0]
        for name, arguments, *_ in FOLLOWED
        if not name.startswith(("language", "change_case:english"))
    ]

    def check(text):
        for constraint in constraints:
            constraint.instruction.check(text, **constraint.arguments)

    assert_linear(check, lambda length: "a" + unit * (length // len(unit)))


@given(st.text(), st.sampled_from([(name, arguments) for name, arguments, *_ in FOLLOWED if "english" not in name]))
def test_any_text_has_a_verdict(text, asked):
    name, arguments = asked
    result = judge(text, {"id": name, **arguments}, mode="loose")
    assert result.score in (0, 1)
