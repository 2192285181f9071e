"""What each task must say of honest, empty, forged, hostile and look-alike responses."""

import pytest

from rewards.extraction import extract_answer
from rewards.registry import load_tasks
from rewards.response import MAX_SPAN_CHARS, BoundExceeded, clean, last_boxed, split_response
from rewards.tasks.math import math
from rewards.types import RewardRequest
from rewards.verifiers.math import UnreadableReference, verify_math

TASKS = load_tasks()
CASES = [(task, case) for task in TASKS.values() for case in task.cases]


@pytest.mark.parametrize(("task", "case"), CASES, ids=[f"{task.name}: {case.name}" for task, case in CASES])
def test_conformance(task, case):
    request = task.request(case)
    answer = task.judge(request)
    num_calls = len(answer) if isinstance(answer, list) else 0
    assert num_calls == len(case.replies), "one reply a call, and none where no call is made"
    assert (task.judge(request, case.replies) if num_calls else answer).score == case.score


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        ("7", 7, True),
        ("7.0", "7", True),
        ("7", 7.0, True),
        ("-5", "5", False),
        ("1{,}234", "1234", True),
        ("\\frac12", "0.5", True),
        ("1\\frac{1}{2}", "3/2", True),
        ("1.2 \\times 10^{3}", "1200", True),
        ("0.3333333", "1/3", False),
        ("0.707107", "\\frac{1}{\\sqrt{2}}", True),
        ("0.707", "\\frac{1}{\\sqrt{2}}", False),
        ("\\sqrt{2}/2", "\\frac{1}{\\sqrt{2}}", True),
        ("x+1", "1+x", True),
        ("X+1", "1+x", False),
        ("5 cm", "5", False),
        ("5", "5\\text{ cm}", True),
        ("5 m", "5 cm", False),
        ("50", "50\\%", True),
        ("0.5", "50\\%", True),
        ("50\\%", "0.5", True),
        ("50", "0.5", False),
        ("x=5", "5", True),
        ("2 = 3", "3", False),
        ("(1,2)", "$(1,2)$", True),
        ("(2,1)", "(1,2)", False),
        ("\\{2,1\\}", "\\{1,2\\}", True),
        ("[1,2)", "[1,2]", False),
        ("2^{10}", "1024", True),
        ("2+2", "4", False),
        ("2\\cdot 2", "4", False),
        ("3!", "6", False),
    ],
)
def test_equality(answer, reference, equal):
    assert verify_math(answer, reference).equal is equal


def test_unevaluated_answers_pass_where_allowed():
    assert verify_math("2+2", "4", evaluated=False).equal


@pytest.mark.parametrize(
    "hostile",
    ["9^{9^{9^9}}", "9**9**9**9", "(10^8)!", "{" * 20000, "(" * 40 + "1" + ")" * 40, "9" * 10_000, "1," * 2000],
)
def test_monsters_are_wrong_and_the_reason_names_the_bound(hostile):
    verdict = verify_math(hostile, "7")
    assert not verdict.equal
    assert verdict.reason


def test_an_unreadable_reference_is_our_failure():
    with pytest.raises(UnreadableReference):
        verify_math("1", "")
    result = math(RewardRequest(task="math", response="\\boxed{1}", reference=""))
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is 12.", "12"),
        ("3 + 4 = 7", "7"),
        ("The sum of 3 and 4 is 7.", "7"),
        ("so we have 12 apples", "12"),
        ("first 3, then \\boxed{4}", "4"),
        ("nothing", None),
        ("<think>5", None),
    ],
)
def test_lenient_extraction(response, answer):
    assert extract_answer(response, "lenient") == answer


def test_boxes():
    assert last_boxed("\\boxed{1} and \\boxed{\\frac{1}{2}}") == "\\frac{1}{2}"
    assert last_boxed("\\fbox{3}") == "3"
    assert last_boxed("\\boxed 7.") == "7"
    assert last_boxed("\\boxed{1} \\boxed{2") is None
    assert last_boxed("none") is None
    with pytest.raises(BoundExceeded):
        last_boxed("\\boxed{" + "1" * (MAX_SPAN_CHARS + 1) + "}")


def test_thinking_is_taken_apart():
    response = split_response("<think>\nhm\n</think>\n\nyes")
    assert (response.thinking, response.answer) == ("hm", "yes")
    assert split_response("hm</think>yes").answer == "yes"
    assert split_response("<think>never ends").answer is None


def test_text_is_cleaned():
    assert clean("\uff11\u200b\u0662 \u22123") == "12 -3"
