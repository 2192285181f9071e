"""Advantages: what the scores of a step say about each sample, relative to the other samples of its group.

Scores come as one list a group, None for an unscored sample. It counts in no mean and no deviation, and its
advantage is 0. A group with fewer than two scored samples says nothing, nor does one whose scores are equal:
all its advantages are exactly 0.
"""

import math
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, field_validator

from rl.plugins import check_name, find_function

GroupScores = Sequence[float | None]
Advantage = Callable[[Sequence[GroupScores]], list[list[float]]]

EPSILON = 1e-6  # added to a standard deviation before dividing by it; the value of verl (TRL has 1e-4)

ADVANTAGES: dict[str, Advantage] = {}


class AdvantageConfig(BaseModel):
    """Which advantage, by name: grpo, dr_grpo, rloo, batch_std, or `module:function`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "grpo"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name(name, ADVANTAGES, "advantage")


def advantage(name: str) -> Callable[[Advantage], Advantage]:
    """Registers a function from the scores of all groups of a step to their advantages, in the same shape."""

    def register(function: Advantage) -> Advantage:
        ADVANTAGES[name] = function
        return function

    return register


def make_advantage(config: AdvantageConfig | str) -> Advantage:
    """The advantage of that name, with its result checked: same shape, finite, 0 where there was no score."""
    name = config if isinstance(config, str) else config.name
    function = find_function(name, ADVANTAGES, "advantage")

    def compute(scores: Sequence[GroupScores]) -> list[list[float]]:
        assert all(math.isfinite(s) for group in scores for s in _scored(group)), "a score is finite or None"
        advantages = function(scores)
        for group, values in zip(scores, advantages, strict=True):
            for score, value in zip(group, values, strict=True):
                assert math.isfinite(value), f"advantage {name!r} gave {value} for score {score}"
                assert score is not None or value == 0, f"advantage {name!r} gave an unscored sample {value}"
        return advantages

    return compute


def is_flat(scores: GroupScores) -> bool:
    """Whether a group has no signal: fewer than two scored samples, or scores that are all the same.

    Same means up to rounding: 0.1 + 0.2 and 0.3, summed from reward components in another order, do not
    differ, and dividing their difference by its own deviation must not make a signal of it.
    """
    scored = _scored(scores)
    return len(scored) < 2 or math.isclose(min(scored), max(scored), rel_tol=1e-9, abs_tol=1e-12)


@advantage("dr_grpo")
def centre(scores: Sequence[GroupScores]) -> list[list[float]]:
    """R_i − mean of the group; no division, so no group weighs more than another (Dr.GRPO, 2503.20783)."""
    return [_centred(group) for group in scores]


@advantage("grpo")
def standardize(scores: Sequence[GroupScores]) -> list[list[float]]:
    """(R_i − mean) / (std + ε) with the group's unbiased deviation, ddof 1 (DeepSeekMath, 2402.03300)."""
    return [_scaled(_centred(group), 1 / (_deviation(_scored(group)) + EPSILON)) for group in scores]


@advantage("rloo")
def leave_one_out(scores: Sequence[GroupScores]) -> list[list[float]]:
    """R_i − mean of the others = G/(G−1) · (R_i − mean), G the scored samples of the group (RLOO, 2402.14740)."""
    return [_scaled(_centred(group), _bessel(len(_scored(group)))) for group in scores]


@advantage("batch_std")
def standardize_by_batch(scores: Sequence[GroupScores]) -> list[list[float]]:
    """(R_i − mean of the group) / (std + ε) with one deviation, ddof 1, over the scores of the whole step.

    The deviation is of the raw scores, as in TRL's `scale_rewards="batch"`: it includes the spread between
    prompts, so it stays put when groups become easy. Groups with fewer than two scored samples do not enter.
    """
    counted = [score for group in scores if len(_scored(group)) > 1 for score in _scored(group)]
    scale = 1 / (_deviation(counted) + EPSILON)
    return [_scaled(_centred(group), scale) for group in scores]


def _scored(group: GroupScores) -> list[float]:
    return [score for score in group if score is not None]


def _centred(group: GroupScores) -> list[float]:
    if is_flat(group):
        return [0.0] * len(group)
    scored = _scored(group)
    mean = math.fsum(scored) / len(scored)
    return [0.0 if score is None else score - mean for score in group]


def _scaled(values: list[float], factor: float) -> list[float]:
    return [value * factor for value in values]


def _bessel(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0


def _deviation(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
