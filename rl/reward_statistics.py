"""Running statistics of raw reward components: what a combination normalises them by, step by step."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rewards.combine import Combination, Scale, recombine
from rewards.types import RewardResult
from rl.types import ScoredGroup, StepMetrics

RATE = 0.05  # of a step in the moving averages, once they have seen twenty
MIN_STD_SHARE = 0.1  # of the configured std: below it, noise would be stretched to the whole range
MAX_VALUE = 1e6

Mode = Literal["constants", "running"]
Recombine = Callable[[RewardResult], RewardResult]


def as_scored(task: str) -> Recombine:
    """Scores as the scorer has made them."""
    return lambda result: result


class RewardStatistics:
    """Moving averages of mean and variance by task and component, frozen between updates.

    They begin as the constants of the config, which count as one step; each step then counts for one in as many as
    there are, and for RATE at least. In the mode `constants` nothing is measured, and nothing changes.
    """

    def __init__(self, combinations: Mapping[str, Combination], mode: Mode) -> None:
        self._combinations = {
            task: combination for task, combination in combinations.items() if mode == "running" and combination.scales
        }
        self._scales = {task: dict(combination.scales) for task, combination in self._combinations.items()}
        self._num_steps = {task: dict.fromkeys(scales, 1) for task, scales in self._scales.items()}

    def freeze(self, task: str) -> Recombine:
        """Scores by the statistics as they are now, whatever comes until the result is there."""
        combination = self._combinations.get(task)
        if combination is None:
            return as_scored(task)
        scales = {
            name: Scale(scale.mean, max(scale.std, MIN_STD_SHARE * combination.scales[name].std))
            for name, scale in self._scales[task].items()
        }
        return lambda result: recombine(result, combination, scales)

    def update(self, groups: Sequence[ScoredGroup]) -> StepMetrics:
        """Take in a step's groups; the statistics that the next scores are made with."""
        metrics: StepMetrics = {}
        for task, scales in self._scales.items():
            components = [r.components for g in groups if g.group.prompt.task == task for r in g.rewards]
            for name in scales:
                values = [known[name] for known in components if name in known]
                if values:
                    self._take(task, name, np.clip(values, -MAX_VALUE, MAX_VALUE))
                metrics[f"reward/{task}/{name}/scale_mean"] = scales[name].mean
                metrics[f"reward/{task}/{name}/scale_std"] = scales[name].std
        return metrics

    def _take(self, task: str, name: str, values: np.ndarray) -> None:
        """Mean and variance of a mixture of what was before and these values."""
        before = self._scales[task][name]
        self._num_steps[task][name] += 1
        rate = max(RATE, 1 / self._num_steps[task][name])
        shift = float(values.mean()) - before.mean
        variance = (1 - rate) * before.std**2 + rate * float(values.var()) + rate * (1 - rate) * shift**2
        self._scales[task][name] = Scale(before.mean + rate * shift, math.sqrt(variance))

    def state(self) -> dict[str, Any]:
        return {"scales": self._scales, "num_steps": self._num_steps}

    def load(self, state: dict[str, Any]) -> None:
        self._scales = {
            task: {name: Scale(*scale) for name, scale in scales.items()} for task, scales in state["scales"].items()
        }
        self._num_steps = state["num_steps"]
