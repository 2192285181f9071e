"""Arithmetic problems for the demo, and a held-out suite that shares none of them, commuted twins included."""

import random
from collections.abc import Iterator
from typing import Any, Literal

from rl import held_out as sides
from rl.held_out import Row, Split

SYMBOLS = {"add": "+", "multiply": "*"}
HELD_OUT_SHARE = 0.5

# How a small model is asked: one worked example shows both the box and the way to it.
SYSTEM = "You answer arithmetic questions. Put the final number in \\boxed{}."
EXAMPLES = (
    {"role": "user", "content": "What is 3 + 4?"},
    {"role": "assistant", "content": "3 + 4 = \\boxed{7}"},
)

Kind = Literal["add", "multiply"]


def problem(
    rng: random.Random, *, split: Split = "train", add_up_to: int = 19, multiply_up_to: int = 12
) -> dict[str, Any]:
    """A random problem of a split; half are additions of 0..add_up_to, half products of 1..multiply_up_to.

    Raises ValueError for an unknown split, and for ranges so small that the split holds no problem.
    """

    def make() -> tuple[bool, Row]:
        kind: Kind = rng.choice(("add", "multiply"))
        low, high = (0, add_up_to) if kind == "add" else (1, multiply_up_to)
        a, b = rng.randint(low, high), rng.randint(low, high)
        return is_held_out(kind, a, b), row(kind, a, b)

    return sides.row_of(split, make, f"problem in {add_up_to=}, {multiply_up_to=}: choose larger ranges")


def conversation(rng: random.Random, **options: Any) -> dict[str, Any]:
    """A solved problem of the training split as a conversation; `options` are those of `problem`."""
    made = problem(rng, **options)
    answer = made["question"].removeprefix("What is ").removesuffix("?") + f" = \\boxed{{{made['reference']}}}"
    return {"messages": [{"role": "user", "content": made["question"]}, {"role": "assistant", "content": answer}]}


def pair(rng: random.Random, **options: Any) -> dict[str, Any]:
    """Two answers to a problem: the result, and none at all; `options` are those of `problem`."""
    made = problem(rng, **options)
    return {"prompt": made["question"], "chosen": f"It is {made['reference']}.", "rejected": "I do not know."}


def held_out(*, add_up_to: int = 19, multiply_up_to: int = 12) -> Iterator[dict[str, Any]]:
    """Every held-out problem once, in an order that mixes kinds and sizes."""
    problems = [("add", a, b) for a in range(add_up_to + 1) for b in range(add_up_to + 1)]
    problems += [("multiply", a, b) for a in range(1, multiply_up_to + 1) for b in range(1, multiply_up_to + 1)]
    for kind, a, b in sorted(problems, key=lambda p: sides.digest("order", *p)):
        if is_held_out(kind, a, b):
            yield row(kind, a, b)


def is_held_out(kind: str, a: int, b: int) -> bool:
    """On which side a problem is. A problem and its commuted twin are on one side."""
    return sides.is_held_out(HELD_OUT_SHARE, "side", kind, min(a, b), max(a, b))


def row(kind: str, a: int, b: int) -> dict[str, Any]:
    value = a + b if kind == "add" else a * b
    return {"question": f"What is {a} {SYMBOLS[kind]} {b}?", "reference": str(value), "task": "math"}
