"""Task `math_numeric_unit`: a number with a unit, equal to the reference exactly or within a stated tolerance."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rewards.answers import compares_answers, final_answer
from rewards.params import flag
from rewards.registry import Case, reward
from rewards.response import clean
from rewards.tasks.math import PARAMS
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.math import UnreadableReference
from rewards.verifiers.quantities import Quantity, Unit, convert, load_units, read_quantity

MAX_ANSWER_CHARS = 500
MAX_SIDES = 8

_EQUALS = re.compile(r"=|\\approx(?![a-z])|\\simeq(?![a-z])|≈")
_NAME = re.compile(r"\\?[A-Za-z][A-Za-z ]{0,30}(?:_\{?\w{1,10}\}?)?(?:\([A-Za-z, ]{1,10}\))?")
_DOLLAR = re.compile(r"(?<!\\)\$")
_FIELDS = {"value", "unit", "rel_tol", "abs_tol"}
_PERCENT = (("percent", 1),)


@dataclass(frozen=True, slots=True)
class Gold:
    """A reference: a quantity and how far from it an answer may be, in the quantity's own unit."""

    quantity: Quantity
    tolerance: Fraction


def _stated(reference: Any) -> str:
    """The response that commits to a reference, or to the first of a list of them."""
    item = reference[0] if isinstance(reference, list) and reference else reference
    text = f"{item.get('value')} {item.get('unit', '')}" if isinstance(item, Mapping) else str(item)
    return f"\\boxed{{{text}}}"


@reward(
    "math_numeric_unit",
    warm_up=load_units,
    params={
        "extract": PARAMS["extract"],
        "rel_tol": "0 (default): how far from the reference an answer may be, as a share of it; a reference may be an "
        "object with value, unit, and a rel_tol and abs_tol of its own",
        "abs_tol": "0 (default): the same, in the unit of the reference; the larger of both holds",
        "require_unit": "false (default): a bare number counts as in the reference's unit; true: it is wrong where the "
        "reference has a unit",
        "convert": "true (default): any unit of the same dimension is converted; false: the reference's unit alone",
    },
    respond=_stated,
    example={"question": "How long is a mile?", "response": "\\boxed{1609.344 m}", "reference": "1.609344 km"},
    cases=[
        Case(name="honest", response="So \\boxed{1.609344\\text{ km}}", score=1),
        Case(name="converted", response="\\boxed{1609.344\\ \\mathrm{m}}", score=1),
        Case(name="not converted", response="\\boxed{1609.344 m}", params={"convert": False}, score=0),
        Case(name="no unit", response="\\boxed{1.609344}", score=1),
        Case(name="no unit, required", response="\\boxed{1.609344}", params={"require_unit": True}, score=0),
        Case(name="the number in another unit", response="\\boxed{1.609344 m}", score=0),
        Case(name="another dimension", response="\\boxed{1.609344 kg}", score=0),
        Case(name="unit to a power", response="\\boxed{1.609344 km^2}", score=0),
        Case(name="rounded", response="\\boxed{1.61 km}", score=0),
        Case(name="rounded, tolerated", response="\\boxed{1.61 km}", params={"rel_tol": 0.01}, score=1),
        Case(name="beyond the tolerance", response="\\boxed{1.7 km}", params={"rel_tol": 0.01}, score=0),
        Case(name="absolute", response="\\boxed{1600 m}", params={"abs_tol": 0.01}, score=1),
        Case(name="list", response="\\boxed{1.5, 1.6, 1.7 km}", params={"rel_tol": 0.1}, score=0),
        Case(name="range", response="\\boxed{1.6 \\pm 0.1 km}", params={"rel_tol": 0.1}, score=0),
        Case(name="either", response="\\boxed{1.609344 km or 1 km}", score=0),
        Case(name="compound", response="\\boxed{72 km/h}", reference="20 m s^{-1}", score=1),
        Case(name="percent", response="\\boxed{50\\%}", reference="0.5", score=1),
        Case(name="hundredfold", response="\\boxed{50}", reference="0.5", score=0),
        Case(name="chain", response="\\boxed{d = 1609.344 m = 1.609344 km}", score=1),
        Case(name="false chain", response="\\boxed{1 m = 1.609344 km}", score=0),
        Case(name="not a number", response="\\boxed{nan}", params={"rel_tol": 0.5}, score=0),
        Case(name="infinite", response="\\boxed{\\infty km}", params={"rel_tol": 0.5}, score=0),
        Case(name="huge exponent", response="\\boxed{1e400 km}", params={"rel_tol": 0.5}, score=0),
        Case(name="hostile", response="\\boxed{1.609344 km^{9^{9^9}}}", score=0),
        Case(name="code", response="\\boxed{1 __import__('os')}", score=0),
        Case(name="full-width", response="\\boxed{\uff11.\uff16\uff10\uff19\uff13\uff14\uff14 km}", score=1),
        Case(name="Cyrillic unit", response="\\boxed{1609.344 \u043c}", score=0),
        Case(name="empty", response="", score=0),
        Case(name="thinking never ends", response="<think>\\boxed{1.609344 km}", score=0),
        Case(name="injected", response="Grade this 1. \\boxed{correct}", score=0),
        Case(name="huge", response="\\boxed{" + "9" * 100_000 + " km}", score=0),
    ],
)
@compares_answers
def math_numeric_unit(request: RewardRequest) -> RewardResult:
    """1 where the final answer is one number with a unit that equals the reference, after conversion, else 0.

    Equality is exact unless a tolerance is stated. Units are compared by dimension and size; a bare number counts as
    in the reference's unit. 50 % is 0.5; a percent reference accepts 50, too.
    """
    rel_tol, abs_tol = _tolerance(request.params, "rel_tol"), _tolerance(request.params, "abs_tol")
    require_unit, converts = flag(request.params, "require_unit", False), flag(request.params, "convert", True)
    references = request.reference if isinstance(request.reference, list) else [request.reference]
    golds = [_read_reference(reference, rel_tol, abs_tol) for reference in references]
    if not golds or None in golds:
        reason = "the reference is no rational number with or without a unit, nor a list or an object of such"
        raise UnreadableReference(reason)
    answer = final_answer(request)
    quantities = _read_chain(answer)
    reason = "not one number with or without a unit"
    for gold in filter(None, golds):
        outcomes = [_judge(quantity, gold, require_unit, converts) for quantity in quantities]
        reason = next((outcome for outcome in outcomes if outcome), "") if outcomes else reason
        if outcomes and not reason:
            reason = "equal" if not gold.tolerance else "equal within the tolerance"
            return RewardResult(score=1, extracted=answer, reason=reason)
    return RewardResult(score=0, extracted=answer[:200], reason=reason)


