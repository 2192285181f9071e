"""Learner to engines: new weights in buckets through host memory, under a version; and sleep until they come."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from rl.learner import Learner
from rl.weight_broadcast import BroadcastBroken
from rollout.sampler import EngineHandle, EngineLost, Sampler

UPDATE_TIMEOUT_S = 300.0


async def publish_weights(learner: Learner, sampler: Sampler, version: int) -> None:
    """Give every engine the learner's weights as `version`; requests in flight are frozen, not lost.

    An engine that dies or stalls on the way is left to the sampler's watcher, which restores the same version
    to its successor.
    """

    async def restore(engine: EngineHandle) -> None:
        for why in (await _transfer(learner, [engine], version)).values():
            raise EngineLost(f"{why}, though it had just started")

    sampler.restore = restore
    async with sampler.updating() as seats:
        engines = {seat.engine: seat for seat in seats}
        for engine, why in (await _transfer(learner, list(engines), version)).items():
            engines[engine].give_up(why)


async def make_room(sampler: Sampler) -> None:
    """Before the learner works: engines that share its memory sleep until `publish_weights`; others are left alone."""
    async with sampler.falling_asleep() as seats:
        calls = EngineCalls([seat.engine for seat in seats])
        await calls.on_each("go to sleep", lambda engine: engine.sleep())
        for seat in seats:
            if seat.engine in calls.lost:
                seat.give_up(calls.lost[seat.engine])


class EngineCalls:
    """Calls to engines, each with a limit; `lost` has the engines that were lost on the way, and why.

    Any other error than a lost engine is ours and ends the run.
    """

    def __init__(self, engines: list[EngineHandle]) -> None:
        self.engines = engines
        self.lost: dict[EngineHandle, str] = {}

    async def on_each(self, what: str, call: Callable[[EngineHandle], Awaitable[None]]) -> None:
        """Call all engines that are not lost at once."""
        await asyncio.gather(*(self._limited(engine, what, call) for engine in self.engines if engine not in self.lost))

    def lose_all(self, why: str) -> None:
        """What each has got is incomplete."""
        self.lost = {engine: f"{engine.name} has incomplete weights: {why}" for engine in self.engines} | self.lost

    async def _limited(self, engine: EngineHandle, what: str, call: Callable[[EngineHandle], Awaitable[None]]) -> None:
        try:
            await asyncio.wait_for(call(engine), UPDATE_TIMEOUT_S)
        except EngineLost as error:
            self.lost[engine] = f"{engine.name} could not {what}: {error}"
        except TimeoutError:
            self.lost[engine] = f"{engine.name} could not {what} within {UPDATE_TIMEOUT_S:.0f} s"


async def _transfer(learner: Learner, engines: list[EngineHandle], version: int) -> dict[EngineHandle, str]:
    """Move all buckets; answers with the engines that were lost on the way, and why."""
    calls = EngineCalls(engines)
    # The first bucket is gathered while the engines come to rest.
    resting = asyncio.ensure_future(calls.on_each("begin the weight update", lambda engine: engine.begin_update()))
    try:
        async with aclosing(learner.weights(engines)) as buckets:
            async for bucket in buckets:
                await resting
                await calls.on_each("load a weight bucket", lambda engine, bucket=bucket: engine.load_bucket(bucket))  # type: ignore[misc]
                if calls.lost and bucket.get("path") == "":  # no file: the others wait for those that are lost
                    raise BroadcastBroken("an engine was lost during a broadcast of weights")
    except BroadcastBroken as error:
        calls.lose_all(str(error))
    finally:
        resting.cancel()
    await calls.on_each("end the weight update", lambda engine: engine.end_update(version))
    return calls.lost
