"""What a step's groups say before anything is learned from them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from rewards.combine import Combination, is_vetoed
from rl.advantages import is_flat
from rl.budget_curve import thinking_cut_rate
from rl.episode_metrics import episode_metrics
from rl.faults import RunStopped
from rl.filters import GroupFilter
from rl.types import ScoredGroup, StepMetrics
from rollout.types import Group

MAX_COMPONENTS = 64  # of a task, the commonest: names may come from a plug-in, and each is a column for good


def group_metrics(
    groups: Sequence[ScoredGroup], step: int, combinations: Mapping[str, Combination] | None = None
) -> StepMetrics:
    """Reward, rollout and group metrics of a step that made version `step`; names as in docs/metrics.md."""
    rewards = list(chain.from_iterable(group.rewards for group in groups))
    scores = [reward.score for reward in rewards if reward.score is not None]
    by_task: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        by_task[group.group.prompt.task] += [score for score in group.scores if score is not None]
    metrics = {
        "reward/mean": _mean(scores),
        "reward/std": float(np.std(scores)) if scores else float("nan"),
        "group/zero_variance_rate": _mean([is_flat(group.scores) for group in groups]),
    }
    metrics |= rollout_metrics([group.group for group in groups], step)
    metrics |= {f"reward/{task}/mean": _mean(values) for task, values in by_task.items()}
    for task in by_task:
        of_task = [group for group in groups if group.group.prompt.task == task]
        metrics |= _component_metrics(task, of_task) | _veto_rate(task, of_task, (combinations or {}).get(task))
    return metrics


def rollout_metrics(groups: Sequence[Group], step: int) -> StepMetrics:
    """Lengths, truncation, age, thinking and turns of the samples of a step that made version `step`."""
    samples = list(chain.from_iterable(group.samples for group in groups))
    lengths = [sample.num_sampled for sample in samples]
    staleness = [step - 1 - sample.policy_version for sample in samples]
    metrics = {
        "rollout/tokens": float(sum(lengths)),
        "rollout/response_length": _mean(lengths),
        "rollout/truncated_rate": _mean([sample.finish_reason == "length" for sample in samples]),
        "rollout/staleness_mean": _mean(staleness),
        "rollout/staleness_max": float(max(staleness)),
    }
    metrics |= {f"rollout/staleness/{steps}": float(count) for steps, count in sorted(Counter(staleness).items())}
    episodes = [sample.episode for sample in samples if sample.episode is not None]
    return metrics | thinking_cut_rate("rollout", groups) | episode_metrics("rollout", episodes)


def _veto_rate(task: str, groups: Sequence[ScoredGroup], combination: Combination | None) -> StepMetrics:
    """How many of the scored responses a veto has hit; nothing for a task that has none."""
    if combination is None or not combination.veto:
        return {}
    scored = [reward for group in groups for reward in group.rewards if reward.score is not None]
    return {f"reward/{task}/veto_rate": _mean([is_vetoed(reward.components, combination) for reward in scored])}


def _component_metrics(task: str, groups: Sequence[ScoredGroup]) -> StepMetrics:
    """Each component's mean over the responses that have it, and in how many groups that compare two it is the same."""
    names = Counter(name for group in groups for reward in group.rewards for name in reward.components)
    metrics: StepMetrics = {}
    for name in sorted(name for name, _ in names.most_common(MAX_COMPONENTS)):
        by_group = [[r.components[name] for r in group.rewards if name in r.components] for group in groups]
        compared = [is_flat(values) for values in by_group if len(values) > 1]
        metrics[f"reward/{task}/{name}/mean"] = _mean(list(chain.from_iterable(by_group)))
        metrics[f"reward/{task}/{name}/zero_variance_rate"] = _mean(compared)
    return metrics


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


class ErrorRateGuard:
    """Ends a run whose rewards fail too often: what is learned from the rest would not be the task.

    Groups that a filter drops count as well: those whose rewards failed are the first to be dropped.
    """

    def __init__(self, max_error_rate: float) -> None:
        self.max_error_rate = max_error_rate
        self._groups: list[ScoredGroup] = []

    def watch(self, keep: GroupFilter) -> GroupFilter:
        """The same filter; each group that it judges is remembered until the next `check`."""

        def watched(group: ScoredGroup) -> str | None:
            self._groups.append(group)
            return keep(group)

        return watched

    def check(self) -> StepMetrics:
        """The error rates since the last check. Raises RunStopped naming the task, the rate and one reason."""
        groups, self._groups = self._groups, []
        failed = [
            (group.group.prompt.task, reward) for group in groups for reward in group.rewards if reward.score is None
        ]
        total = sum(len(group.rewards) for group in groups)
        assert total, "a step judges at least one response"
        if len(failed) / total > self.max_error_rate:
            task, reward = failed[0]
            raise RunStopped(
                f"{len(failed)} of {total} responses could not be scored, above max_error_rate = "
                f"{self.max_error_rate}; task {task!r}, for example: {reward.status}: {reward.reason}"
            )
        return {"reward/error_rate": len(failed) / total} | _failure_rate(groups)


def _failure_rate(groups: Sequence[ScoredGroup]) -> StepMetrics:
    """How many of the samples with an environment it failed; nothing where none had one."""
    episodes = [sample.episode for group in groups for sample in group.group.samples if sample.episode is not None]
    return {"environment/failure_rate": _mean([e.failure is not None for e in episodes])} if episodes else {}
