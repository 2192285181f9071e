"""The sampler over engines that die, hang and come back."""

import asyncio

import pytest

from rl.weight_sync import publish_weights
from rollout import sampler as sampler_module
from rollout.sampler import EngineLost, Sampler
from rollout.types import Prompt, SamplingParams
from tests.fakes import FakeEngine, FakeLearner, open_fake_sampler

PARAMS = SamplingParams(max_tokens=8)


@pytest.fixture(autouse=True)
def quick_watch(monkeypatch):
    monkeypatch.setattr(sampler_module, "WATCH_EVERY_S", 0.02)


def prompt(text: str) -> Prompt:
    return Prompt(id=text, messages=({"role": "user", "content": text},), task="math", reference="1")


async def sample_all(sampler: Sampler, count: int):
    calls = [sampler.sample(prompt(f"p{n}"), params=PARAMS, num_samples=2, seed=n) for n in range(count)]
    return await asyncio.wait_for(asyncio.gather(*calls), 10)


def assert_complete(groups, engines) -> None:
    """Each prompt has its group, and was finished by exactly one engine."""
    assert [group.prompt.id for group in groups] == [f"p{n}" for n in range(len(groups))]
    served = sorted(ids for engine in engines for ids in engine.served)
    assert served == sorted(group.prompt_token_ids for group in groups)


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def test_requests_are_spread_over_the_engines():
    engines = [FakeEngine("a", delay_s=0.05), FakeEngine("b", delay_s=0.05)]
    async with open_fake_sampler(engines) as sampler:
        assert_complete(await sample_all(sampler, 10), engines)
    assert [len(engine.served) for engine in engines] == [5, 5]


async def test_a_dead_engines_requests_go_elsewhere_and_it_is_replaced():
    dying, other, fresh = FakeEngine("a", delay_s=0.02, dies_at="generate"), FakeEngine("b"), FakeEngine("c")
    async with open_fake_sampler([dying, other], [fresh]) as sampler:
        assert_complete(await sample_all(sampler, 10), [dying, other, fresh])
        await until(lambda: sampler.num_restarts and sampler.seats[0].ready.is_set())
        assert sampler.num_restarts == 1, "many requests notice one death"
        assert sampler.seats[0].engine is fresh
        assert dying.killed


async def test_a_stuck_engine_is_noticed():
    stuck, fresh = FakeEngine("a", hangs_at=("generate",)), FakeEngine("b")
    async with open_fake_sampler([stuck], [fresh]) as sampler:
        assert_complete(await sample_all(sampler, 4), [stuck, fresh])
    assert stuck.killed


async def test_a_slow_engine_that_makes_progress_is_left_alone():
    slow = FakeEngine("a", delay_s=0.6)
    async with open_fake_sampler([slow]) as sampler:
        assert_complete(await sample_all(sampler, 2), [slow])
        assert sampler.num_restarts == 0


async def test_a_replacement_gets_the_current_weights():
    learner, dying, fresh = FakeLearner(), FakeEngine("a"), FakeEngine("b")
    async with open_fake_sampler([dying], [fresh]) as sampler:
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
    async with open_fake_sampler([healthy, dying], [fresh]) as sampler:
        await publish_weights(learner, sampler, version=1)
        assert healthy.version == 1
        await until(lambda: fresh.version == 1)
        assert len(fresh.buckets) == 3


async def test_the_only_engine_that_dies_in_an_update_is_replaced_with_the_new_weights():
    fresh = FakeEngine("engine 0")
    async with open_fake_sampler([FakeEngine("engine 0", dies_at="begin_update")], [fresh]) as sampler:
        await publish_weights(FakeLearner(), sampler, version=1)
        (group,) = await sample_all(sampler, 1)
    assert {sample.policy_version for sample in group.samples} == {1}
    assert len(fresh.buckets) == 3


