"""A step's metrics by hand, and the end of a run whose rewards fail."""

import math

import pytest

from rewards.combine import Combination
from rewards.types import RewardResult
from rl.metrics import MAX_COMPONENTS, ErrorRateGuard, group_metrics
from rl.types import ScoredGroup
from rollout.types import Group, Prompt
from tests.fakes import make_sample, make_scored


def scored(task, scores, samples):
    prompt = Prompt(id="p", messages=({"role": "user", "content": "?"},), task=task, reference="1")
    rewards = tuple(RewardResult(score=s, status="error" if s is None else "ok", reason="no judge") for s in scores)
    group = Group(prompt=prompt, prompt_token_ids=(1,), think_block="none", samples=samples)
    return ScoredGroup(group=group, rewards=rewards, draw=0)


def test_group_metrics_by_hand():
    groups = [
        scored("math", [1.0, 0.0], (make_sample("a", length=3, policy_version=4), make_sample("b", policy_version=2))),
        scored("exact", [None, 0.5], (make_sample("c", finish_reason="length", policy_version=4),) * 2),
    ]
    assert group_metrics(groups, step=5) == {
        "reward/mean": 0.5,
        "reward/std": pytest.approx(math.sqrt(1 / 6)),
        "reward/math/mean": 0.5,
        "reward/exact/mean": 0.5,
        "rollout/tokens": 9.0,
        "rollout/response_length": 2.25,
        "rollout/truncated_rate": 0.5,
        "rollout/staleness_mean": 0.5,
        "rollout/staleness_max": 2.0,
        "rollout/staleness/0": 3.0,
        "rollout/staleness/2": 1.0,
        "group/zero_variance_rate": 0.5,
    }


def with_components(task, components):
    group = scored(task, [1.0] * len(components), (make_sample("a"),) * len(components))
    rewards = tuple(RewardResult(score=1.0, components=known) for known in components)
    return ScoredGroup(group=group.group, rewards=rewards, draw=0)


def test_components_by_hand():
    groups = [
        with_components("math", [{"rule": 1, "preference": 3.0}, {"rule": 0, "judge": 1}]),
        with_components("math", [{"rule": 1, "preference": 1.0}, {"rule": 1, "preference": 2.0}]),
        with_components("exact", [{}, {"part": 0.5}]),
    ]
    metrics = group_metrics(groups, step=1)
    assert {name: value for name, value in metrics.items() if name.count("/") > 2} == {
        "reward/math/rule/mean": 0.75,
        "reward/math/rule/zero_variance_rate": 0.5,
        "reward/math/preference/mean": 2.0,
        "reward/math/preference/zero_variance_rate": 0.0,
        "reward/math/judge/mean": 1.0,
        "reward/math/judge/zero_variance_rate": pytest.approx(math.nan, nan_ok=True),
        "reward/exact/part/mean": 0.5,
        "reward/exact/part/zero_variance_rate": pytest.approx(math.nan, nan_ok=True),
    }


def test_the_veto_rate_by_hand():
    combine = {"math": Combination.model_validate({"veto": [{"task": "v", "min": 0.9}]}), "open": Combination()}
    groups = [
        with_components("math", [{"veto/v": 0.89}, {"veto/v": 0.9}]),
        with_components("math", [{"veto/v": 1.0}, {"veto/v": 1.0}]),
        with_components("open", [{"rule": 1.0}]),
    ]
    metrics = group_metrics(groups, 1, combine)
    assert {n: v for n, v in metrics.items() if n.endswith("veto_rate")} == {"reward/math/veto_rate": 0.25}


def test_a_reward_cannot_flood_the_metrics():
    groups = [with_components("odd", [{"kept": 1.0, f"word {n}": 1.0}]) for n in range(1_000)]
    names = {name for name in group_metrics(groups, step=1) if name.startswith("reward/odd/")}
    assert "reward/odd/kept/mean" in names
    assert len(names) == 2 * MAX_COMPONENTS + 1


def test_tokens_that_we_wrote_are_no_response_length():
    sample = make_sample("a", length=3)
    mixed = type(sample)(
        token_ids=(7, 7, 7), logprobs=(0.0,) * 3, sampled=(True, False, True), text="a", finish_reason="stop",
        policy_version=0,
    )  # fmt: skip
    assert group_metrics([scored("math", [1.0], (mixed,))], step=1)["rollout/tokens"] == 2


def test_without_any_score_the_mean_is_not_a_number():
    metrics = group_metrics([make_scored([None, None])], step=1)
    assert math.isnan(metrics["reward/mean"])
    assert math.isnan(metrics["reward/math/mean"])


def test_the_error_rate_counts_dropped_groups_too():
    guard = ErrorRateGuard(0.5)
    keep = guard.watch(lambda group: "dropped" if None in group.scores else None)
    assert keep(make_scored([None, 1.0])) == "dropped"
    assert keep(make_scored([0.0, 1.0])) is None
    assert guard.check() == {"reward/error_rate": 0.25}
    keep(make_scored([0.0, 1.0]))
    assert guard.check() == {"reward/error_rate": 0.0}, "each step counts its own"


def test_above_the_limit_the_run_ends_and_says_why():
    guard = ErrorRateGuard(0.5)
    keep = guard.watch(lambda group: None)
    keep(scored("math", [None, None, 1.0], (make_sample("a"),) * 3))
    with pytest.raises(
        RuntimeError, match=r"2 of 3 responses .* max_error_rate = 0.5; task 'math', .* error: no judge"
    ):
        guard.check()