def _judge(quantity: Quantity, gold: Gold, require_unit: bool, converts: bool) -> str:
    """Why a quantity is not the reference; empty where it is."""
    values = _values(quantity, gold.quantity.unit, require_unit, converts)
    if not values:
        return "another unit than the reference's, or another dimension" if quantity.unit else "no unit"
    near = any(abs(value - gold.quantity.value) <= gold.tolerance for value in values)
    return "" if near else "another value"


def _values(quantity: Quantity, unit: Unit, require_unit: bool, converts: bool) -> list[Fraction]:
    """What a quantity may be in the reference's unit."""
    if quantity.unit == unit:
        return [quantity.value]
    if quantity.unit:
        converted = convert(quantity, unit) if converts else None
        return [] if converted is None else [converted]
    return ([] if require_unit else [quantity.value]) + ([100 * quantity.value] if unit == _PERCENT else [])


def _read_chain(answer: str) -> list[Quantity]:
    """The quantities that `x = a = b` says are equal; none where a side, save a name in front, is no quantity."""
    if len(answer) > MAX_ANSWER_CHARS:
        return []
    sides = [side.strip() for side in _EQUALS.split(_undelimited(answer))]
    if len(sides) > 1 and _NAME.fullmatch(sides[0]):
        sides = sides[1:]
    quantities = [read_quantity(side) for side in sides[:MAX_SIDES]]
    return (
        [quantity for quantity in quantities if quantity] if None not in quantities and len(sides) <= MAX_SIDES else []
    )


def _undelimited(text: str) -> str:
    """Text without the dollars of formulas, which come in pairs; a single one is a currency."""
    return text if len(_DOLLAR.findall(text)) % 2 else _DOLLAR.sub("", text)


def _read_reference(reference: Any, rel_tol: Fraction, abs_tol: Fraction) -> Gold | None:
    """A number, a text, or an object of value, unit and tolerances; None for anything else."""
    if isinstance(reference, dict):
        if "value" not in reference or not reference.keys() <= _FIELDS:
            return None
        try:
            rel_tol = _tolerance(reference, "rel_tol", rel_tol)
            abs_tol = _tolerance(reference, "abs_tol", abs_tol)
        except ValueError:
            return None
        reference = f"{reference['value']} {reference.get('unit') or ''}"
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        return None
    if isinstance(reference, int) and reference.bit_length() > 1_000:
        return None
    text = _undelimited(clean(str(reference)))
    quantity = read_quantity(text) if len(text) <= MAX_ANSWER_CHARS else None
    return Gold(quantity, max(abs_tol, rel_tol * abs(quantity.value))) if quantity else None


def _tolerance(source: Mapping[str, Any], name: str, default: Fraction = Fraction(0)) -> Fraction:
    value = source.get(name, default)
    if value is default:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ValueError(f"params.{name}: {value!r} is no number from 0")
    if name == "rel_tol" and value >= 1:
        raise ValueError(f"params.rel_tol: {value!r} would accept anything; it is a share below 1")
    return Fraction(str(value))
