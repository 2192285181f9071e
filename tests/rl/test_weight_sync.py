"""Weights to engines: all buckets to all of them under one version, whoever is lost on the way."""

import asyncio
import re

import pytest

from rl import weight_sync
from rl.weight_sync import make_room, publish_weights
from rollout.sampler import EngineLost
from rollout.turns import Turns
from tests.fakes import FakeEngine, FakeLearner, open_fake_sampler

CALLS = ["begin_update", "load_bucket", "end_update"]


async def test_every_engine_gets_every_bucket_once_and_in_order():
    learner, engines = FakeLearner(), [FakeEngine("a"), FakeEngine("b"), FakeEngine("c")]
    learner.value = 7
    await publish_weights(learner, open_fake_sampler(engines), version=4)
    expected = [{"index": n, "value": 7} for n in range(3)]
    assert [(engine.version, engine.buckets) for engine in engines] == [(4, expected)] * 3
    assert learner.num_sent == 3, "the weights leave the learner once, however many engines there are"


async def test_the_first_bucket_is_gathered_while_the_engines_come_to_rest():
    asked = asyncio.Event()

    class Learner(FakeLearner):
        async def weights(self, engines):
            asked.set()
            async for bucket in super().weights(engines):
                yield bucket

    class Engine(FakeEngine):
        async def begin_update(self):
            await asyncio.wait_for(asked.wait(), 5)
            await super().begin_update()

    engine = Engine("a")
    await publish_weights(Learner(), open_fake_sampler([engine]), version=1)
    assert (engine.version, len(engine.buckets)) == (1, 3), "none before the engine was at rest, which clears them"


@pytest.mark.parametrize("call", CALLS)
async def test_an_engine_that_dies_on_the_way_is_given_up(call):
    healthy, dying = FakeEngine("a"), FakeEngine("b", dies_at=call)
    sampler = open_fake_sampler([healthy, dying])
    await publish_weights(FakeLearner(), sampler, version=2)
    assert (healthy.version, len(healthy.buckets)) == (2, 3)
    assert dying.version == 0
    assert [(seat.lost.is_set(), seat.ready.is_set()) for seat in sampler.seats] == [(False, True), (True, False)]


@pytest.mark.parametrize("call", CALLS)
async def test_an_engine_that_hangs_on_the_way_is_given_up(call, monkeypatch):
    monkeypatch.setattr(weight_sync, "UPDATE_TIMEOUT_S", 0.05)
    healthy, stuck = FakeEngine("a"), FakeEngine("b", hangs_at=(call,))
    sampler = open_fake_sampler([healthy, stuck])
    await publish_weights(FakeLearner(), sampler, version=2)
    assert (healthy.version, stuck.version) == (2, 0)
    assert [seat.lost.is_set() for seat in sampler.seats] == [False, True]


@pytest.mark.parametrize(("call", "what"), zip(CALLS, ["begin the", "load a weight bucket", "end the"], strict=True))
async def test_all_that_are_lost_are_named_with_what_they_were_at(call, what, monkeypatch):
    monkeypatch.setattr(weight_sync, "UPDATE_TIMEOUT_S", 0.05)
    sampler = open_fake_sampler([FakeEngine("engine 0", dies_at=call), FakeEngine("engine 1", hangs_at=(call,))])
    await publish_weights(FakeLearner(), sampler, version=1)
    first, second = [seat.why_lost for seat in sampler.seats]
    assert first.startswith(f"engine 0 could not {what}")
    assert re.match(f"engine 1 could not {what}.* within", second)


async def test_a_successor_that_does_not_take_the_weights_ends_the_run():
    sampler = open_fake_sampler([FakeEngine("a")])
    await publish_weights(FakeLearner(), sampler, version=1)
    with pytest.raises(EngineLost, match=r"late could not load a weight bucket: .*, though it had just started"):
        await sampler.restore(FakeEngine("late", dies_at="load_bucket"))


async def test_any_other_error_is_ours_and_surfaces():
    broken = FakeEngine("b", dies_at="load_bucket", error=ValueError("shape (3,) for (4,)"))
    with pytest.raises(ValueError, match="shape"):
        await publish_weights(FakeLearner(), open_fake_sampler([FakeEngine("a"), broken]), version=1)


async def test_restoring_gives_the_version_and_weights_that_were_published():
    learner, late = FakeLearner(), FakeEngine("late")
    learner.value = 5
    sampler = open_fake_sampler([FakeEngine("a")])
    await publish_weights(learner, sampler, version=3)
    assert sampler.restore is not None
    await sampler.restore(late)
    assert (late.version, late.buckets) == (3, [{"index": n, "value": 5} for n in range(3)])


async def test_an_engine_that_is_being_replaced_takes_no_part():
    away, healthy = FakeEngine("a"), FakeEngine("b")
    sampler = open_fake_sampler([away, healthy])
    sampler.seats[0].give_up("given up by hand")
    await publish_weights(FakeLearner(), sampler, version=1)
    assert (away.version, healthy.version) == (0, 1)


