"""Tasks whose scores a random model's texts vary: a rule, and a preference that needs no server."""

from rewards.registry import reward
from rewards.types import RewardRequest, RewardResult


@reward("even_length")
def even_length(request: RewardRequest) -> float:
    """1 for a text of an even number of characters."""
    return float(len(request.response) % 2 == 0)


@reward("likes")
def likes(request: RewardRequest) -> RewardResult:
    """A logit that grows with the number of different characters."""
    logit = len(set(request.response)) / 4
    return RewardResult(score=min(logit / 10, 1), components={"logit": logit})
