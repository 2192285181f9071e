"""The repetition penalty: nothing for prose and tables, more for loops, however their numbers change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.penalties import filler_share, repeated_share, repetition_penalty
from tests.rewards.timing import assert_linear

PROSE = (
    "The tide is the rise and fall of the sea, caused by the pull of the moon and, to a lesser degree, of the sun. "
    "Twice a day the water climbs the shore; twice a day it leaves the sand bare for gulls, children and crabs. "
    "Where bays are narrow, as in Fundy, the difference can reach sixteen metres, while inland seas hardly move."
)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "no no no", PROSE, "你好。" * 3,
        "\n".join(f"{n} x 7 = {7 * n}" for n in range(200)),  # a table of numbers
        "\n".join(f"| {n} | {n * n} | {n**3} |" for n in range(200)),
        " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(600)),
    ],
)  # fmt: skip
def test_honest_texts_have_none(text):
    assert repetition_penalty(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "wait " * 200, "ha" * 2_000, "\n".join([PROSE] * 12), "!" * 5_000, "a." + "- " * 3_000, "我想想。" * 100,
        "\n".join(f"So in step {n} we add {n} and get {n + 7}, which is not the answer." for n in range(100)),
        "\n".join(f"Let me check case {n}: it fails." for n in range(100)),
        " ".join(f"In the {w} try we fail once more." for w in ("first", "second", "third", "tenth") * 20),
        "Wait\u200b, " * 200,
    ],
)  # fmt: skip
def test_loops_have_most_of_it(text):
    assert repetition_penalty(text) < -0.6


def test_a_copy_has_some():
    assert -0.5 < repetition_penalty(PROSE + " " + PROSE) < -0.2


def test_it_grows_with_each_copy():
    penalties = [repetition_penalty(" ".join([PROSE] * copies)) for copies in (1, 2, 3, 5, 10, 50)]
    assert penalties == sorted(penalties, reverse=True)
    assert penalties[-1] < -0.95


def test_one_word_for_ever_has_all_of_it():
    assert repetition_penalty("wait " * 1_000) == -1


@given(st.text(max_size=500))
def test_bounds(text):
    assert -1 <= repetition_penalty(text) <= 0
    assert 0 <= repeated_share(text) <= 1
    assert 0 <= filler_share(text) <= 1


@pytest.mark.parametrize("text", ["a", "a ", "!", "1 ", "\n", "ha"])
def test_time_is_linear(text):
    assert_linear(repetition_penalty, lambda length: text * (length // len(text)))
