"""The task `math_int`: literal integers from 0 to 999."""

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest


def judge(response, reference=70, **params):
    return load_tasks()["math_int"].function(
        RewardRequest(task="math_int", response=response, reference=reference, params=params)
    )


@pytest.mark.parametrize("case", load_tasks()["math_int"].cases, ids=lambda case: case.name)
def test_conformance(case):
    assert judge(case.response, **case.params).score == case.score


@pytest.mark.parametrize(
    "answer",
    [
        "70",
        "070",
        "$70$",
        " 70 ",
        "70.",
        "\\text{70}",
        "\uff17\uff10",
        "\u0667\u0660",
        "7\u200b0",
        "n = 70",
        "\\(70\\)",
    ],
)
def test_right(answer):
    assert judge(f"\\boxed{{{answer}}}").score == 1


@pytest.mark.parametrize(
    "answer",
    [
        "71", "-70", "70.0", "0,070", "70,000", "7e1", "35+35", "140/2", "\\sum", "2^6+6", "70 or 71", "70, 71", "7 0",
        "x70", "70x", "seventy", "", "\\frac{140}{2}", "70\\%", "+70", "0x46", "7" * 5000, "70=70", "m=n=70", "七十",
    ],
)  # fmt: skip
def test_wrong(answer):
    assert judge(f"\\boxed{{{answer}}}").score == 0


@pytest.mark.parametrize("reference", [70, 70.0, "70", "070", "$70$", " 70 ", "\uff17\uff10", "70."])
def test_references_that_can_be_read(reference):
    assert judge("\\boxed{70}", reference).score == 1


@pytest.mark.parametrize(
    "reference",
    [None, "", "x", "1000", 1000, -1, 70.5, "70.5", True, [], {}, [70], "35+35", float("nan"), float("inf"), 10**5000],
    ids=lambda reference: repr(reference)[:20] if reference != 10**5000 else "huge",
)
@pytest.mark.parametrize("response", ["\\boxed{70}", ""])
def test_references_that_cannot_be_read_are_unscorable(reference, response):
    result = judge(response, reference)
    assert (result.score, result.status) == (None, "unscorable")


def test_lenient():
    assert judge("The answer is 70.", extract="lenient").score == 1
    assert judge("The answer is 35 + 35.", extract="lenient").score == 0
    assert judge("The answer is 70.").score == 0


@pytest.mark.parametrize("answer", ["070", "70", "$70$", "x=70"])
def test_one_number_is_extracted_alike_so_that_it_is_one_vote(answer):
    assert judge(f"\\boxed{{{answer}}}").extracted == "70"
