"""Expressions read and compared by Math-Verify's own grammar: text is never evaluated."""

import functools
import logging
from fractions import Fraction
from typing import Any

from rewards.verifiers.numbers import Number

MIN_ROUNDED_PLACES = 6
SAME_SIZE = 1e-6


def load_expressions() -> None:
    """Import Math-Verify with SymPy, and read its grammar: a second, most of it."""
    import math_verify  # noqa: F401

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timers are off: the worker's are on
    same_expression("x^2 - 1", "(x - 1)(x + 1)")


def read_expression(text: str) -> list[Any]:
    """What Math-Verify reads in a text; empty where it finds no expression."""
    from math_verify import LatexExtractionConfig, parse

    text = text.replace("**", "^")
    configs = [LatexExtractionConfig(boxed_match_priority=0)]
    found = parse(f"\\boxed{{{text}}}", configs, parsing_timeout=None, raise_on_error=False)
    return found if any(not isinstance(item, str) for item in found) else []


@functools.lru_cache(maxsize=1024)
def read_reference(text: str) -> tuple[Any, ...]:
    """As `read_expression`, remembered: the responses of a group share their reference."""
    return tuple(read_expression(text))


def same_expression(answer: str, reference: str) -> bool:
    """Whether Math-Verify finds two readable texts equal. An inequality may answer an interval."""
    from math_verify import verify

    targets = read_expression(answer)
    golds = list(read_reference(reference))
    if not targets or not golds or _of_other_size(golds[0], targets[0]):  # before SymPy tries to simplify a difference
        return False
    return bool(verify(golds, targets, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=False))


def _of_other_size(gold: Any, target: Any) -> bool:
    """Whether two numbers differ in proportion: Math-Verify rounds to decimal places, where small ones are all 0."""
    if not all(getattr(value, "is_number", False) and value.is_real for value in (gold, target)):
        return False
    one, other = gold.evalf(), target.evalf()
    if not (one.is_Float and other.is_Float) or one == 0:
        return False
    return abs(one - other) > SAME_SIZE * abs(one)


@functools.lru_cache(maxsize=1024)
def approximate(text: str) -> complex | None:
    """About what a constant expression is worth; None for anything else. Remembered: items of sets meet many others."""
    value = next((item for item in read_expression(text) if getattr(item, "is_number", False)), None)
    try:
        return None if value is None else complex(value.evalf(15))
    except (ArithmeticError, ValueError, TypeError):  # a pole, or an infinite value
        return None


def same_rounded(number: Number, reference: str) -> tuple[bool, str]:
    """Whether a decimal is the reference rounded; only an irrational one may be, to six places or more."""
    gold = next((gold for gold in read_reference(reference) if getattr(gold, "is_number", False)), None)
    if gold is None or gold.is_rational or not gold.is_real or not gold.is_finite:
        return False, "a decimal, where the reference is none"
    if number.places < MIN_ROUNDED_PLACES:
        return False, f"rounded to fewer than {MIN_ROUNDED_PLACES} places"
    digits = len(str(number.value.numerator // number.value.denominator)) + number.places + 20
    value = gold.evalf(digits)
    if not value.is_Float:
        return False, "the reference has no decimal value"
    equal = abs(Fraction(str(value)) - number.value) <= Fraction(1, 2 * 10**number.places)
    return equal, f"compared to {number.places} places"
