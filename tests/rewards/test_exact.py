"""The task `exact`: text against text."""

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest


def judge(response, reference, **params):
    return load_tasks()["exact"].function(
        RewardRequest(task="exact", response=response, reference=reference, params=params)
    )


@pytest.mark.parametrize("case", load_tasks()["exact"].cases, ids=lambda case: case.name)
def test_conformance(case):
    assert judge(case.response, case.reference or ["Paris", "City of Paris"], **case.params).score == case.score


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("paris", "Paris"), ("The Beatles", "Beatles"), ("U.S.", "US"), ("don't", "dont"), ("7", 7), ("7", 7.0),
        ("7.5", 7.5), ("-5", -5), ("A.", "A"), ("(a)", "A"), ("vitamin A", "Vitamin A"), ("}])", "}])"), ("+", "+"),
        ("cat", ["dog", "cat"]), ("\uff21\uff22", "ab"), ("True", True), ("x\n y", "x y"), ("3.5", "3.5."),
        ("the", "The"), ("Straße", "strasse"),
        # punctuation that only looks like an operator
        ("well-known", "well known"), ("Paris - France", "Paris, France"), ("Paris!", "Paris"), ("Yes!", "yes"),
        ("- Paris", "Paris"), ("* 5", "5"), ("**Paris**", "Paris"), ("# Paris", "Paris"), ("> Paris", "Paris"),
        ("Apollo-11", "Apollo 11"), ("+5", "5"), ("= 5", "5"), ("5**", "5"), ("pre- and postwar", "pre and postwar"),
        # operators, however they are spaced
        ("- 5", "-5"), ("-$5", "- $5"), ("x + y", "x+y"), ("x = -5", "x=-5"), ("10 - 5", "10-5"), ("5 %", "5%"),
        ("a / b", "a/b"), ("< 5", "<5"), ("C++.", "C++"), ("x - 5", "x-5"), ("O-", "o-"),
    ],
)  # fmt: skip
def test_right(answer, reference):
    assert judge(answer, reference).score == 1


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("5", "-5"), ("35", "3.5"), ("3 5", "3.5"), ("12", "1/2"), ("1 2", "1/2"), ("}}", "}])"), (")", "}"),
        ("vitamin", "vitamin A"), ("a or b", "a"), ("not a cat", "cat"), ("cat, dog", ["cat", "dog"]), ("", "x"),
        ("-", "+"),
        ("- 5", "5"), ("-$5", "$5"), ("<5", "5"), (">5", "<5"), ("> 5", "5"), ("5%", "5"), ("~5", "5"), ("#5", "5"),
        ("5!", "5"), ("n!", "n"), ("x+y", "x-y"), ("x + y", "x - y"), ("a*b", "a/b"), ("a * b", "a b"), ("x^2", "x 2"),
        ("x=5", "x 5"), ("C++", "C"), ("C#", "C"), ("A*", "A"), ("O-", "O+"), ("O-", "O"), ("AB- blood", "AB blood"),
        ("-x", "x"), ("- x", "x"), ("-infinity", "infinity"), ("5, -3", "5-3"), ("below - 5", "below 5"),
        ("<think>cat", "cat"), ("<think>cat</think>", "cat"), ("\u0421at", "cat"), ("The answer is cat", "cat"),
    ],
)  # fmt: skip
def test_wrong(answer, reference):
    assert judge(answer, reference).score == 0


def test_case_may_count():
    assert judge("paris", "Paris", case_sensitive=True).score == 0
    assert judge("The Paris", "Paris", case_sensitive=True).score == 1
    with pytest.raises(ValueError, match=r"params.case_sensitive: 'yes'"):
        judge("paris", "Paris", case_sensitive="yes")


@pytest.mark.parametrize("reference", [None, "", "  ", "\u200b", [], [""], ["x", None], {}, [["x"]]])
@pytest.mark.parametrize("response", ["x", ""])
def test_references_that_cannot_be_read_are_unscorable(reference, response):
    result = judge(response, reference)
    assert (result.score, result.status) == (None, "unscorable")
