"""What model-based tasks share: the answer that a model may see, or the judgement that needs no model."""

from collections.abc import Sequence
from typing import Any

from rewards.judge_prompt import Unparseable
from rewards.response import clean, split_response
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.content import no_content

MAX_ANSWER_BYTES = 65_536
MAX_REFERENCES = 32


def read_answer(request: RewardRequest, max_bytes: float = MAX_ANSWER_BYTES) -> str | RewardResult:
    """What follows the thinking, within bounds; 0 where there is nothing, or too much."""
    assert isinstance(request.response, str), "checked by the scorer"
    answer = split_response(request.response).answer
    if answer is None:
        return wrong(request, "the thinking never ends")
    if len(answer.encode("utf-8", "replace")) > max_bytes:
        return wrong(request, f"an answer of more than {max_bytes:g} bytes")
    return answer if answer else wrong(request, "no answer")


def guard(request: RewardRequest, answer: str, references: Sequence[str] = ()) -> RewardResult | None:
    """0 for what no model need be asked about: some accept such texts."""
    reason = no_content(answer, references)
    return wrong(request, reason) if reason else None


def read_texts(value: Any) -> list[str]:
    """The texts of a reference: a text or number, or a list of them, `7.0` as `7`. Raises ValueError."""
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= MAX_REFERENCES:
        raise ValueError(f"the reference has {len(values)} texts, not 1 to {MAX_REFERENCES}")
    return [_text(each) for each in values]


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not clean(str(value)):
        raise ValueError("the reference is no text, or an empty one")
    return str(value)


def wrong(request: RewardRequest, reason: str) -> RewardResult:
    return RewardResult(score=0, reason=reason, verifier=request.task)


def unscorable(request: RewardRequest, error: ValueError) -> RewardResult:
    return RewardResult(score=None, status="unscorable", reason=str(error), verifier=request.task)


def unparseable(request: RewardRequest, error: Unparseable) -> RewardResult:
    """The result of a reply that is no verdict."""
    return RewardResult(score=None, status="error", reason=str(error), verifier=request.task)