async def test_an_engine_that_never_takes_the_weights_ends_the_run():
    engines = [FakeEngine("engine 0", dies_at="begin_update") for _ in range(2)]
    async with open_fake_sampler(engines[:1], engines[1:]) as sampler:
        await publish_weights(FakeLearner(), sampler, version=1)
        with pytest.raises(EngineLost, match=r"engine 0 could not begin the weight update: .* just started"):
            await sample_all(sampler, 1)


async def test_an_engine_that_cannot_be_restarted_ends_the_wait():
    async with open_fake_sampler([FakeEngine("a", dies_at="generate")]) as sampler:
        with pytest.raises(EngineLost, match="cannot be started"):
            await sample_all(sampler, 1)


async def test_a_prompt_that_does_not_fit_is_refused_by_id_and_length():
    async with open_fake_sampler([FakeEngine("a")]) as sampler:
        with pytest.raises(ValueError, match=r"prompt x+: 60 prompt tokens and up to 8 .*max_context_tokens = 64"):
            await sampler.sample(prompt("x" * 60), params=PARAMS, num_samples=1, seed=0)


async def test_an_engine_that_died_is_replaced_at_once_though_its_pulse_hangs():
    """The watcher waits for a pulse that never comes; the death that a request noticed must cut that short."""
    dying, fresh = FakeEngine("a", delay_s=0.1, dies_at="generate", hangs_at=("progress",)), FakeEngine("b")
    async with asyncio.timeout(5), open_fake_sampler([dying], [fresh], stall_timeout_s=60) as sampler:
        assert_complete(await sample_all(sampler, 3), [dying, fresh])


async def test_a_request_that_waits_for_a_restart_sleeps():
    dying, fresh = FakeEngine("a", dies_at="generate", hangs_at=("progress",)), FakeEngine("b")
    async with open_fake_sampler([dying], [fresh], start_delay_s=0.3) as sampler:
        ready, num_looks = sampler.seats[0].ready, 0

        async def counted(wait=ready.wait):
            nonlocal num_looks
            num_looks += 1
            return await wait()

        ready.wait = counted
        assert_complete(await sample_all(sampler, 1), [fresh])
    assert num_looks <= 2


async def test_an_engine_without_a_pulse_is_given_up():
    silent, fresh = FakeEngine("a", hangs_at=("progress",)), FakeEngine("b")
    async with open_fake_sampler([silent], [fresh]) as sampler:
        await until(lambda: sampler.seats[0].engine is fresh and sampler.seats[0].ready.is_set())
    assert silent.killed


async def test_an_engine_that_dies_idle_is_replaced():
    dying, fresh = FakeEngine("a", dies_at="progress"), FakeEngine("b")
    async with open_fake_sampler([dying], [fresh]) as sampler:
        await until(lambda: sampler.num_restarts == 1)
        assert_complete(await sample_all(sampler, 2), [dying, fresh])


async def test_a_long_weight_update_is_no_stall():
    engine = FakeEngine("a", delay_s=0.6)
    engine.progress = lambda: asyncio.sleep(0, 1)  # frozen: its count stands still
    async with open_fake_sampler([engine], stall_timeout_s=0.3) as sampler:
        request = asyncio.create_task(sample_all(sampler, 1))
        async with sampler.updating():
            await asyncio.sleep(0.5)
            assert sampler.num_restarts == 0
        await request
    assert not engine.killed


async def test_restarts_are_limited():
    dying = [FakeEngine(f"e{n}", dies_at="generate") for n in range(9)]
    async with open_fake_sampler(dying[:1], dying[1:]) as sampler:
        with pytest.raises(EngineLost, match="prompt p0: its engine died 3 times in a row"):
            await sample_all(sampler, 1)
        with pytest.raises(EngineLost, match="e3 died 4 times; see the engine logs"):
            await sample_all(sampler, 1)
        assert sampler.num_restarts == 3
    assert [engine.killed for engine in dying[:5]] == [True] * 4 + [False]


