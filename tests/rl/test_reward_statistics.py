"""Running statistics of raw components: by hand, frozen while a group is made, and exact over a resume."""

import asyncio
import json
import math
import random

import numpy as np
import pytest

from rewards.combine import Combination
from rewards.types import RewardResult
from rl.checkpoint import CheckpointConfig, Checkpointer
from rl.judgement import make_collect_group
from rl.prompts import Draw
from rl.reward_statistics import MIN_STD_SHARE, RATE, RewardStatistics
from rl.types import ScoredGroup
from rollout.types import Prompt, SamplingParams
from tests.fakes import FakeLearner, FakeSampler, FakeScorer, FakeTasks, make_group

COMBINE = {
    "math": Combination.model_validate({"preference": {"task": "p", "weight": 0.1, "mean": 1.0, "std": 2.0}}),
    "open": Combination.model_validate({"rule": None, "preference": {"task": "p", "weight": 1.0}}),
    "plain": Combination.model_validate({"veto": [{"task": "v"}]}),
}


def prompt(task: str) -> Prompt:
    return Prompt(id="p", messages=({"role": "user", "content": "?"},), task=task, reference="1")


def group(logits, task="math") -> ScoredGroup:
    """A group of right answers with these logits; None is a wrong one, whose logit nobody asked for."""
    known = [{"rule": 0.0} if x is None else {"rule": 1.0, "preference": x} for x in logits]
    rewards = tuple(RewardResult(score=components["rule"], components=components) for components in known)
    return ScoredGroup(group=make_group(["x"] * len(logits), prompt(task)), rewards=rewards, draw=0)


def running() -> RewardStatistics:
    return RewardStatistics(COMBINE, "running")


def right(logit: float) -> RewardResult:
    return RewardResult(score=0.25, components={"rule": 1.0, "preference": logit})


def test_the_first_step_counts_as_much_as_the_constants():
    statistics = running()
    metrics = statistics.update([group([3.0, 5.0, None]), group([7.0]), group([None], "plain")])
    assert metrics["reward/math/preference/scale_mean"] == 0.5 * 1 + 0.5 * 5
    mixture = 0.5 * (4 + 1) + 0.5 * (np.var([3, 5, 7]) + 25) - 9
    assert metrics["reward/math/preference/scale_std"] == pytest.approx(math.sqrt(mixture))
    assert metrics["reward/open/preference/scale_mean"] == 0, "a task that had no group stays as it was"
    assert set(metrics) == {f"reward/{t}/preference/scale_{s}" for t in ("math", "open") for s in ("mean", "std")}


def test_many_steps_end_at_the_distribution_and_forget_an_old_one():
    generator, statistics = np.random.default_rng(0), running()
    for center in (-20.0, 9.0):
        for _ in range(200):
            metrics = statistics.update([group(list(generator.normal(center, 0.5, 16)))])
    assert metrics["reward/math/preference/scale_mean"] == pytest.approx(9, abs=0.1)
    assert metrics["reward/math/preference/scale_std"] == pytest.approx(0.5, rel=0.1)


def test_a_step_counts_for_the_rate_in_the_end():
    statistics = running()
    for _ in range(round(1 / RATE) + 5):
        statistics.update([group([0.0])])
    before = statistics.update([group([0.0])])["reward/math/preference/scale_mean"]
    after = statistics.update([group([100.0])])["reward/math/preference/scale_mean"]
    assert after == pytest.approx(before + RATE * (100 - before))


def test_equal_logits_do_not_stretch_noise():
    statistics = running()
    for _ in range(300):
        statistics.update([group([1.0, 1.0])])
    noise = statistics.freeze("math")(right(1.0 + MIN_STD_SHARE * 2.0))
    assert noise.score == pytest.approx(1 + 0.1, abs=1e-6)


def test_constants_change_nothing():
    statistics = RewardStatistics(COMBINE, "constants")
    assert statistics.update([group([50.0])]) == {}
    assert statistics.freeze("math")(right(50.0)) == right(50.0)
    assert running().freeze("plain")(right(50.0)) == right(50.0)
    assert running().freeze("unknown")(right(50.0)) == right(50.0)


def test_what_is_frozen_stays_and_what_failed_has_no_score():
    statistics = running()
    frozen = statistics.freeze("math")
    statistics.update([group([50.0])])
    assert frozen(right(3.0)).score == pytest.approx(1 + 0.1)
    assert statistics.freeze("math")(right(3.0)).score < 1
    failed = RewardResult(score=None, status="error", components={"rule": 1.0})
    assert frozen(failed) is failed


async def test_a_group_is_scored_as_a_whole_by_what_held_at_its_draw():
    statistics = running()
    liked = RewardResult(score=9.0, components={"rule": 1.0, "preference": 3.0})
    judge = FakeTasks(math=liked)

    class Scorer:
        async def score(self, requests):
            results = []
            for request in requests:  # one after the other, and a step ends in between
                results.append(await judge(request))
                statistics.update([group([50.0])])
            return results

    sampler = FakeSampler(lambda prompt: ["a", "b", "c"])
    collect = make_collect_group(
        sampler, Scorer(), sampling=SamplingParams(max_tokens=8), num_samples=3, seed=0, freeze=statistics.freeze
    )
    first = await asyncio.wait_for(collect(Draw(0, prompt("math"))), 5)
    second = await asyncio.wait_for(collect(Draw(1, prompt("math"))), 5)
    assert first.scores == [pytest.approx(1.1)] * 3
    assert len(set(second.scores)) == 1
    assert second.scores[0] < 1


async def test_a_prompt_that_asks_for_its_task_alone_keeps_the_score():
    alone = Prompt(id="p", messages=prompt("math").messages, task="math", reference="1", params={"combine": False})
    sampler = FakeSampler(lambda prompt: ["1"])
    collect = make_collect_group(
        sampler, FakeScorer(), sampling=SamplingParams(max_tokens=8), num_samples=1, seed=0, freeze=running().freeze
    )
    assert (await asyncio.wait_for(collect(Draw(0, alone)), 5)).scores == [1.0]


async def test_a_saved_and_restored_state_goes_on_to_the_bit(tmp_path):
    def steps(statistics, seed, num_steps):
        rng = random.Random(seed)
        return [
            statistics.update([group([rng.gauss(3, 0.7) for _ in range(4)], task) for task in ("math", "open")])
            for _ in range(num_steps)
        ]

    def checkpointer(statistics):
        return Checkpointer(
            CheckpointConfig(), tmp_path, learner=FakeLearner(), parts={"statistics": statistics}, num_steps=10
        )

    whole, first, fresh = running(), running(), running()
    steps(whole, 1, 5)
    steps(first, 1, 5)
    await checkpointer(first).save(5)
    assert await checkpointer(fresh).resume() == 5
    assert steps(fresh, 2, 30) == steps(whole, 2, 30)
    assert json.dumps(fresh.state()) == json.dumps(whole.state())
    assert fresh.freeze("math")(right(3.3)) == whole.freeze("math")(right(3.3))
    assert fresh.freeze("math")(right(3.3)) != running().freeze("math")(right(3.3)), "the state matters"
