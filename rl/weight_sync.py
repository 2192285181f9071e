"""Learner to engines: new weights in buckets, under a version; and the sleep before it of those that share memory."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from rl.learner import Learner
from rl.weight_broadcast import BroadcastBroken
from rollout.sampler import EngineHandle, EngineLost, EngineSpoiled, Sampler, Seat

UPDATE_TIMEOUT_S = 300.0


async def publish_weights(learner: Learner, sampler: Sampler, version: int) -> None:
    """Give every engine the learner's weights as `version`; requests in flight are frozen, not lost.

    An engine that dies or stalls on the way is left to the sampler's watcher, which restores the same version
    to its successor.
    """

    async def restore(engine: EngineHandle) -> None:
        calls = EngineCalls([engine])
        await _transfer(learner, calls, version)
        for why in calls.lost.values():
            raise EngineLost(f"{why}, though it had just started")

    sampler.restore = restore
    async with sampler.updating() as seats:
        calls = EngineCalls([seat.engine for seat in seats])
        await _transfer(learner, calls, version)
        _give_up(seats, calls)
    await sampler.turns.end_learning()


async def make_room(sampler: Sampler) -> None:
    """Before the learner works: engines that share its memory sleep until `publish_weights`; others are left alone.

    One that does not fall asleep, and any other that was lost, is ended first.
    """
    if not sampler.turns.shared:
        return
    await sampler.turns.begin_learning()
    async with sampler.updating() as seats:
        calls = EngineCalls([seat.engine for seat in seats])
        await calls.on_each("go to sleep", lambda engine: engine.sleep())
        _give_up(seats, calls)
        await asyncio.gather(*(seat.engine.end() for seat in sampler.seats if seat.lost.is_set()))


def _give_up(seats: list[Seat], calls: "EngineCalls") -> None:
    """Have those that were lost replaced; where others are to blame, it does not count."""
    guilty = calls.lost.keys() - calls.spoiled or calls.lost.keys()
    for seat in seats:
        if why := calls.lost.get(seat.engine):
            seat.give_up(why, is_counted=seat.engine in guilty)


class EngineCalls:
    """Calls to engines, each with a limit.

    `lost` has the engines that were lost on the way, and why; `spoiled` those of them that others have spoiled.

    Any other error than a lost engine is ours and ends the run.
    """

    def __init__(self, engines: list[EngineHandle]) -> None:
        self.engines = engines
        self.lost: dict[EngineHandle, str] = {}
        self.spoiled: set[EngineHandle] = set()

    @property
    def left(self) -> list[EngineHandle]:
        return [engine for engine in self.engines if engine not in self.lost]

    async def on_each(self, what: str, call: Callable[[EngineHandle], Awaitable[None]]) -> None:
        """Call all engines that are not lost at once."""
        await asyncio.gather(*(self._limited(engine, what, call) for engine in self.left))

    def spoil_all(self, why: str) -> None:
        """What each has got is incomplete."""
        self.spoiled.update(self.left)
        self.lost |= {engine: f"{engine.name} has incomplete weights: {why}" for engine in self.left}

    async def _limited(self, engine: EngineHandle, what: str, call: Callable[[EngineHandle], Awaitable[None]]) -> None:
        try:
            await asyncio.wait_for(call(engine), UPDATE_TIMEOUT_S)
        except EngineLost as error:
            self.lost[engine] = f"{engine.name} could not {what}: {error}"
            if isinstance(error, EngineSpoiled):
                self.spoiled.add(engine)
        except TimeoutError:
            self.lost[engine] = f"{engine.name} could not {what} within {UPDATE_TIMEOUT_S:.0f} s"


async def _transfer(learner: Learner, calls: EngineCalls, version: int) -> None:
    """Move all buckets to all engines."""
    # The first bucket is gathered while the engines come to rest.
    resting = asyncio.ensure_future(calls.on_each("begin the weight update", lambda engine: engine.begin_update()))
    try:
        if learner.broadcasts:
            await resting  # or those that do come would wait for one that does not
        members = calls.left
        async with aclosing(learner.weights(members)) as buckets:
            async for bucket in buckets:
                await resting
                await calls.on_each("load a weight bucket", lambda engine, bucket=bucket: engine.load_bucket(bucket))  # type: ignore[misc]
                if learner.broadcasts and calls.left != members:
                    raise BroadcastBroken("an engine was lost during a broadcast of weights")
    except BroadcastBroken as error:
        calls.spoil_all(str(error))
    finally:
        resting.cancel()
    await calls.on_each("end the weight update", lambda engine: engine.end_update(version))
