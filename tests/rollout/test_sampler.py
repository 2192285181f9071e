"""The sampler over engines that die, hang and come back."""

import asyncio

import pytest

from rl.weight_sync import publish_weights
from rollout import sampler as sampler_module
from rollout.engine import EngineConfig
from rollout.sampler import EngineLost, Sampler
from rollout.types import Prompt, SamplingParams
from tests.fakes import FakeChat, FakeEngine, FakeLearner

PARAMS = SamplingParams(max_tokens=8)


@pytest.fixture(autouse=True)
def quick_watch(monkeypatch):
    monkeypatch.setattr(sampler_module, "WATCH_EVERY_S", 0.02)


def prompt(text: str) -> Prompt:
    return Prompt(id=text, messages=({"role": "user", "content": text},), task="math", reference="1")


def open_sampler(engines, *, replacements=(), stall_timeout_s=0.2) -> Sampler:
    waiting = list(replacements)

    async def start(index: int) -> FakeEngine:
        if not waiting:
            raise EngineLost(f"engine {index} cannot be started")
        return waiting.pop(0)

    config = EngineConfig(max_context_tokens=64, stall_timeout_s=stall_timeout_s, start_timeout_s=5)
    return Sampler(list(engines), FakeChat(), config, start)


async def sample_all(sampler: Sampler, count: int):
    calls = [sampler.sample(prompt(f"p{n}"), params=PARAMS, num_samples=2, seed=n) for n in range(count)]
    return await asyncio.wait_for(asyncio.gather(*calls), 10)


def assert_complete(groups, engines) -> None:
    """Each prompt has its group, and was finished by exactly one engine."""
    assert [group.prompt.id for group in groups] == [f"p{n}" for n in range(len(groups))]
    served = sorted(ids for engine in engines for ids in engine.served)
    assert served == sorted(group.prompt_token_ids for group in groups)


async def test_requests_are_spread_over_the_engines():
    engines = [FakeEngine("a", delay_s=0.05), FakeEngine("b", delay_s=0.05)]
    async with open_sampler(engines) as sampler:
        assert_complete(await sample_all(sampler, 10), engines)
    assert [len(engine.served) for engine in engines] == [5, 5]


async def test_a_dead_engines_requests_go_elsewhere_and_it_is_replaced():
    dying, other, fresh = FakeEngine("a", delay_s=0.02, dies_at="generate"), FakeEngine("b"), FakeEngine("c")
    async with open_sampler([dying, other], replacements=[fresh]) as sampler:
        assert_complete(await sample_all(sampler, 10), [dying, other, fresh])
        for _ in range(100):
            if sampler.num_restarts and sampler.seats[0].ready.is_set():
                break
            await asyncio.sleep(0.01)
        assert sampler.seats[0].engine is fresh
        assert dying.killed


async def test_a_stuck_engine_is_noticed():
    stuck, fresh = FakeEngine("a", hangs=True), FakeEngine("b")
    async with open_sampler([stuck], replacements=[fresh]) as sampler:
        assert_complete(await sample_all(sampler, 4), [stuck, fresh])
    assert stuck.killed


async def test_a_slow_engine_that_makes_progress_is_left_alone():
    slow = FakeEngine("a", delay_s=0.6)
    async with open_sampler([slow]) as sampler:
        assert_complete(await sample_all(sampler, 2), [slow])
        assert sampler.num_restarts == 0


async def test_a_replacement_gets_the_current_weights():
    learner, dying, fresh = FakeLearner(), FakeEngine("a"), FakeEngine("b")
    async with open_sampler([dying], replacements=[fresh]) as sampler:
        learner.value = 5
        await publish_weights(learner, sampler, version=3)
        assert (dying.version, len(dying.buckets)) == (3, 3)
        dying.dies_at = "generate"
        (group,) = await sample_all(sampler, 1)
    assert fresh.version == 3
    assert fresh.buckets == [{"index": n, "value": 5} for n in range(3)]
    assert {sample.policy_version for sample in group.samples} == {3}


async def test_an_engine_that_dies_in_an_update_is_replaced_with_the_new_weights():
    learner, healthy, fresh = FakeLearner(), FakeEngine("a"), FakeEngine("c")
    dying = FakeEngine("b", dies_at="load_bucket")
    async with open_sampler([healthy, dying], replacements=[fresh]) as sampler:
        await publish_weights(learner, sampler, version=1)
        assert healthy.version == 1
        for _ in range(200):
            if fresh.version == 1:
                break
            await asyncio.sleep(0.01)
        assert fresh.version == 1


async def test_when_no_engine_takes_the_weights_the_run_stops():
    async with open_sampler([FakeEngine("engine 0", dies_at="begin_update")]) as sampler:
        with pytest.raises(EngineLost, match=r"no engine could begin the weight update within 300 s: engine 0"):
            await publish_weights(FakeLearner(), sampler, version=1)


async def test_an_engine_that_cannot_be_restarted_ends_the_wait():
    async with open_sampler([FakeEngine("a", dies_at="generate")]) as sampler:
        with pytest.raises(EngineLost, match="cannot be started"):
            await sample_all(sampler, 1)


async def test_a_prompt_that_does_not_fit_is_refused_by_id_and_length():
    async with open_sampler([FakeEngine("a")]) as sampler:
        with pytest.raises(ValueError, match=r"prompt x+: 60 prompt tokens and up to 8 .*max_context_tokens = 64"):
            await sampler.sample(prompt("x" * 60), params=PARAMS, num_samples=1, seed=0)
