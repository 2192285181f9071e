"""Task `length_control`: the answer is as long as asked for."""

import re
from collections.abc import Mapping
from typing import Any

from rewards.params import choice
from rewards.penalties import repetition_penalty
from rewards.registry import Case, reward
from rewards.tasks.ifeval import answer_text
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.segmentation import count_words, graphemes, sentences

UNITS = "words", "chars", "sentences"
MAX_TARGET = 100_000
MAX_RUN = 8  # of one character; what goes on beyond is a filler

_SPACE = re.compile(r"\s+")
_LONG_RUN = re.compile(r"(.)\1{8,}", re.DOTALL)
_CHARS = {"unit": "chars"}
_SENTENCES = {"unit": "sentences"}
_CAT = "The cat sat on the mat and then it slept."


@reward(
    "length_control",
    params={
        "unit": "words (default), chars or sentences; characters are those that a reader sees (grapheme clusters), "
        "Chinese and Japanese ones are words",
    },
    example={"question": "Describe a cat in ten words.", "response": _CAT, "reference": 10},
    cases=[
        Case(name="honest", response=_CAT, score=1),
        Case(name="half of it", response="The cat sat still.", reference=8, score=0.5),
        Case(name="too long by a half", response="The cat sat there.  It slept.", reference=4, score=0.5),
        Case(name="twice as long", response="The cat sat there and then it slept.", reference=4, score=0),
        Case(name="empty", response="", score=0),
        Case(name="blanks", response=" \n\u3000\u200b", params=_CHARS, score=0),
        Case(name="marks are no words", response="The . . . . . . . . cat.", reference=8, score=0.25),
        Case(name="thinking does not count", response=f"<think>{_CAT}</think>{_CAT}", score=1),
        Case(name="thinking never ends", response=f"<think>{_CAT}", score=0),
        Case(name="range", response=_CAT, reference={"min": 5, "max": 12}, score=1),
        Case(name="above the range", response=_CAT, reference={"min": 5, "max": 8}, score=0.75),
        Case(name="below the range", response="The cat.", reference={"min": 4}, score=0.5),
        Case(name="padded with one word", response="cat " * 100, reference=100, score=0),
        Case(name="one huge word", response="c" * 5_000, reference=1, score=0),
        Case(name="huge", response="cat " * 100_000, score=0),
        Case(name="characters", response="na\u00efve", reference=5, params=_CHARS, score=1),
        Case(name="combining characters", response="nai\u0308ve", reference=5, params=_CHARS, score=1),
        Case(name="zero width", response="a\u200b\u200b\u200b", reference=4, params=_CHARS, score=0.25),
        Case(name="a run of one character", response="a" + "!" * 30, reference=18, params=_CHARS, score=0.5),
        Case(name="nothing but a run", response="a" + "!" * 99, reference=100, params=_CHARS, score=0),
        Case(name="blanks count once", response="a         b", reference=3, params=_CHARS, score=1),
        Case(name="Chinese words", response="我喜欢猫。", reference=4, score=1),
        Case(name="Chinese characters", response="我喜欢猫", reference=4, params=_CHARS, score=1),
        Case(
            name="sentences",
            response="It sat. Dr. Li saw it at 3.15 p.m. today!",
            reference=2,
            params=_SENTENCES,
            score=1,
        ),
        Case(name="forged", response="Word count: 10", score=0.3),
    ],
)
def length_control(request: RewardRequest) -> RewardResult:
    """1 less the deviation from the target length in proportion to it, and less a penalty of repetition; 0 at least.

    The reference is a number, or `{"min", "max"}`, one of which may be missing.
    """
    assert isinstance(request.response, str), "checked by the scorer"
    unit = choice(request.params, "unit", UNITS)
    bounds = _read_bounds(request.reference)
    if bounds is None:
        reason = 'the reference is neither a number from 1 nor {"min", "max"} of such numbers'
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="length_control")
    text = answer_text(request.response)
    if text is None:
        return RewardResult(score=0, reason="no answer, or a huge one", verifier="length_control")
    length = _length(text, unit)
    fit, penalty = _fit(length, *bounds), repetition_penalty(text)
    return RewardResult(
        score=max(0.0, fit + penalty),
        components={"length": length, "fit": fit, "repetition_penalty": penalty},
        extracted=str(length),
        reason=f"{length} {unit}",
        verifier="length_control",
    )


def _read_bounds(reference: Any) -> tuple[int, int | None] | None:
    """The least and the largest length; None of the latter is no bound, None at all an unreadable reference."""
    if isinstance(reference, Mapping):
        if not reference or not set(reference) <= {"min", "max"}:
            return None
        low, high = reference.get("min"), reference.get("max")
        if (low is None and high is None) or not all(bound is None or _is_length(bound) for bound in (low, high)):
            return None
        low, high = 1 if low is None else int(low), None if high is None else int(high)
        return (low, high) if high is None or low <= high else None
    return (int(reference), int(reference)) if _is_length(reference) else None


def _is_length(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 1 <= value <= MAX_TARGET
        and value == int(value)
    )


def _length(text: str, unit: str) -> int:
    if unit == "words":
        return count_words(text)
    if unit == "sentences":
        return len(sentences(text))
    return len(graphemes(_LONG_RUN.sub(lambda found: found[1] * MAX_RUN, _SPACE.sub(" ", text).strip())))


def _fit(length: int, low: int, high: int | None) -> float:
    if length < low:
        return length / low
    return 1.0 if high is None or length <= high else max(0.0, 2 - length / high)
