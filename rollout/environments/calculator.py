"""Environment `calculator`: one tool, exact arithmetic. The final answer ends the episode.

The expression is parsed here: Python's own parser breaks down beside other threads on 3.11 (gh-106905), and nothing
that a model writes is ever evaluated.
"""

import re
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


@environment("calculator")
def calculator(prompt: Prompt, seed: int) -> ToolEnvironment:
    """A tool `calculate(expression)`."""
    return ToolEnvironment({"calculate": calculate})


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
