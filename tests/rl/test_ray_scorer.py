"""The driver's end of the scorer and of engines: what is slow, what stands still, and what is gone."""

import asyncio

import pytest
from ray.exceptions import OutOfMemoryError

from rewards.types import RewardRequest, RewardResult
from rl.cluster import RayEngine, end_actor
from rl.faults import ScorerLost
from rl.ray_scorer import RayScorer
from rollout.sampler import EngineLost
from tests.fakes import FakeActor

REQUESTS = [RewardRequest(task="math", response=str(n)) for n in range(3)]


async def killed_for_memory(*_):
    raise OutOfMemoryError("Task was killed due to the node running low on memory.")


async def test_an_engine_that_the_memory_monitor_killed_is_lost():
    engine = RayEngine(FakeActor(progress=killed_for_memory), "engine 3")
    with pytest.raises(EngineLost, match=r"engine 3: its process is gone \(OutOfMemoryError\)"):
        await engine.progress()


async def test_a_scorer_that_is_gone_is_named():
    scorer = RayScorer(FakeActor(score=killed_for_memory), timeout_s=5)
    with pytest.raises(ScorerLost, match=r"the reward scorer's process is gone \(OutOfMemoryError\)"):
        await scorer.score(REQUESTS)


@pytest.mark.parametrize("judges", [True, False])
async def test_a_scorer_that_is_slow_is_waited_for_and_one_that_stands_still_is_not(judges):
    counted = []

    async def score(requests):
        await asyncio.sleep(0.5)
        return [RewardResult(score=1.0) for _ in requests]

    async def num_judged():
        counted.append(1)
        return len(counted) if judges else 7

    answer = RayScorer(FakeActor(score=score, num_judged=num_judged), timeout_s=0.05).score(REQUESTS)
    if judges:
        assert [result.score for result in await answer] == [1.0] * 3
        assert len(counted) > 2
    else:
        with pytest.raises(TimeoutError, match="the reward scorer judged nothing for 0 s"):
            await answer


@pytest.mark.parametrize("how", ["dead", "slow"])
async def test_an_end_that_goes_wrong_hides_no_cause(monkeypatch, caplog, how):
    killed = []
    monkeypatch.setattr("ray.kill", killed.append)
    monkeypatch.setattr("rl.cluster.NO_ANSWER_S", 0.05)
    actor = FakeActor(stop=killed_for_memory if how == "dead" else lambda: asyncio.sleep(60))

    async def ends_by(error):
        try:
            raise error
        finally:
            await end_actor(actor, "the reward scorer")

    with pytest.raises(ValueError, match="the cause"):
        await ends_by(ValueError("the cause"))
    assert killed == [actor]
    assert "the reward scorer was not stopped, but killed" in caplog.text