async def test_engines_of_their_own_memory_stay_awake_while_the_learner_works():
    engine = FakeEngine("a", dies_at="sleep")
    sampler = open_fake_sampler([engine])
    await make_room(sampler)
    assert sampler.seats[0].ready.is_set()


async def test_engines_that_share_memory_sleep_until_new_weights_come():
    engines = [FakeEngine("a"), FakeEngine("b")]
    sampler = open_fake_sampler(engines)
    sampler.turns = Turns(shared=True)
    for step in range(1, 4):
        await make_room(sampler)
        assert all(engine.sleeps for engine in engines)
        await publish_weights(FakeLearner(), sampler, version=step)
        assert not any(engine.sleeps for engine in engines)


@pytest.mark.parametrize("fault", [{"dies_at": "sleep"}, {"hangs_at": ("sleep",)}])
async def test_an_engine_that_cannot_sleep_is_ended_and_replaced_after_the_learners_turn(fault, monkeypatch):
    monkeypatch.setattr(weight_sync, "UPDATE_TIMEOUT_S", 0.05)
    awake, fresh = FakeEngine("engine 0", **fault), FakeEngine("engine 0")
    started = asyncio.Event()

    async with open_fake_sampler([awake], [fresh], on_start=started.set) as sampler:
        sampler.turns = Turns(shared=True)
        await make_room(sampler)
        assert sampler.seats[0].why_lost.startswith("engine 0 could not go to sleep")
        await asyncio.sleep(0.05)
        assert awake.killed, "the learner has its memory"
        assert not started.is_set()
        await publish_weights(FakeLearner(), sampler, version=1)
        await asyncio.wait_for(sampler.seats[0].ready.wait(), 5)
    assert (started.is_set(), fresh.version, len(fresh.buckets)) == (True, 1, 3)


async def test_the_learner_waits_for_an_engine_that_is_being_started():
    dying, fresh = FakeEngine("a"), FakeEngine("b")
    async with open_fake_sampler([dying], [fresh], start_delay_s=0.1) as sampler:
        sampler.turns = Turns(shared=True)
        await publish_weights(FakeLearner(), sampler, version=1)
        sampler.seats[0].give_up("given up by hand")
        await asyncio.sleep(0.01)
        await make_room(sampler)
        assert (fresh.version, fresh.sleeps) == (1, True)


async def test_a_learner_that_fails_before_its_first_bucket_leaves_no_call_behind():
    begun, ended = asyncio.Event(), asyncio.Event()

    class Learner(FakeLearner):
        async def weights(self, engines):
            await begun.wait()
            raise ValueError("no weights")
            yield {}

    class Engine(FakeEngine):
        async def begin_update(self):
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

    with pytest.raises(ValueError, match="no weights"):
        await publish_weights(Learner(), open_fake_sampler([Engine("a")]), version=1)
    await asyncio.wait_for(ended.wait(), 5)


async def test_an_engine_that_was_lost_before_the_learners_turn_is_ended_first():
    lost = FakeEngine("a")
    sampler = open_fake_sampler([lost, FakeEngine("b")])  # nobody watches it
    sampler.turns = Turns(shared=True)
    sampler.seats[0].give_up("lost just now")
    await make_room(sampler)
    assert lost.killed, "the learner gets its memory"


async def test_an_engine_that_does_not_take_the_weights_is_ended_and_takes_no_memory_from_the_learner():
    dying, late = FakeEngine("a"), FakeEngine("late", dies_at="load_bucket")
    async with open_fake_sampler([dying], [late]) as sampler:
        sampler.turns = Turns(shared=True)
        await publish_weights(FakeLearner(), sampler, version=1)
        sampler.seats[0].give_up("given up by hand")
        await asyncio.wait(sampler._watchers, timeout=5)  # the watcher of such an engine gives up
        assert late.killed
        await asyncio.wait_for(make_room(sampler), 5)


async def test_engines_that_share_memory_with_the_learner_start_at_once_all_the_same():
    turns, order = Turns(shared=True), []

    async def start(name: str) -> None:
        async with turns.starting():
            order.append(f"{name} starts")
            await asyncio.sleep(0.02)
            order.append(f"{name} is there")

    starts = [asyncio.create_task(start(name)) for name in "ab"]
    await asyncio.sleep(0)
    await asyncio.wait_for(turns.begin_learning(), 5)
    assert order == ["a starts", "b starts", "a is there", "b is there"], "and the learner waits for both"
    late = asyncio.create_task(start("c"))
    await asyncio.sleep(0.02)
    assert len(order) == 4
    await turns.end_learning()
    await asyncio.wait_for(asyncio.gather(late, *starts), 5)
    assert order[4:] == ["c starts", "c is there"]
