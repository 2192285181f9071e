"""Task `math_int`: an integer from 0 to 999, as AIME asks."""

import re
from typing import Any

from rewards.extraction import extract_answer
from rewards.registry import Case, boxed, reward
from rewards.response import BoundExceeded, clean
from rewards.tasks.math import PARAMS
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.numbers import plain

_LITERAL = re.compile(r"(?:[A-Za-z] ?= ?)?(\d{1,6})", re.ASCII)


@reward(
    "math_int",
    params={"extract": PARAMS["extract"]},
    respond=boxed,
    example={"question": "Find the remainder.", "response": "\\boxed{070}", "reference": 70},
    cases=[
        Case(name="honest", response="\\boxed{70}", score=1),
        Case(name="leading zero", response="\\boxed{070}", score=1),
        Case(name="dollars", response="\\boxed{$70$}", score=1),
        Case(name="full-width", response="\\boxed{\uff17\uff10}", score=1),
        Case(name="wrong", response="\\boxed{71}", score=0),
        Case(name="a sum", response="\\boxed{35+35}", score=0),
        Case(name="a quotient", response="\\boxed{140/2}", score=0),
        Case(name="a power of ten", response="\\boxed{7e1}", score=0),
        Case(name="a comma", response="\\boxed{0,070}", score=0),
        Case(name="two answers", response="\\boxed{70 or 71}", score=0),
        Case(name="a decimal", response="\\boxed{70.0}", score=0),
        Case(name="negative", response="\\boxed{-70}", score=0),
        Case(name="empty", response="", score=0),
    ],
)
def math_int(request: RewardRequest) -> RewardResult:
    """1 where the final answer is the reference as a literal integer, else 0."""
    assert isinstance(request.response, str), "checked by the scorer"
    reference = _read(request.reference)
    if reference is None:
        reason = f"the reference, of type {type(request.reference).__name__}, is no integer from 0 to 999"
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="math_int")
    try:
        answer = extract_answer(request.response, request.params.get("extract", "boxed"))
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error), verifier="math_int")
    if answer is None:
        return RewardResult(score=0, reason="no answer", verifier="math_int")
    literal = _LITERAL.fullmatch(plain(answer))
    if not literal:
        return RewardResult(score=0, extracted=answer, reason="no literal integer", verifier="math_int")
    value = int(literal[1])  # as a number, so that 070 and 70 are one vote where answers are counted
    return RewardResult(
        score=float(value == reference), extracted=str(value), reason="compared as integers", verifier="math_int"
    )


def _read(reference: Any) -> int | None:
    if isinstance(reference, bool) or not isinstance(reference, int | float | str):
        return None
    if isinstance(reference, str):
        literal = _LITERAL.fullmatch(plain(clean(reference)))
        reference = int(literal[1]) if literal else -1
    return int(reference) if 0 <= reference <= 999 and reference == int(reference) else None
