"""Whether an answer equals a mathematical reference: exact numbers first, Math-Verify for what is left.

May run long on hostile input: call it in a worker that can be killed. Text is never evaluated.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rewards.verifiers.numbers import MAX_DIGITS, Number, parse_number, plain, same_number

MAX_DEPTH = 32
MAX_ITEMS = 64
MIN_ROUNDED_PLACES = 6

_CHAIN = re.compile(r"(?<![<>!:\\])=|\\approx|≈|\\simeq|\\sim(?![a-z])")
_NAME = re.compile(r"\\?[A-Za-z]\w*(?:_\{?\w+\}?)?(?:\([a-zA-Z, ]+\))?")
_OPERATION = re.compile(
    r"\\(?:int|sum|prod|lim|binom|tbinom|dbinom|div)(?![a-z])|!|(?<=[\w)}\]])\s*(?:\+|-|\*|÷|×)\s*(?=[\w(\\{])"
    r"|\\(?:times|cdot)(?![a-z])(?!\s*10\s*\^)"
)
_UNFINISHED = re.compile(r"\\(?:int|sum|prod|lim|binom|tbinom|dbinom)(?![a-z])|\d\s*!")
_MAGNITUDE = re.compile(r"\^\s*\{?[^{}]*\^|\*\*[^*]*\*\*|!\s*!|\d{4,}\s*\)?\s*!|\^\s*\{?\s*-?\d{4,}|\*\*\s*-?\d{4,}")


class UnreadableReference(ValueError):
    """The reference is no mathematics that we can read."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the answer is right, and why it is judged so."""

    equal: bool
    reason: str


def verify_math(answer: str, reference: Any, *, evaluated: bool = True) -> Verdict:
    """Judge an extracted answer. Raises UnreadableReference.

    With `evaluated`, an answer to a numeric reference must not still hold the operation that was asked for.
    """
    gold = plain(str(reference))
    if not gold:
        raise UnreadableReference("the reference is empty")
    if (bound := exceeded_bound(answer)) is not None:
        return Verdict(False, bound)
    sides = [plain(side) for side in _CHAIN.split(answer)]
    if "=" not in gold and len(sides) > 1:
        if _NAME.fullmatch(sides[0]) and not _NAME.fullmatch(gold):
            sides = sides[1:]  # `x = 5` names what the value is of
        if not all(sides):
            return Verdict(False, "a side of the equation is empty")
        *steps, last = sides
        for side in steps:
            if not _verify_side(side, gold, evaluated=False).equal:
                return Verdict(False, f"{side!r} in the chain does not equal the reference")
        return _verify_side(last, gold, evaluated=evaluated)
    return _verify_side(plain(answer), gold, evaluated=evaluated)


def exceeded_bound(answer: str) -> str | None:
    """The bound that an answer breaks, or None: checks in linear time before anything may run long."""
    digits = max((len(run) for run in re.findall(r"\d+", answer)), default=0)
    if digits > MAX_DIGITS:
        return f"a number of more than {MAX_DIGITS} digits"
    depth = deepest = 0
    for character in answer:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return f"brackets nested more than {MAX_DEPTH} deep"
    if answer.count(",") > MAX_ITEMS:
        return f"more than {MAX_ITEMS} items"
    if _MAGNITUDE.search(answer):
        return "a tower of powers, a large power or a large factorial"
    return None


def _verify_side(answer: str, gold: str, *, evaluated: bool) -> Verdict:
    if not answer:
        return Verdict(False, "no answer")
    gold_number, number = parse_number(gold), parse_number(answer)
    if gold_number and number:
        return Verdict(same_number(number, gold_number), "compared as exact numbers")
    if answer.replace(" ", "") == gold.replace(" ", ""):
        return Verdict(True, "the same text")
    if evaluated and gold_number and _OPERATION.search(answer):
        return Verdict(False, "the operation asked for is still in the answer")
    if evaluated and _UNFINISHED.search(answer) and not _UNFINISHED.search(gold):
        return Verdict(False, "the operation asked for is still in the answer")
    return _verify_symbolic(answer, gold, number)


def _verify_symbolic(answer: str, gold: str, number: Number | None) -> Verdict:
    golds = _parse(gold)
    if not golds:
        raise UnreadableReference(f"cannot read the reference {gold[:80]!r}")
    if number is not None and number.places and number.value.denominator > 1:
        return _verify_rounded(number, golds)
    if (_variables(answer) - _variables(gold)) & {name.swapcase() for name in _variables(gold)}:
        return Verdict(False, "a variable of the other case")
    from math_verify import verify

    targets = _parse(answer)
    if not targets:
        return Verdict(False, "cannot read the answer as mathematics")
    equal = verify(golds, targets, strict=True, timeout_seconds=None, raise_on_error=False)
    return Verdict(bool(equal), "compared by Math-Verify")


def _variables(text: str) -> set[str]:
    """The single letters of a text that stand for themselves."""
    return set(re.findall(r"[A-Za-z]", re.sub(r"\\?[A-Za-z]{2,}", " ", text)))


def _verify_rounded(number: Number, golds: list[Any]) -> Verdict:
    """A rounded decimal may stand for an irrational reference from six places on, never for a rational one."""
    gold = next((g for g in golds if getattr(g, "is_number", False)), None)
    if gold is None or gold.is_rational or not gold.is_real:
        return Verdict(False, "a decimal, where the reference is none")
    if number.places < MIN_ROUNDED_PLACES:
        return Verdict(False, f"rounded to fewer than {MIN_ROUNDED_PLACES} places")
    value = Fraction(str(gold.evalf(number.places + 20)))
    equal = abs(value - number.value) <= Fraction(1, 10**number.places)
    return Verdict(equal, f"compared to {number.places} places")


def _parse(text: str) -> list[Any]:
    """What Math-Verify reads in a text, by its own grammar: nothing is evaluated."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    configs = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    return parse(f"\\boxed{{{text}}}", configs, parsing_timeout=None, raise_on_error=False)
