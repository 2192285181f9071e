"""A raw response taken apart: thinking, last box, clean text, and the answer it commits to."""

import time
from itertools import product

import pytest

from rewards.extraction import extract_answer
from rewards.response import BoundExceeded, Response, clean, last_boxed, split_response


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("7", "", "7"),
        ("", "", ""),
        ("<think>hm</think>\n\n7", "hm", "7"),
        ("<think>\n\n</think>\n\n7", "", "7"),
        ("hm</think>7", "hm", "7"),
        ("<think>hm", "hm", None),
        ("<think>a</think>b</think>7", "a</think>b", "7"),
        ("<think>a</think>7<think>b", "a", None),
        ("</think>", "", ""),
    ],
)
def test_the_answer_is_what_follows_the_thinking(text, thinking, answer):
    assert split_response(text) == Response(thinking, answer)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("\\boxed{7}", "7"),
        ("\\boxed{1} or \\boxed{ 7 }", "7"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed 7.", "7"),
        ("\\fbox{7}", "7"),
        ("\\boxed {7}", "7"),
        ("\\boxed{}", ""),
        ("\\boxed", ""),
        ("\\boxed{7", None),
        ("\\boxed{6} \\boxed{7", None),
        ("\\boxedfoo{7}", None),
        ("7", None),
        ("", None),
        ("\\boxed{7}" + "x" * 20_000, None),
        ("x" * 20_000 + "\\boxed{7}", "7"),
    ],
)
def test_the_last_balanced_box(text, inside):
    assert last_boxed(text) == inside


def test_a_huge_box_is_beyond_a_bound():
    with pytest.raises(BoundExceeded, match="more than 4096 characters"):
        last_boxed("\\boxed{" + "7" * 5000 + "}")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\uff17\uff10", "70"), ("\u0667", "7"), ("7\u200b0", "70"), ("\u202e7", "7"), ("\u22127", "-7"), (" 7\n", "7"),
        ("½", "1/2"), ("1½", "1 1/2"), ("x²", "x^{2}"), ("10⁻³", "10^{-3}"), ("\u0410", "\u0410"),
    ],
)  # fmt: skip
def test_text_is_made_comparable(text, cleaned):
    assert clean(text) == cleaned


LENIENT = [
    # as small models write
    ("The answer is 12.", "12"), ("The answer is $12$.", "12"), ("The answer is: **12**", "12"), ("Answer: 3/4", "3/4"),
    ("Final answer: 12", "12"), ("The final answer is $\\boxed{12}$", "12"), ("**12**", "12"), ("x = 12", "12"),
    ("12 apples", "12"), ("12.", "12"), ("-5", "-5"), ("`7`", "7"), ("$$7$$", "7"), ("3 + 4 = 7", "7"),
    ("3 + 4 = **7**.", "7"), ("$3 + 4 = 7$", "7"), ("4 + 5 = 9\n", "9"), ("4-5 = -1", "-1"), ("= 7 meters", "7"),
    ("The sum of 3 and 4 is 7.", "7"), ("The product of 3 and -4 is -12.", "-12"), ("The sum is 1,234.", "1,234"),
    ("So the answer is 12 apples.", "12"), ("The answer is 1,234 dollars", "1,234"), ("It costs $5.00.", "5.00"),
    ("The answer is \u22125.", "-5"), ("The answer is:\n\n12", "12"), ("answer is 12\nThank you 5 times", "12"),
    ("The answer is 3.14.", "3.14"), ("The answer is \\(\\frac12\\).", "\\frac12"), ("the answer is x = 12.", "x = 12"),
    ("The answer is \\frac{3}{4}", "\\frac{3}{4}"), ("\\[ x = \\frac{1}{2} \\]", "\\frac{1}{2}"),
    ("The result is $$\\frac{3}{4}$$.", "\\frac{3}{4}"), ("Therefore, $3 \\times 4 = 12$ apples.", "12"),
    ("The answer is 3 + 4 = 7.", "3 + 4 = 7"), ("The answer is 5 because 2+3=6.", "5"), ("Answer: B", "B"),
    ("The answer is not 12, but 13.", "13"), ("so 3*4 = 12, and the total is 12.", "12"), ("2*3=6 and 3*3=9", "9"),
    ("The answer is 12: 3 and 4 make 12", "12"), ("1. First, 3\n2. Then 4\n\nThe result is 7", "7"),
    ("<think>The answer is 3</think>The answer is 7", "7"), ("The answer is 3. No, the answer is 7.", "7"),
    # two answers are kept as two, and judged wrong
    ("The answer is 12 or 13", "12 or 13"), ("The answer is 12 and 13", "12 and 13"),
    ("the answer is $7$ or $8$", "$7$ or $8$"), ("The answer is 3 or 4 apples", "3 or 4 apples"),
    # no answer
    ("", None), ("$\\boxed{}$", None), ("The answer is", None), ("The answer is twelve", None), ("hello", None),
    ("<think>The answer is 7", None), ("7 \\boxed{", "7"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), LENIENT)
def test_lenient_extraction(text, answer):
    assert extract_answer(text, "lenient") == answer


@pytest.mark.parametrize("text", ["The answer is 12.", "3 + 4 = 7", "7", "$7$"])
def test_strict_extraction_takes_a_box_or_nothing(text):
    assert extract_answer(text, "boxed") is None


TOKENS = [
    "answer is ",
    "answer is",
    "**",
    "*",
    " ",
    "$",
    "\\(",
    "=",
    "1,",
    "{",
    ".",
    "\n",
    "or 1",
    "xyz ",
    "\\boxed{",
    "`",
]


def test_extraction_is_linear_on_hostile_text():
    start = time.perf_counter()
    for one, two, end in product(TOKENS, TOKENS, ["", "x" * 300]):
        extract_answer((one * 8000)[:8000] + (two * 8000)[:8000] + end, "lenient")
        extract_answer((one + two) * (16_000 // len(one + two)) + end, "lenient")
    assert time.perf_counter() - start < 30, "1024 texts of 16 kB; one of quadratic cost alone takes longer"


def test_splitting_a_megabyte_is_fast():
    start = time.perf_counter()
    for text in ("<think>" * 140_000, "</think>" * 120_000, "\\boxed{" * 140_000, "7 " * 500_000):
        extract_answer(text, "lenient")
    assert time.perf_counter() - start < 5
