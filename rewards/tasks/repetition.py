"""Task `repetition`: a text, its thinking included, that does not say the same over and over."""

from rewards.penalties import repetition_penalty
from rewards.registry import Case, reward
from rewards.types import RewardRequest, RewardResult

_PROSE = "The tide rises and falls twice a day, as the moon pulls at the sea and the earth turns below it."


@reward(
    "repetition",
    example={"question": "What are the tides?", "response": _PROSE},
    cases=[
        Case(name="honest", response=_PROSE, score=1),
        Case(name="honest, after the thinking", response=f"<think>The moon, of course.</think>{_PROSE}", score=1),
        Case(name="empty", response="", score=1),
        Case(name="a table", response="\n".join(f"{n} x 7 = {7 * n}" for n in range(200)), score=1),
        Case(name="one word", response="wait " * 200, score=0),
        Case(name="one word, hidden marks", response="wait\u200b " * 200, score=0),
        Case(name="filler", response="!" * 5_000, score=0),
        Case(name="huge", response="blue " * 100_000, score=0),
    ],
)  # fmt: skip
def repetition(request: RewardRequest) -> RewardResult:
    """1 less the penalty of repeated word sequences and of filler: 1 where nothing is repeated, or nothing said."""
    assert isinstance(request.response, str), "checked by the scorer"
    penalty = repetition_penalty(request.response)
    return RewardResult(score=1 + penalty, reason=f"penalty {penalty:.4g}", verifier="repetition")
