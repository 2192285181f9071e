"""Prompts for the environments that ship with the package, and held-out suites that share none of them.

A row names its environment and tells the model of its tools, so that a source needs the generator's name alone. With
`describe: false` it tells nothing of them, for models that have learned of them, or a `system` text that does it.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from rl import held_out as sides
from rl.held_out import Row, Split
from rollout.environments import calculator, ledger
from rollout.environments.tools import describe_tools

HELD_OUT_SHARE = 0.2
HELD_OUT_PROMPTS = 200
NAMES = "ann", "bob", "cyn", "dan", "eve", "fay"


def calculation(
    rng: random.Random, *, split: Split = "train", digits: int = 3, describe: bool = True
) -> dict[str, Any]:
    """`a * b + c` or `a * b - c` of so many digits each; the environment is `calculator`, the task `math`.

    Raises ValueError for an unknown split, and where the split holds no problem.
    """

    def make() -> tuple[bool, Row]:
        a, b, c = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(3))
        sign = rng.choice("+-")
        question = f"What is {a} * {b} {sign} {c}? Put the number in \\boxed{{}}."
        return is_held_out(min(a, b), max(a, b), c, sign), {
            "prompt": _messages(question, calculator.TOOLS if describe else ()),
            "reference": str(a * b + c if sign == "+" else a * b - c),
            "task": "math",
            "environment": {"name": "calculator", "max_turns": 4, "judged": "answer"},
        }

    return sides.row_of(split, make, f"calculation with {digits=}: choose more digits")


def bookkeeping(
    rng: random.Random,
    *,
    split: Split = "train",
    num_accounts: int = 3,
    up_to: int = 9,
    transfers: int = 2,
    describe: bool = True,
) -> dict[str, Any]:
    """Balances that up to so many transfers make of others; the environment is `ledger`, the task `agent_env`.

    Problems that differ by the names and the order of accounts alone are on one side. Raises ValueError as above.
    """
    if not 2 <= num_accounts <= len(NAMES):
        raise ValueError(f"num_accounts must be from 2 to {len(NAMES)}, got {num_accounts}")

    def make() -> tuple[bool | None, Row]:
        names = rng.sample(NAMES, num_accounts)
        start = {name: rng.randint(0, up_to) for name in names}
        goal = dict(start)
        for _ in range(rng.randint(1, transfers)):
            source, target = rng.sample(names, 2)
            amount = rng.randint(0, goal[source])
            goal[source] -= amount
            goal[target] += amount
        pairs = sorted((start[name], goal[name]) for name in names)
        question = f"The accounts hold {_listed(start)}. Make them hold {_listed(goal)}, then close the books."
        return None if goal == start else is_held_out(pairs), {
            "prompt": _messages(question, ledger.TOOLS if describe else ()),
            "reference": {"state": {"accounts": goal, "closed": True}},
            "task": "agent_env",
            "environment": {"name": "ledger", "options": {"accounts": start}},
        }

    remedy = f"bookkeeping with {num_accounts=}, {up_to=}, {transfers=}: choose larger numbers"
    return sides.row_of(split, make, remedy)


def held_out_calculations(*, digits: int = 3) -> Iterator[dict[str, Any]]:
    """Held-out calculations, each once, the same ones always."""
    return _each_once(lambda rng: calculation(rng, split="held_out", digits=digits))


def held_out_bookkeeping(*, num_accounts: int = 3, up_to: int = 9, transfers: int = 2) -> Iterator[dict[str, Any]]:
    """Held-out bookkeeping, each once, the same ones always."""

    def make(rng: random.Random) -> dict[str, Any]:
        return bookkeeping(rng, split="held_out", num_accounts=num_accounts, up_to=up_to, transfers=transfers)

    return _each_once(make)


def is_held_out(*key: Any) -> bool:
    """On which side a problem is, by what makes it the same problem."""
    return sides.is_held_out(HELD_OUT_SHARE, repr(key))


def _each_once(make: Callable[[random.Random], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for seed in range(10 * HELD_OUT_PROMPTS):
        row = make(random.Random(seed))
        question = row["prompt"][-1]["content"]
        if question not in seen:
            seen.add(question)
            yield row
        if len(seen) == HELD_OUT_PROMPTS:
            return


def _messages(question: str, tools: tuple[dict[str, Any], ...]) -> list[dict[str, str]]:
    system = [{"role": "system", "content": describe_tools(tools)}] if tools else []
    return [*system, {"role": "user", "content": question}]


def _listed(accounts: dict[str, int]) -> str:
    return ", ".join(f"{name} {balance}" for name, balance in accounts.items())