async def test_an_engine_that_is_not_replaced_again_is_told(caplog):
    gone, other = FakeEngine("a", dies_at="progress"), FakeEngine("b")
    async with open_fake_sampler([gone, other], start_delay_s=0.1) as sampler:
        await until(lambda: sampler._watchers[0].done())
        await asyncio.sleep(0)
        assert_complete(await sample_all(sampler, 2), [other])
    (told,) = [record for record in caplog.records if getattr(record, "event", "") == "engine_lost"]
    assert "it is not replaced again" in told.getMessage()


async def test_one_engine_that_cannot_come_back_does_not_end_the_wait_for_another():
    gone, dying, fresh = FakeEngine("a", dies_at="progress"), FakeEngine("b"), FakeEngine("c")
    async with open_fake_sampler([gone, dying], start_delay_s=0.1) as sampler:
        await until(lambda: sampler._watchers[0].done())
        sampler._start_engine = open_fake_sampler([], [fresh], start_delay_s=0.1)._start_engine
        dying.dies_at = "generate"
        assert_complete(await sample_all(sampler, 3), [dying, fresh])


async def test_a_start_that_takes_too_long_is_named():
    dying, slow = FakeEngine("a", dies_at="generate"), FakeEngine("b")
    async with open_fake_sampler([dying], [slow], start_delay_s=9, start_timeout_s=0.1) as sampler:
        with pytest.raises(EngineLost, match=r"a did not come up again within 0 s"):
            await sample_all(sampler, 1)


async def test_a_replacement_that_cannot_be_restored_belongs_to_its_seat():
    """Whoever stops the engines of all seats at the end must find it there."""
    dying, fresh = FakeEngine("a", dies_at="progress"), FakeEngine("b", dies_at="begin_update")
    async with open_fake_sampler([dying], [fresh]) as sampler:
        await publish_weights(FakeLearner(), sampler, version=1)
        with pytest.raises(EngineLost, match="b could not begin the weight update"):
            await asyncio.wait_for(sampler._watchers[0], 5)
        assert sampler.seats[0].engine is fresh


def waiting_for(event: asyncio.Event) -> list[asyncio.Task]:
    frames = {task: getattr(task.get_coro(), "cr_frame", None) for task in asyncio.all_tasks()}
    return [task for task, frame in frames.items() if frame is not None and frame.f_locals.get("self") is event]


async def test_cancelled_requests_leave_nothing_behind():
    async with open_fake_sampler([FakeEngine("a", delay_s=60)], [FakeEngine("b")], start_delay_s=60) as sampler:
        seat = sampler.seats[0]
        request = asyncio.create_task(sample_all(sampler, 3))
        await until(lambda: seat.num_waiting == 3)
        seat.give_up("given up by hand")
        await until(lambda: len(waiting_for(seat.ready)) == 3)  # now they wait for an engine that does not come up
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await asyncio.sleep(0)
        assert not waiting_for(seat.ready), "nobody waits any more"
    await asyncio.sleep(0)
    assert not waiting_for(seat.lost)


async def test_versions_are_those_of_the_weights_that_sampled():
    learner, engine = FakeLearner(), FakeEngine("a", delay_s=0.05)
    async with open_fake_sampler([engine]) as sampler:
        await publish_weights(learner, sampler, version=1)
        request = asyncio.create_task(sample_all(sampler, 1))
        await asyncio.sleep(0.01)
        await publish_weights(learner, sampler, version=2)
        (early,), (late,) = await request, await sample_all(sampler, 1)
    assert [group.samples[0].policy_version for group in (early, late)] == [1, 2]


async def test_scores_of_a_dead_engine_are_asked_elsewhere():
    dying, other = FakeEngine("a", dies_at="score"), FakeEngine("b")
    async with open_fake_sampler([dying, other], [FakeEngine("c")]) as sampler:
        calls = [sampler.score(prompt("p"), (1, 2, n)) for n in range(6)]
        assert await asyncio.wait_for(asyncio.gather(*calls), 10) == [[-0.5, -0.5]] * 6
