"""Learner to engines: new weights in buckets through host memory, under a version."""

import asyncio
from collections.abc import Awaitable, Callable

from rl.learner import Learner
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


async def _transfer(learner: Learner, engines: list[EngineHandle], version: int) -> dict[EngineHandle, str]:
    """Move all buckets; answers with the engines that were lost on the way, and why.

    Any other error than a lost engine is ours and ends the run.
    """
    lost: dict[EngineHandle, str] = {}

    async def limited(engine: EngineHandle, what: str, call: Callable[[EngineHandle], Awaitable[None]]) -> None:
        try:
            await asyncio.wait_for(call(engine), UPDATE_TIMEOUT_S)
        except EngineLost as error:
            lost[engine] = f"{engine.name} could not {what}: {error}"
        except TimeoutError:
            lost[engine] = f"{engine.name} could not {what} within {UPDATE_TIMEOUT_S:.0f} s"

    async def on_each(what: str, call: Callable[[EngineHandle], Awaitable[None]]) -> None:
        await asyncio.gather(*(limited(engine, what, call) for engine in engines if engine not in lost))

    # The first bucket is gathered while the engines come to rest.
    resting = asyncio.ensure_future(on_each("begin the weight update", lambda engine: engine.begin_update()))
    async for bucket in learner.weights():
        await resting
        await on_each("load a weight bucket", lambda engine, bucket=bucket: engine.load_bucket(bucket))  # type: ignore[misc]
    await on_each("end the weight update", lambda engine: engine.end_update(version))
    return lost
