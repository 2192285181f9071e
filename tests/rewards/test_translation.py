"""The task `translation`: scores as sacreBLEU gives them, guards, references and params."""

import time

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.overlap import contained, longest_run, repeated, shares_run, tokens

SOURCE = "The old bridge over the river was closed on Monday because of the heavy rain."
TARGET = "Die alte Brücke über den Fluss wurde am Montag wegen des starken Regens gesperrt."
FREE = "Wegen starken Regens ist die alte Flussbrücke am Montag gesperrt worden."


def judge(response, reference=TARGET, question=f"Translate into German: {SOURCE}", **params):
    request = RewardRequest(
        task="translation", question=question, response=response, reference=reference, params=params
    )
    return load_tasks()["translation"].function(request)


@pytest.mark.parametrize("metric", ["chrf", "chrf++", "bleu"])
def test_scores_are_those_of_sacrebleu(metric):
    from sacrebleu.metrics import BLEU, CHRF

    scorer = {"chrf": CHRF(), "chrf++": CHRF(word_order=2), "bleu": BLEU(effective_order=True)}[metric]
    result = judge(FREE, [TARGET, "Die Brücke ist zu."], metric=metric, language="de", length_ratio=[0, 9])
    assert result.score == pytest.approx(scorer.sentence_score(FREE, [TARGET, "Die Brücke ist zu."]).score / 100)
    assert 0 < result.score < 1


def test_a_better_translation_scores_more():
    good, fair = judge(TARGET.replace("gesperrt", "geschlossen")).score, judge(FREE).score
    assert 1 > good > fair > judge("Der Hund schläft heute den ganzen Tag lang unter dem großen Tisch.").score


@pytest.mark.parametrize(
    ("source", "target", "language"),
    [
        ("Das Wetter ist heute schön, wir gehen spazieren.", "今天天气很好，我们去散步。", "zh"),
        ("Das Wetter ist heute schön, wir gehen spazieren.", "今日は天気がいいので、散歩に行きます。", "ja"),
        ("Das Wetter ist heute schön, wir gehen spazieren.", "Сегодня хорошая погода, мы идём гулять.", "ru"),
        ("今天天气很好，我们去散步。", "The weather is nice today, so we are going for a walk.", "en"),
    ],
)
@pytest.mark.parametrize("metric", ["chrf", "bleu"])
def test_a_reference_scores_1_in_every_script_and_the_source_0(source, target, language, metric):
    def score(answer):
        return judge(answer, target, source, language=language, metric=metric, length_ratio=[0.1, 10]).score

    assert (score(target), score(source)) == (1, 0)


def test_a_source_that_the_reference_repeats_may_be_repeated():
    assert judge("Angela Merkel, Berlin 2005", "Angela Merkel, Berlin 2005", "Angela Merkel, Berlin 2005").score == 1


def test_half_the_source_is_a_copy():
    half = f"{SOURCE[:41]} {TARGET[42:]}"
    assert judge(half).score == 0
    assert "copies the source" in judge(half).reason


def test_the_source_may_be_the_last_message_or_a_param():
    messages = [{"role": "user", "content": "Translate what follows."}, {"role": "user", "content": SOURCE}]
    assert judge(SOURCE, question=messages).score == 0
    assert judge(SOURCE, question="", source=SOURCE).score == 0


@pytest.mark.parametrize("reference", [None, "", "  ", 7, [], [TARGET, ""], [TARGET, None], {"text": TARGET}, "..."])
def test_references_that_cannot_be_read_are_unscorable(reference):
    assert judge(TARGET, reference).status == "unscorable"


@pytest.mark.parametrize(
    "params",
    [{"metric": "ter"}, {"language": "xx"}, {"language": 7}, {"length_ratio": 2}, {"length_ratio": [2, 1]},
     {"min_language": 2}, {"min_language": "x"}, {"length_ratio": [True, 2]}, {"candidates": ["xx"]}, {"metric": []},
     {"source": 7}],
)  # fmt: skip
def test_params_that_cannot_be_used_are_named(params):
    with pytest.raises(ValueError, match=f"params.{next(iter(params))}"):
        judge(TARGET, **params)


def test_overlap():
    words, source = tokens("The cat sat, on the MAT!"), tokens("a cat sat on the mat again")
    assert words == ["the", "cat", "sat", "on", "the", "mat"]
    assert tokens("我爱你 2 times") == ["我", "爱", "你", "2", "times"]
    assert (longest_run(words, source), longest_run([], source)) == (5, 0)
    assert shares_run(words, source, 5)
    assert not shares_run(words, source, 6)
    assert contained(words, source, 3) == 3 / 4
    assert contained([], source, 3) == contained(words, [], 3) == 0
    assert repeated(tokens("a b a b a b"), 2) == 3 / 5


@pytest.mark.parametrize("piece", ["a", "a b ", "字", ". ", "\u0301", "\u200b", "Die alte Brücke. "])
def test_time_is_linear(piece):
    def seconds(size):
        text = (piece * size)[:size]
        start = time.perf_counter()
        judge(text, text, length_ratio=[0, 9])
        return time.perf_counter() - start

    seconds(100)
    small, large = min(seconds(2_000) for _ in range(2)), min(seconds(16_000) for _ in range(2))
    assert large < 30 * small + 0.2
