"""Environment `calculator`: exact arithmetic as a tool. The final answer ends the episode, or the result handed in.

The expression is parsed here: Python's own parser breaks down beside other threads on 3.11 (gh-106905), and nothing
that a model writes is ever evaluated.
"""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rollout.environments.registry import environment
from rollout.environments.tool_calls import ToolError
from rollout.environments.tools import ToolEnvironment, tool_schema
from rollout.types import Prompt

MAX_CHARS = 200
MAX_DEPTH = 32  # of brackets and signs
MAX_BITS = 512  # of a numerator or denominator
_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)|(?P<sign>[-+*/()]))")

TEXT = {"type": "string", "description": "numbers, + - * / and brackets, such as 3 * (4 + 0.5)"}
TOOLS = (tool_schema("calculate", "The exact value of an arithmetic expression.", expression=TEXT),)
HAND_IN = tool_schema("hand_in", "Hand in the result, once and for all.", result={"type": "number"})


@environment("calculator")
def calculator(prompt: Prompt, seed: int, *, hand_in: bool = False) -> ToolEnvironment:
    """A tool `calculate(expression)`; with `hand_in` another one, `hand_in(result)`, which ends the episode.

    What counts then is the state left behind, `{"handed_in": number or null}`.
    """
    if not hand_in:
        return ToolEnvironment({"calculate": calculate})
    desk = Desk()
    tools: dict[str, Callable[..., str]] = {"calculate": calculate, "hand_in": desk.hand_in}
    return ToolEnvironment(tools, state=desk.snapshot, is_done=lambda: desk.handed_in is not None)


class Desk:
    """Where a result is handed in."""

    def __init__(self) -> None:
        self.handed_in: int | float | None = None

    def hand_in(self, result: Any) -> str:
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise ToolError("result must be a number")
        if isinstance(result, float) and not math.isfinite(result):  # 1e999 is JSON, infinity is none
            raise ToolError("result must be finite")
        self.handed_in = result
        return "handed in"

    def snapshot(self) -> dict[str, Any]:
        return {"handed_in": self.handed_in}


def calculate(expression: Any) -> str:
    """The value as an integer, or with twelve significant digits. Raises ToolError for what is no arithmetic."""
    if not isinstance(expression, str):
        raise ToolError("expression must be a text")
    if len(expression) > MAX_CHARS:
        raise ToolError(f"an expression of more than {MAX_CHARS} characters")
    parser = _Parser(_tokens(expression))
    value = parser.sum(0)
    if parser.tokens:
        raise ToolError(f"{parser.tokens[-1]!r} where the expression should end")
    return str(value.numerator) if value.denominator == 1 else format(float(value), ".12g")


def _tokens(expression: str) -> list[str]:
    """Numbers and signs, the first one last."""
    tokens, at, end = [], 0, len(expression.rstrip())
    while at < end:
        found = _TOKEN.match(expression, at)
        if found is None:
            raise ToolError(f"{expression[at:].strip()[:1]!r} is neither a number nor one of + - * / ( )")
        tokens.append(found["number"] or found["sign"])
        at = found.end()
    return tokens[::-1]


class _Parser:
    """Recursive descent over a stack of tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def _next(self, *wanted: str) -> str | None:
        """Take the next token if it is one of those."""
        return self.tokens.pop() if self.tokens and self.tokens[-1] in wanted else None

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while sign := self._next("+", "-"):
            other = self.product(depth)
            value = _bounded(value + other if sign == "+" else value - other)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.factor(depth)
        while sign := self._next("*", "/"):
            other = self.factor(depth)
            if sign == "/" and not other:
                raise ToolError("division by zero")
            value = _bounded(value * other if sign == "*" else value / other)
        return value

    def factor(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise ToolError(f"nested deeper than {MAX_DEPTH}")
        if sign := self._next("+", "-"):
            value = self.factor(depth + 1)
            return -value if sign == "-" else value
        if self._next("("):
            value = self.sum(depth + 1)
            if not self._next(")"):
                raise ToolError("a bracket that is not closed")
            return value
        if not self.tokens or self.tokens[-1] in "+-*/()":
            raise ToolError("a number is missing" + (f" before {self.tokens[-1]!r}" if self.tokens else " at the end"))
        return _bounded(Fraction(self.tokens.pop()))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ToolError(f"a number of more than {MAX_BITS} bits")
    return value
