"""The task `qa_f1`: shares of words, after SQuAD's normalisation."""

import importlib
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.token_overlap import overlap, words


def judge(response, reference, **params):
    return load_tasks()["qa_f1"].function(
        RewardRequest(task="qa_f1", response=response, reference=reference, params=params)
    )


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("the cat sat", "a cat", 2 / 3),
        ("cat cat", "cat", 2 / 3),
        ("cat", "cat cat", 2 / 3),
        ("dog", "cat", 0),
        ("U.S.", "us", 1),
        ("1,000", "1,000", 1),
        ("no", "yes", 0),
        ("noanswer", "no answer", 0),
        ("東京都", "東京", 4 / 5),
        ("in 1990", 1990, 2 / 3),
    ],
)
def test_scores(answer, reference, f1):
    assert judge(answer, reference).score == f1


def test_the_best_reference_counts():
    result = judge("Goethe", ["Friedrich Schiller", "Goethe"])
    assert (result.score, result.components["exact"]) == (1, 1)


@pytest.mark.parametrize("reference", [None, "", "...", [], ["x", ""], True, {}, [["x"]]])
def test_references_without_words_are_unscorable(reference):
    result = judge("x", reference)
    assert (result.score, result.status) == (None, "unscorable")


def test_a_long_reference_may_be_answered_at_length():
    text = " ".join(f"w{number}" for number in range(100))
    assert judge(text, text).score == 1
    assert judge(text, text, max_words=99).score == 0
    assert judge(f"{text} {text} more", text).score == 0


@pytest.mark.parametrize("params", [{"max_words": 0}, {"max_words": "9"}, {"max_words": True}, {"take": "last"}])
def test_parameters_that_cannot_be_used(params):
    with pytest.raises(ValueError, match=r"params\.(max_words|take)"):
        judge("x", "x", **params)


PHRASE = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=3), min_size=1, max_size=6).map(" ".join)


@given(answer=PHRASE, reference=PHRASE)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_agrees_with_the_evaluation_of_squad(answer, reference):
    squad = importlib.import_module("transformers.data.metrics.squad_metrics")
    ours, theirs = words(answer), squad.normalize_answer(answer).split()
    if {"yes", "no"} & {answer, reference} or ours != theirs or not words(reference):
        return
    if words(reference) == squad.normalize_answer(reference).split():
        assert overlap(ours, words(reference)).f1 == pytest.approx(squad.compute_f1(reference, answer))


def test_time_is_linear_in_the_length():
    def seconds(length):
        start = time.perf_counter()
        words("a, b. " * (length // 6))
        return time.perf_counter() - start

    short, long = min(seconds(12_500) for _ in range(3)), min(seconds(100_000) for _ in range(3))
    assert long < 8 * 4 * short + 0.05
