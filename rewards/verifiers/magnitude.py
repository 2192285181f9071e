"""About what a constant is worth, read without SymPy: most wrong numbers are of another size than the reference.

A small part of LaTeX's arithmetic with one reading alone; whatever could be read in two ways has no magnitude here.
"""

import functools
import math
import re

MAX_CHARS = 200
MAX_POWER = 64
SAME_SIZE = 2e-6  # Math-Verify decides what is closer

_TOKEN = re.compile(
    r"\s+|\\(?:left|right)(?![a-z])|\\[,!;]"
    r"|([0-9]+(?:\.[0-9]+)?|\\(?:sqrt|[dt]?frac|pi|cdot|times)(?![a-zA-Z])|[-+*/^(){}\[\]])"
)
_TIMES = frozenset({"*", "\\cdot", "\\times"})
_ENDS = frozenset({"+", "-", ")", "}", "]", ""})


class _NoReading(Exception):
    """The text is not of this grammar."""


@functools.lru_cache(maxsize=4096)
def magnitude(text: str) -> float | None:
    """The value of a constant of integers, decimals, fractions, powers, roots and pi; None for any other text."""
    if len(text) > MAX_CHARS:
        return None
    try:
        reader = _Reader(_tokens(text))
        value = reader.sum()
        if reader.next():
            return None
    except (_NoReading, ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None


def of_other_size(one: str, other: str) -> bool:
    """Whether both texts are constants, and not about the same one."""
    first, second = magnitude(one), magnitude(other)
    if first is None or second is None:
        return False
    return abs(first - second) > SAME_SIZE * max(abs(first), abs(second))


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _NoReading
        if found[1]:
            tokens.append(found[1])
        position = found.end()
    return [*tokens, ""]


class _Reader:
    """Recursive descent; at most MAX_CHARS tokens, so that its depth is bounded, too."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._position = tokens, 0

    def next(self) -> str:
        return self._tokens[self._position]

    def take(self, wanted: str | None = None) -> str:
        token = self.next()
        if not token or (wanted is not None and token != wanted):
            raise _NoReading
        self._position += 1
        return token

    def sum(self) -> float:
        value = self.product()
        while self.next() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            value += sign * self.product(signed=False)
        return value

    def product(self, signed: bool = True) -> float:
        sign = -1 if signed and self.next() == "-" else 1
        if sign < 0:
            self.take()
        is_number = self.next()[:1].isdigit()
        value = self.power()
        if self.next() == "/":
            self.take()
            value /= self.power()
            if self.next() not in _ENDS:  # `1/2 x`: in the denominator, or not
                raise _NoReading
        while self.next() not in _ENDS:
            if self.next() in _TIMES:
                self.take()
            elif self.next()[0] != "\\" or (is_number and self.next().endswith("frac")):
                # `2 3`; `3(1)`, which Math-Verify reads as 4; `2\frac12`, mixed or a product.
                raise _NoReading
            is_number = self.next()[:1].isdigit()
            value *= self.power()
        return sign * value

    def power(self) -> float:
        value = self.atom()
        if self.next() != "^":
            return value
        self.take()
        exponent = self.group()
        if abs(exponent) > MAX_POWER or self.next() == "^":
            raise _NoReading
        power = value**exponent
        if isinstance(power, complex):
            raise _NoReading
        return float(power)

    def atom(self) -> float:
        token = self.take()
        if token[0].isdigit():
            return float(token)
        if token == "\\pi":
            return math.pi
        if token == "\\sqrt":
            degree = self.enclosed("[", "]") if self.next() == "[" else 2.0
            return self.root(self.group(), degree)
        if token.endswith("frac"):
            over = self.group()
            return over / self.group()
        if token in ("(", "{"):
            self._position -= 1
            return self.enclosed(token, ")" if token == "(" else "}")
        raise _NoReading

    def root(self, value: float, degree: float) -> float:
        if value < 0 or degree not in range(2, MAX_POWER):
            raise _NoReading
        return float(value ** (1 / degree))

    def group(self) -> float:
        """What a command takes: something in braces, or a single digit (`\\frac12` is one half)."""
        if self.next() == "{":
            return self.enclosed("{", "}")
        token = self.take()
        if len(token) != 1 or not token.isdigit() or self.next()[:1].isdigit():
            raise _NoReading
        return float(token)

    def enclosed(self, opening: str, closing: str) -> float:
        self.take(opening)
        value = self.sum()
        self.take(closing)
        return value
