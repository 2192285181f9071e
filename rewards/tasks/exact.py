"""Task `exact`: the answer is one of the reference texts."""

from typing import Any

from rewards.params import flag
from rewards.registry import Case, reward, stated
from rewards.response import clean, split_response
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.text import same_text

MAX_ANSWER_CHARS = 1_000


@reward(
    "exact",
    params={"case_sensitive": "false (default): case does not count"},
    respond=stated,
    example={"question": "The capital of France?", "response": "Paris.", "reference": ["Paris", "City of Paris"]},
    cases=[
        Case(name="honest", response="Paris", score=1),
        Case(name="alias, article", response="The city of Paris.", score=1),
        Case(name="after the thinking", response="<think>Lyon?</think>\nparis", score=1),
        Case(name="wrong", response="Lyon", score=0),
        Case(name="negated", response="not Paris", score=0),
        Case(name="a lost sign", response="- 5", reference="5", score=0),
        Case(name="a bound for a number", response="<5", reference="5", score=0),
        Case(name="emphasis and a hyphen", response="**Well-known!**", reference="well known", score=1),
        Case(name="a list", response="Paris, Lyon, Nice", score=0),
        Case(name="empty", response="", score=0),
        Case(name="zero width", response="Pa\u200bris", score=1),
        Case(name="look-alike", response="\u0420aris", score=0),
        Case(name="huge", response="Paris " * 100_000, score=0),
    ],
)
def exact(request: RewardRequest) -> RewardResult:
    """1 where the answer after the thinking is the reference, or one of a list, up to case and punctuation."""
    assert isinstance(request.response, str), "checked by the scorer"
    references = request.reference if isinstance(request.reference, list) else [request.reference]
    texts = [text for text in map(_text, references) if text is not None]
    if len(texts) < max(len(references), 1):
        reason = "the reference is no text, or an empty one"
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="exact")
    case_sensitive = flag(request.params, "case_sensitive")
    answer = split_response(request.response).answer
    if not answer:
        return RewardResult(score=0, reason="no answer", verifier="exact")
    if len(answer) > MAX_ANSWER_CHARS:
        reason = f"an answer of more than {MAX_ANSWER_CHARS} characters"
        return RewardResult(score=0, reason=reason, verifier="exact")
    equal = same_text(answer, texts, case_sensitive=case_sensitive)
    return RewardResult(score=float(equal), extracted=answer, reason="compared as text", verifier="exact")


def _text(reference: Any) -> str | None:
    """A reference as text, `7.0` as `7`; None for what is no text or number, and for blanks."""
    if isinstance(reference, float) and reference.is_integer():
        reference = int(reference)
    return str(reference) if isinstance(reference, str | int | float) and clean(str(reference)) else None
