"""The demo's problems: hundreds held out, and no problem or commuted twin of one on both sides."""

import random

import pytest

from rl import arithmetic


def operands(row):
    a, symbol, b = row["question"].removeprefix("What is ").removesuffix("?").split()
    return symbol, int(a), int(b)


def test_rows_are_plain_and_right():
    assert arithmetic.row("add", 17, 5) == {"question": "What is 17 + 5?", "reference": "22", "task": "math"}
    assert arithmetic.row("multiply", 7, 8)["reference"] == "56"


def test_hundreds_of_distinct_problems_are_held_out_in_a_fixed_order():
    rows = list(arithmetic.held_out())
    assert len({row["question"] for row in rows}) == len(rows) == 270
    assert rows == list(arithmetic.held_out())
    assert {operands(row)[0] for row in rows[:20]} == {"+", "*"}


def test_no_problem_and_no_twin_is_on_both_sides():
    held_out = {operands(row) for row in arithmetic.held_out()}
    rng = random.Random(0)
    train = {operands(arithmetic.problem(rng)) for _ in range(20_000)}
    assert len(train) == 544 - 270
    assert not train & held_out
    assert not {(symbol, b, a) for symbol, a, b in train} & held_out


def test_a_held_out_split_draws_held_out_problems_only():
    held_out = {operands(row) for row in arithmetic.held_out()}
    rng = random.Random(1)
    assert {operands(arithmetic.problem(rng, split="held_out")) for _ in range(500)} <= held_out


def test_ranges_are_kept():
    rng = random.Random(2)
    for symbol, a, b in (operands(arithmetic.problem(rng, add_up_to=9, multiply_up_to=5)) for _ in range(500)):
        low, high = (0, 9) if symbol == "+" else (1, 5)
        assert low <= a <= high
        assert low <= b <= high


def test_the_side_of_a_problem_never_changes():
    sides = {("add", 3, 8): False, ("add", 0, 0): False, ("multiply", 2, 3): True, ("multiply", 12, 12): True}
    assert {key: arithmetic.is_held_out(*key) for key in sides} == sides


def test_the_worked_example_is_not_held_out():
    questions = {row["question"] for row in arithmetic.held_out()}
    assert not questions & {message["content"] for message in arithmetic.EXAMPLES}


@pytest.mark.timeout(10)
def test_arithmetic_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="known are train, held_out"):
        arithmetic.problem(random.Random(0), split="heldout")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no held_out problem"):
        arithmetic.problem(random.Random(0), split="held_out", add_up_to=0, multiply_up_to=1)


def test_every_reference_is_right():
    value = {"+": int.__add__, "*": int.__mul__}
    rng = random.Random(3)
    rows = [*arithmetic.held_out(), *(arithmetic.problem(rng) for _ in range(20_000))]
    for row in rows:
        symbol, a, b = operands(row)
        assert row["reference"] == str(value[symbol](a, b))
