"""Equations, inequalities and functions: equal up to a constant factor, or as right sides.

Text is read by the grammar that Math-Verify uses, with upper and lower case kept apart. Expressions are compared by
their values at fixed rational points, to DIGITS digits: that takes time linear in their size, where simplification may
take for ever. A difference below TOLERANCE, in proportion, is none.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

NUM_POINTS = 8
MIN_POINTS = 3  # that are in the domain of both
DIGITS = 40
TOLERANCE = 1e-20  # in proportion
NOTHING = 1e-30  # what is left of a sum that cancels
CONSTANT = "C"  # of integration

_SIGN = re.compile(r"(\\(?:leqslant|leq|le|lt|geqslant|geq|ge|gt)(?![a-z])|<=|>=|<|>|=)")
_ORDERS = {"=": "=", "<": "<", "\\lt": "<", "<=": "<=", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<="}
_MIRRORED = {">": "<", "\\gt": "<", ">=": "<=", "\\ge": "<=", "\\geq": "<=", "\\geqslant": "<="}
_NAME = re.compile(
    r"(?P<name>\\?[A-Za-z]+(?:_(?:\w|\{\w+\}))?'{0,3}(?:\^ ?\{? ?-1 ?\}?)?) ?"
    r"(?:\( ?(?P<arguments>[A-Za-z](?: ?, ?[A-Za-z])*) ?\))?"
)
_MISREAD = re.compile(r"'|\d \d|\\approx|\\sim|≈|\\pm|\\[lcd]?dots|\.\.\.")

Expression = Any  # of SymPy, which is imported where it is used
Point = Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Head:
    """The left side of a definition: `f(x)` or `y`."""

    name: str
    arguments: tuple[str, ...]


def read_sides(text: str) -> tuple[list[str], list[str]] | None:
    """The sides of a chain of equations or inequalities, and the signs between them; None where a side is blank."""
    parts = [part.strip() for part in _SIGN.split(text)]
    return (parts[::2], parts[1::2]) if all(parts[::2]) else None


def read_head(side: str) -> Head | None:
    """The name that a side is, with its arguments; None for any other expression."""
    found = _NAME.fullmatch(side)
    if found is None or (found["arguments"] is None and len(found["name"].lstrip("\\").partition("_")[0]) > 1):
        return None
    arguments = tuple(argument.strip() for argument in (found["arguments"] or "").split(",") if argument.strip())
    return Head(found["name"].replace("{", "").replace("}", ""), arguments) if _distinct(arguments) else None


def read_side(side: str) -> Expression | None:
    """A side as an expression of SymPy; None where it is none, or is in a notation with more than one reading."""
    import sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy

    if _MISREAD.search(side):
        return None
    try:
        found = latex2sympy(
            side.replace("**", "^"),
            is_real=True,
            normalization_config=NormalizationConfig(malformed_operators=True),
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except (MemoryError, RecursionError):
        raise  # a limit of the worker, which is judged there
    # The grammar raises bare exceptions for text that it cannot read, and SymPy its own for what means nothing.
    except Exception:
        return None
    if not isinstance(found, sympy.Expr) or isinstance(found, sympy.MatrixExpr):
        return None
    return found.xreplace({number: sympy.Rational(str(number)) for number in found.atoms(sympy.Float)})


def names(expression: Expression) -> set[str]:
    """The names of the free symbols of an expression."""
    return {symbol.name for symbol in expression.free_symbols}


def renamed(expression: Expression, old: tuple[str, ...], new: tuple[str, ...]) -> Expression | None:
    """The expression in other variables; None where one of them is used for something else already."""
    import sympy

    if (set(new) - set(old)) & names(expression):
        return None
    mapping = dict(zip(old, new, strict=True))
    symbols = {
        symbol: sympy.Symbol(mapping[symbol.name]) for symbol in expression.free_symbols if symbol.name in mapping
    }
    return expression.subs(symbols, simultaneous=True)


def same_expression_values(one: Expression, other: Expression) -> bool:
    """Whether two expressions have equal values wherever both have one, and are defined at the same points."""
    pairs = _values(points(names(one) | names(other)), one, other)
    return pairs is not None and all(_near(value, wanted) for value, wanted in pairs)


def same_relation(answer: tuple[Expression, str, Expression], gold: tuple[Expression, str, Expression]) -> bool:
    """Whether two relations are one up to a constant factor, for inequalities a positive one."""
    (one, sign), (other, wanted) = _difference(*answer), _difference(*gold)
    if sign != wanted:
        return False
    pairs = _values(points(names(one) | names(other)), one, other)
    if pairs is None:
        return False
    ratios = [value / gold_value for value, gold_value in pairs if abs(gold_value) > NOTHING]
    if len(ratios) < MIN_POINTS or len(ratios) < len(pairs) or abs(ratios[0]) <= NOTHING:
        return False
    alike = all(_near(ratio, ratios[0]) for ratio in ratios[1:])
    return alike and (sign == "=" or (abs(ratios[0].imag) <= TOLERANCE * abs(ratios[0]) and ratios[0].real > 0))


def is_identity(relation: tuple[Expression, str, Expression]) -> bool:
    """Whether both sides are equal wherever they are defined, or nowhere defined: such a relation says nothing."""
    difference, _ = _difference(*relation)
    found = _values(points(names(difference)), difference, difference)
    return found is None or all(abs(value) <= NOTHING for value, _ in found)


def same_up_to_constant(answer: Expression, gold: Expression, constant: str | None) -> bool:
    """Whether the difference of two expressions is a constant: a number, or linear in the symbol `constant` alone."""
    difference = answer - gold
    others = names(difference) - {constant}
    rows = []
    for value in (Fraction(-1), Fraction(1, 2), Fraction(3)) if constant else (None,):
        fixed = {constant: value} if constant and value is not None else {}
        found = _values([dict(point) | fixed for point in points(others)], difference, difference)
        if found is None or not all(_near(found[0][0], other) for other, _ in found):
            return False
        rows.append(found[0][0])
    if not constant:
        return True
    first, second = (rows[1] - rows[0]) / 1.5, (rows[2] - rows[0]) / 4
    return abs(first) > NOTHING and _near(first, second)


def points(variables: set[str]) -> list[Point]:
    """Fixed rational points on both sides of zero, the same for the same names; one alone where there are none."""
    if not variables:
        return [{}] * MIN_POINTS
    random_state = random.Random(0)
    return [
        {name: Fraction(random_state.randint(-2999, 2999), 997) for name in sorted(variables)}
        for _ in range(NUM_POINTS)
    ]


def _distinct(items: tuple[str, ...]) -> bool:
    return len(set(items)) == len(items)


def _difference(left: Expression, sign: str, right: Expression) -> tuple[Expression, str]:
    """The side that is compared with zero, and one of `=`, `<` and `<=`."""
    return (right - left, _MIRRORED[sign]) if sign in _MIRRORED else (left - right, _ORDERS[sign])


def _values(where: list[Point], one: Expression, other: Expression) -> list[tuple[Any, Any]] | None:
    """The values of two expressions at points; None where only one of them has a value, or at few points they have."""
    found = []
    for pair in zip(_evaluate(one, where), _evaluate(other, where), strict=True):
        if (pair[0] is None) != (pair[1] is None):
            return None
        if pair[0] is not None:
            found.append(pair)
    return found if len(found) >= MIN_POINTS else None


def _evaluate(expression: Expression, where: list[Point]) -> Iterator[Any]:
    """The values of an expression at points, as mpmath's complex numbers; None where it is not defined."""
    import mpmath
    import sympy

    for point in where:
        numbers = {
            symbol: sympy.Rational(point[symbol.name].numerator, point[symbol.name].denominator)
            for symbol in expression.free_symbols
        }
        try:
            value = expression.subs(numbers).evalf(DIGITS)
            real, imaginary = value.as_real_imag() if value.is_number else (sympy.nan, sympy.nan)
        except (ArithmeticError, ValueError, TypeError, NotImplementedError):  # a pole, or what SymPy cannot evaluate
            yield None
            continue
        if not (real.is_Float or real.is_Rational) or not (imaginary.is_Float or imaginary.is_Rational):
            yield None
            continue
        with mpmath.workdps(DIGITS):
            yield mpmath.mpc(sympy.N(real, DIGITS)._to_mpmath(140), sympy.N(imaginary, DIGITS)._to_mpmath(140))


def _near(one: Any, other: Any) -> bool:
    return bool(abs(one - other) <= max(NOTHING, TOLERANCE * abs(other)))
