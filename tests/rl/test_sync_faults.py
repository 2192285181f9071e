"""Real engines and a real learner: an engine that is frozen while weights go to it."""

import asyncio
import os

import psutil
import pytest

from rl import weight_sync
from rl.cluster import open_sampler
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import stop_token_ids
from rl.weight_sync import publish_weights
from rollout.types import Prompt, SamplingParams
from tests.real_parts import ENGINE, LEARNER


def prompt(text: str) -> Prompt:
    return Prompt(id=text, messages=({"role": "user", "content": text},), task="math", reference="1")


@pytest.mark.slow
async def test_an_engine_that_is_frozen_during_a_sync_is_replaced(ray_cluster, tiny_model, learner, monkeypatch):
    """By its pulse or by the sync's own limit, whichever ends first; the other engine serves on."""
    monkeypatch.setattr(weight_sync, "UPDATE_TIMEOUT_S", 20)
    config = ENGINE.model_copy(update={"num_engines": 2})
    async with open_sampler(tiny_model, config, stop_token_ids(tiny_model), 0) as sampler:
        frozen = sampler.seats[1].engine
        process = psutil.Process(await frozen.actor.__ray_call__.remote(lambda _: os.getpid()))
        process.suspend()
        await asyncio.wait_for(publish_weights(learner, sampler, version=1), 60)
        assert "engine 1 could not begin the weight update within 20 s" in sampler.seats[1].why_lost
        assert sampler.seats[0].ready.is_set()
        params = SamplingParams(max_tokens=4)
        before = await sampler.sample(prompt("p"), params=params, num_samples=2, seed=0)
        await asyncio.wait_for(sampler.seats[1].ready.wait(), 180)
        assert sampler.seats[1].engine is not frozen
        sampler.seats[0].ready.clear()  # so that the successor is asked
        after = await sampler.sample(prompt("p"), params=params, num_samples=2, seed=0)
        assert sampler.num_restarts == 1
    assert after == before
    assert {sample.policy_version for sample in after.samples} == {1}
    assert not await asyncio.to_thread(lambda: psutil.wait_procs([process], timeout=30)[1])


@pytest.mark.slow
async def test_an_engine_that_dies_in_a_broadcast_takes_the_others_weights_with_it_and_all_come_back(
    ray_cluster, tiny_model
):
    """The one that is left has a part of the new weights: it must not serve, and is replaced as well."""
    config = ENGINE.model_copy(update={"num_engines": 2})
    by_broadcast = LEARNER.model_copy(update={"weight_transfer": "broadcast"})
    params = SamplingParams(max_tokens=4)
    async with (
        open_sampler(tiny_model, config, stop_token_ids(tiny_model), 0) as sampler,
        open_learner(tiny_model, by_broadcast, LossConfig(), temperature=1.0, seed=0) as learner,
    ):
        await publish_weights(learner, sampler, version=1)
        before = await sampler.sample(prompt("p"), params=params, num_samples=2, seed=0)
        engines = [seat.engine for seat in sampler.seats]
        load = engines[1].load_bucket

        async def die_first(bucket):
            engines[1].kill()
            await load(bucket)

        engines[1].load_bucket = die_first
        await asyncio.wait_for(publish_weights(learner, sampler, version=2), 200)
        assert all(seat.lost.is_set() for seat in sampler.seats)
        assert "incomplete weights" in sampler.seats[0].why_lost
        for seat in sampler.seats:
            await asyncio.wait_for(seat.ready.wait(), 240)
        assert not {seat.engine for seat in sampler.seats} & set(engines)
        after = await sampler.sample(prompt("p"), params=params, num_samples=2, seed=0)
        assert sampler.num_restarts == 2
    assert {sample.policy_version for sample in after.samples} == {2}
    assert [sample.token_ids for sample in after.samples] == [sample.token_ids for sample in before.samples]
