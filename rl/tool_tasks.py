"""Prompts for the environments that ship with the package, and held-out suites that share none of them.

A row names its environment and tells the model of its tools, so that a source needs the generator's name alone. With
`describe: false` it tells nothing of them, for models that have learned of them, or a `system` text that does it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rl import held_out as sides
from rl.held_out import Row, Split
from rollout.chat import THINK_CLOSE, THINK_OPEN
from rollout.environments import calculator, ledger
from rollout.environments.tool_calls import write_call
from rollout.environments.tools import describe_tools

HELD_OUT_SHARE = 0.2
HELD_OUT_PROMPTS = 200
MAX_DIGITS = 9
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


def product(
    rng: random.Random, *, split: Split = "train", digits: Sequence[int] = (2, 2), describe: bool = True
) -> dict[str, Any]:
    """A product of so many digits, to be handed in; the environment is `calculator`, the task `agent_env`.

    A product and its commuted twin are on one side. Raises ValueError as above.
    """

    def make() -> tuple[bool, Row]:
        a, b = _factors(rng, digits)
        return is_held_out("product", min(a, b), max(a, b)), {
            "prompt": _messages(f"What is {a} * {b}?", (*calculator.TOOLS, calculator.HAND_IN) if describe else ()),
            "reference": {"state": {"handed_in": a * b}},
            "task": "agent_env",
            "environment": {"name": "calculator", "options": {"hand_in": True}, "max_turns": 4},
        }

    return sides.row_of(split, make, f"product with {digits=}: choose more digits")


def product_turn(
    rng: random.Random, *, digits: Sequence[int] = (2, 2), guess_share: float = 0.5, thinks: bool = True
) -> dict[str, Any]:
    """A turn that answers a training product: half are first ones, half hand in what was calculated.

    `guess_share` of the first ones hand in at once, as one does who knows it by heart; the others calculate. Where
    the model has think tokens each `thinks`, or Qwen3's template would leave the empty block of the first turn out of
    the second one's past.
    """
    row = product(rng, digits=digits, describe=False)
    question, result = row["prompt"][-1]["content"], row["reference"]["state"]["handed_in"]
    expression = question.removeprefix("What is ").removesuffix("?")
    calculate = _turn(f"{expression}, I ask.", write_call("calculate", expression=expression), thinks)
    if rng.random() < 0.5:
        told = {"role": "tool", "content": calculator.calculate(expression)}
        turns = [calculate, told, _turn(f"It is {result}.", write_call("hand_in", result=result), thinks)]
    elif rng.random() < guess_share:
        turns = [_turn(f"{expression}, I know.", write_call("hand_in", result=result), thinks)]
    else:
        turns = [calculate]
    return {"messages": [*row["prompt"], *turns], "thinking": thinks or None}


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


def _turn(thinking: str, call: str, thinks: bool) -> dict[str, str]:
    block = f"{THINK_OPEN}\n{thinking}\n{THINK_CLOSE}\n\n" if thinks else ""
    return {"role": "assistant", "content": block + call}


def _factors(rng: random.Random, digits: Sequence[int]) -> tuple[int, int]:
    if len(digits) != 2 or not all(isinstance(count, int) and 1 <= count <= MAX_DIGITS for count in digits):
        raise ValueError(f"digits must be two counts from 1 to {MAX_DIGITS}, got {digits!r}")
    a, b = (rng.randrange(10 ** (count - 1), 10**count) for count in digits)
    return (a, b) if rng.random() < 0.5 else (b, a)


def _listed(accounts: dict[str, int]) -> str:
    return ", ".join(f"{name} {balance}" for name, balance in accounts.items())
