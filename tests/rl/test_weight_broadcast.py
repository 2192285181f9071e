"""Weights broadcast to engines: one group for as long as the same engines are there, and all or nothing."""

import asyncio
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from rl import weight_broadcast
from rl.faults import LearnerLost
from rl.weight_broadcast import BroadcastBroken, WeightBroadcast
from rl.weight_sync import publish_weights
from rollout import sampler as sampler_module
from rollout.sampler import EngineSpoiled
from rollout.weight_group import GroupBroken
from tests.fakes import FakeEngine, FakeLearner, open_fake_sampler


class Sender:
    """Learner rank 0's end, which keeps what it is asked for, and fails at one of these."""

    device = "cpu"

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.calls = fails_at, []
        self.group = SimpleNamespace(address="10.0.0.1", port=5000, connect=lambda *_: self._note("connect"))

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self.fails_at:
            raise GroupBroken("connection closed by peer")

    def open(self, address: str) -> None:
        self._note("open")
        self.group.port += 1

    def broadcast(self) -> None:
        self._note("broadcast")

    def close(self) -> None:
        self._note("close")


class Learner(FakeLearner):
    """Two ranks, of which the first sends."""

    broadcasts = True

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        weights = SimpleNamespace(sender=sender, pack_bucket=lambda index: {"path": "", "index": index})
        self.ranks = [SimpleNamespace(learner=SimpleNamespace(rank=rank, weights=weights)) for rank in range(2)]
        self.broadcast = WeightBroadcast(self.on_ranks)

    async def on_ranks(self, function, what):
        await asyncio.sleep(0)
        return [function(rank) for rank in self.ranks]

    async def weights(self, engines):
        async with aclosing(self.broadcast.buckets(engines, 3)) as buckets:
            async for bucket in buckets:
                yield bucket


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(weight_broadcast, "own_address", lambda: "10.0.0.1")


async def test_the_group_is_made_once_for_the_same_engines_and_anew_for_others():
    sender, engines = Sender(), [FakeEngine("a"), FakeEngine("b")]
    engines[0].num_workers = 4
    sampler, learner = open_fake_sampler(engines), Learner(sender)
    for step in (1, 2):
        await publish_weights(learner, sampler, version=step)
        assert [(e.version, [bucket["index"] for bucket in e.buckets]) for e in engines] == [(step, [0, 1, 2])] * 2
    group = {"address": "10.0.0.1", "port": 5001, "size": 6}
    assert engines[0].groups == [group | {"first_rank": 1}]
    assert engines[1].groups == [group | {"first_rank": 5}], "after the four workers of the first"
    assert sender.calls == ["open", "connect"] + ["broadcast"] * 6

    late = FakeEngine("c")
    await sampler.restore(late)
    assert late.groups == [{"address": "10.0.0.1", "port": 5002, "size": 2, "first_rank": 1}]
    await publish_weights(learner, sampler, version=3)
    assert [len(engine.groups) for engine in engines] == [2, 2]


@pytest.mark.parametrize(
    ("sender", "engine", "why"),
    [
        (Sender("open"), {}, "connection closed by peer (in a new group for weights)"),
        (Sender("connect"), {}, "connection closed by peer (in the group for weights)"),
        (Sender("broadcast"), {}, "connection closed by peer (at weight bucket 0)"),
        (Sender(), {"dies_at": "join_group"}, "engines and learner did not come together: b died at join_group"),
        (Sender(), {"dies_at": "load_bucket"}, "an engine was lost during a broadcast of weights"),
        (Sender(), {"hangs_at": ("join_group",)}, "an engine did not join the group for weights in time"),
    ],
)
async def test_where_one_is_lost_no_engine_serves_with_what_it_got(sender, engine, why, monkeypatch):
    monkeypatch.setattr(weight_broadcast, "GROUP_TIMEOUT_S", 0.02)
    monkeypatch.setattr(weight_broadcast, "MARGIN_S", 0.02)
    engines = [FakeEngine("a"), FakeEngine("b", **engine)]
    sampler = open_fake_sampler(engines)
    await publish_weights(Learner(sender), sampler, version=1)
    assert [seat.lost.is_set() for seat in sampler.seats] == [True, True]
    assert why in sampler.seats[0].why_lost
    assert sampler.seats[0].why_lost.startswith("a has incomplete weights")
    assert [one.version for one in engines] == [0, 0]


async def test_after_a_broken_broadcast_the_next_one_has_a_group_of_its_own():
    sender = Sender("broadcast")
    learner, engines = Learner(sender), [FakeEngine("a")]
    with pytest.raises(BroadcastBroken):
        async for _ in learner.weights(engines):
            pass
    sender.fails_at = ""
    assert [bucket["index"] async for bucket in learner.weights(engines)] == [0, 1, 2]
    assert len(engines[0].groups) == 2


async def test_a_fault_of_ours_is_not_taken_for_a_lost_engine():
    broken = FakeEngine("a", dies_at="join_group", error=ValueError("ours"))
    with pytest.raises(ValueError, match="ours"):
        await publish_weights(Learner(Sender()), open_fake_sampler([broken]), version=1)


async def test_an_engine_that_does_not_come_to_rest_costs_the_others_nothing():
    engines = [FakeEngine("a"), FakeEngine("b", dies_at="begin_update")]
    sampler = open_fake_sampler(engines)
    await publish_weights(Learner(Sender()), sampler, version=1)
    assert [seat.lost.is_set() for seat in sampler.seats] == [False, True]
    assert (engines[0].version, engines[0].groups[0]["size"]) == (1, 2)


async def test_a_learner_that_is_lost_in_a_broadcast_is_no_lost_engine():
    """Its engines' connections break first."""

    class Lost(Learner):
        async def on_ranks(self, function, what):
            if function is weight_broadcast.broadcast_bucket:
                await asyncio.sleep(0.02)
                raise LearnerLost("learner rank 0 is gone")
            return await super().on_ranks(function, what)

    engines = [FakeEngine("a", dies_at="load_bucket", error=EngineSpoiled("its group is broken"))]
    with pytest.raises(LearnerLost, match="rank 0 is gone"):
        await publish_weights(Lost(Sender()), open_fake_sampler(engines), version=1)


async def test_only_the_engine_that_broke_a_broadcast_is_charged_a_restart(monkeypatch):
    monkeypatch.setattr(sampler_module, "WATCH_EVERY_S", 0.02)
    engines = [FakeEngine(name) for name in "abcde"]
    successors = [FakeEngine(f"successor {n}") for n in range(40)]
    learner = Learner(Sender())
    async with open_fake_sampler(engines, successors) as sampler:
        for step, seat in enumerate(sampler.seats, start=1):  # one more loss than an engine may have
            for other in sampler.seats:
                await asyncio.wait_for(other.ready.wait(), 5)
            seat.engine.dies_at = "load_bucket"
            await publish_weights(learner, sampler, version=step)
            assert all(other.lost.is_set() for other in sampler.seats)
        for other in sampler.seats:
            await asyncio.wait_for(other.ready.wait(), 5)
        assert [seat.num_restarts for seat in sampler.seats] == [1] * 5
        assert sampler.num_restarts == 25


async def test_where_nobody_is_to_blame_it_counts_for_all():
    sampler = open_fake_sampler([FakeEngine("a"), FakeEngine("b")])
    await publish_weights(Learner(Sender("broadcast")), sampler, version=1)
    assert [seat.is_counted for seat in sampler.seats] == [True, True]
