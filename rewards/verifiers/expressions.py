"""Expressions read and compared by Math-Verify's own grammar: text is never evaluated."""

import functools
import logging
from fractions import Fraction
from typing import Any

from rewards.verifiers.numbers import Number, has_unit

MIN_ROUNDED_PLACES = 6
SAME_SIZE = 1e-6
DIGITS = 15


def load_expressions() -> None:
    """Import Math-Verify with SymPy, and read its grammar: a second, most of it."""
    import math_verify  # noqa: F401

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timers are off: the worker's are on
    same_expression("x^2 - 1", "(x - 1)(x + 1)")


def read_expression(text: str) -> list[Any]:
    """What Math-Verify reads in a text, without a unit at its end; empty where it finds no expression."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # Math-Verify itself would take off any last letters that may be a unit: `2ab` would be 2.
    normalization = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="all")
    configs = [LatexExtractionConfig(boxed_match_priority=0, normalization_config=normalization)]
    text = _without_unit(text.replace("**", "^"))
    found = parse(f"\\boxed{{{text}}}", configs, parsing_timeout=None, raise_on_error=False)
    return found if any(not isinstance(item, str) for item in found) else []


def _without_unit(text: str) -> str:
    """Text without one or two words at its end that Math-Verify takes for units, and we for no variables."""
    from latex2sympy2_extended.math_normalization import unit_superscript_regex, units_regex

    text = unit_superscript_regex.sub("", text).strip() or text
    for _ in range(2):
        if has_unit(text):
            text = units_regex.sub(r"\1", text).strip() or text
    return text


@functools.lru_cache(maxsize=1024)
def read_reference(text: str) -> tuple[Any, ...]:
    r"""As `read_expression`, remembered: the responses of a group share their reference. Empty for `\cot 0`, too."""
    found = tuple(read_expression(text))
    try:
        if found and _is_constant(found[0]):
            found[0].evalf(DIGITS)
    except (MemoryError, RecursionError):
        raise  # a limit of the worker, which is judged there
    except Exception:  # SymPy raises what it likes where there is no value
        return ()
    return found


def same_expression(answer: str, reference: str) -> bool:
    """Whether Math-Verify finds two readable texts equal. An inequality may answer an interval, and the reverse."""
    golds = list(read_reference(reference))
    if not golds:
        return False
    try:
        targets = read_expression(answer)
        return bool(targets) and _same(golds, targets)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # as above: what has no value equals nothing
        return False


def _same(golds: list[Any], targets: list[Any]) -> bool:
    from math_verify import verify
    from sympy import oo

    gold, target = golds[0], targets[0]
    if _is_range_and_points(gold, target) or _is_range_and_points(target, gold) or _of_other_size(gold, target):
        return False  # before SymPy tries to simplify a difference
    if _is_infinite(target) and not _is_infinite(gold):
        return False  # of such a difference, SymPy says by chance whether it is nothing
    if all(map(_is_constant, (gold, target))) and gold.evalf(DIGITS) in (oo, -oo):
        return bool(gold.doit() == target.doit())  # -|oo| in digits is oo
    return bool(verify(golds, targets, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=False))


def _is_constant(value: Any) -> bool:
    """Whether a value is a number, and no sum, integral or limit, which may take for ever."""
    from sympy import Expr, Integral, Limit, MatrixExpr, Product, Sum

    if not isinstance(value, Expr) or isinstance(value, MatrixExpr):
        return False
    return bool(value.is_number) and not value.has(Integral, Limit, Product, Sum)


def _is_infinite(value: Any) -> bool:
    """Whether a value is, or holds, an infinity that is neither an end of a range nor a bound of a sum or a limit."""
    from sympy import Integral, Limit, MatrixBase, Product, Sum, nan, oo, zoo

    if isinstance(value, MatrixBase):
        return any(map(_is_infinite, value.flat()))
    parts = getattr(value, "args", ())
    if _is_range(value):
        parts = [end for end in parts if end not in (oo, -oo)]
    elif isinstance(value, Integral | Limit | Product | Sum):
        parts = parts[:1]
    elif _is_constant(value) and value.evalf(DIGITS) in (oo, -oo, zoo, nan):
        return True
    return any(map(_is_infinite, parts))


def _is_range(value: Any) -> bool:
    """Whether a value is an inequality, an interval, or several of them."""
    from sympy import And, Eq, FiniteSet, Set
    from sympy.core.relational import Relational

    if isinstance(value, Relational | Set):
        return not isinstance(value, Eq | FiniteSet)
    return isinstance(value, And) and not any(isinstance(part, Eq) for part in value.args)


def _is_range_and_points(one: Any, other: Any) -> bool:
    """Whether an open interval meets the two numbers that are its ends, which Math-Verify takes for its pair."""
    from sympy import Eq, FiniteSet

    one, other = (value.rhs if isinstance(value, Eq) else value for value in (one, other))
    if not isinstance(other, FiniteSet) or not _is_range(one):
        return False
    return not any(map(_is_range, other.args))


def _of_other_size(gold: Any, target: Any) -> bool:
    """Whether two numbers differ in proportion: Math-Verify rounds to decimal places, where small ones are all 0."""
    if not all(map(_is_constant, (gold, target))):
        return False
    one, other = gold.evalf(), target.evalf()
    if not (one.is_Float and other.is_Float) or one == 0:
        return False
    return bool(abs(one - other) > SAME_SIZE * abs(one))


@functools.lru_cache(maxsize=1024)
def approximate(text: str) -> complex | None:
    """About what a constant expression is worth; None for anything else. Remembered: items of sets meet many others."""
    try:
        value = next((item for item in read_expression(text) if _is_constant(item)), None)
        return None if value is None else complex(value.evalf(DIGITS))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # a pole, or an infinite value
        return None


def same_rounded(number: Number, reference: str) -> tuple[bool, str]:
    """Whether a decimal is the reference rounded; only an irrational one may be, to six places or more."""
    gold = next((gold for gold in read_reference(reference) if getattr(gold, "is_number", False)), None)
    if gold is None or not _is_irrational(gold):
        return False, "a decimal, where the reference is none"
    if number.places < MIN_ROUNDED_PLACES:
        return False, f"rounded to fewer than {MIN_ROUNDED_PLACES} places"
    digits = len(str(number.value.numerator // number.value.denominator)) + number.places + 20
    value = gold.evalf(digits)
    if not value.is_Float:
        return False, "the reference has no decimal value"
    equal = abs(Fraction(str(value)) - number.value) <= Fraction(1, 2 * 10**number.places)
    return equal, f"compared to {number.places} places"


def _is_irrational(gold: Any) -> bool:
    try:
        return bool(not gold.is_rational and gold.is_real and gold.is_finite)
    except (ArithmeticError, AttributeError):  # of a secant that is a rational number
        return False
