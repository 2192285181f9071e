"""The tasks `mcq` and `multi_select`: which label, or which labels, a response commits to."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.response import clean
from rewards.types import RewardRequest
from rewards.verifiers.choices import committed_text, read_choice, read_options, read_selection

CITIES = ["Lyon", "Paris", "Nice", "Paris-Nord"]


def judge(task, response, reference, **params):
    return load_tasks()[task].function(RewardRequest(task=task, response=response, reference=reference, params=params))


@pytest.mark.parametrize("text", ["B", "b", "(B)", "[B]", "B.",
    "B)", "$B$", "\\text{B}", "\\mathbf{(B)}", "option B", "B. ",
    "B. Paris", "B) Paris", "(B) Paris", "B: paris.", "B - Paris",
    "Paris", "PARIS.", "\uff22", "Ⓑ"])  # fmt: skip
def test_one_choice(text):
    assert read_choice(clean(text), read_options(CITIES)) == "B"


@pytest.mark.parametrize("text", ["", "E", "BB", "A B", "A, B", "B or C", "B and C",
    "B/C", "not B", "B?", "B. Lyon", "B Lyon",
    "B cat", "Paris, Lyon", "Par", "\u0412", "B. Paris, or C", "-B", "B=Paris", "1"])  # fmt: skip
def test_no_choice(text):
    assert read_choice(text, read_options(CITIES)) is None


def test_what_follows_a_label_names_no_other_where_texts_are_unknown():
    options = read_options(4)
    assert read_choice("B. a city", options) == "B"
    assert read_choice("B. or C", options) is None
    assert read_choice("A. B. C. D.", options) is None


def test_equal_texts_choose_nothing():
    assert read_choice("x", read_options(["x", "x", "y"])) is None
    assert read_choice("A. x", read_options(["x", "x", "y"])) == "A"


def test_signs_in_texts_count():
    assert read_choice("x-1", read_options(["x+1", "x-1"])) == "B"


def test_labels_of_ones_own():
    options = read_options({"1": "yes", "2": "no"})
    assert read_choice("2", options) == "2"
    assert judge("mcq", "\\boxed{2}", 2, options={"1": "yes", "2": "no"}).score == 1


@pytest.mark.parametrize("options", [0, 1, 27, True, [], ["a"], ["a", ""], ["a", 1], "AB", {"a": "x", "A": "y"},
    {"AA": "x", "B": "y"}, {}, 2.5])  # fmt: skip
def test_options_that_cannot_be_used(options):
    with pytest.raises(ValueError, match=r"params\.options"):
        judge("mcq", "\\boxed{A}", "A", options=options)


@pytest.mark.parametrize("reference", [None, "", "K", "Berlin", True, 2, [], ["B"], {}])
def test_references_that_cannot_be_read_are_unscorable(reference):
    result = judge("mcq", "\\boxed{B}", reference)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("The answer is A. Wait: the answer is B.", "B."),
        ("**Answer**: B\nbecause", "B"),
        ("Answer:\nB", "B"),
        ("The correct option is (B)", "(B)"),
        ("\\boxed{A} Answer: B", "A"),
        ("<think>Answer: A</think>B", "B"),
        ("<think>Answer: A", None),
        ("", None),
    ],
)
def test_the_last_commitment_counts(response, text):
    assert committed_text(response) == text


@pytest.mark.parametrize(("text", "labels"), [("A, C", "AC"), ("C,A", "AC"),
    ("AC", "AC"), ("A and C", "AC"), ("(a), (c)", "AC"),
    ("A; C", "AC"), ("A & C", "AC"), ("A C", "AC"), ("\\{A, C\\}", "AC"), ("options A and C", "AC"), ("A", "A"),
    ("A. C.", "AC"), ("A, B, and C", "ABC"), ("none", ""), ("\\emptyset", "")])  # fmt: skip
def test_selections(text, labels):
    assert read_selection(text, read_options(4)) == frozenset(labels)


@pytest.mark.parametrize(
    "text", ["", "CA", "AA", "A or C", "A, E", "A, not C", "A cat", "all", "A-C", "A..C", "none, A"]
)
def test_no_selections(text):
    assert read_selection(text, read_options(4)) is None


@pytest.mark.parametrize("reference", [None, 1, ["A", 1], ["K"], {}, "A or C", [["A"]]])
def test_selections_that_cannot_be_references(reference):
    result = judge("multi_select", "\\boxed{A}", reference)
    assert (result.score, result.status) == (None, "unscorable")


def test_f1_needs_to_know_what_selecting_all_gets():
    with pytest.raises(ValueError, match=r"params\.options"):
        judge("multi_select", "\\boxed{A}", ["A"], scoring="f1")
    with pytest.raises(ValueError, match=r"params\.scoring"):
        judge("multi_select", "\\boxed{A}", ["A"], scoring="half")


@given(wanted=st.sets(st.sampled_from("ABCDE"), min_size=1), chosen=st.sets(st.sampled_from("ABCDE"), min_size=1))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_f1_is_one_for_the_very_set_alone_and_nothing_for_all(wanted, chosen):
    score = judge("multi_select", f"\\boxed{{{', '.join(chosen)}}}", sorted(wanted), options=5, scoring="f1").score
    assert 0 <= score <= 1
    assert (score == 1) == (wanted == chosen)
    if chosen == set("ABCDE") != wanted:
        assert score == 0


@pytest.mark.parametrize("task", ["mcq", "multi_select"])
@pytest.mark.parametrize("unit", ["A, ", "answer: ", "answer ", "**", "(", "\\boxed{", "A.", "option ", "{", " "])
def test_time_is_linear_in_the_length(task, unit):
    def seconds(length):
        start = time.process_time()
        judge(task, unit * (length // len(unit)), "A")
        return time.process_time() - start

    seconds(1000)
    short, long = min(seconds(25_000) for _ in range(3)), min(seconds(400_000) for _ in range(3))
    assert long < 16 * 8 * short + 0.05
