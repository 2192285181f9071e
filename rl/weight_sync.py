"""Learner to engines: new weights in buckets through host memory, under a version."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from rl.learner import Learner
from rollout.sampler import EngineHandle, EngineLost, Sampler

Answer = TypeVar("Answer")
UPDATE_TIMEOUT_S = 300.0


async def publish_weights(learner: Learner, sampler: Sampler, version: int) -> None:
    """Give every engine the learner's weights as `version`; requests in flight are frozen, not lost.

    An engine that dies or stalls on the way is left to the sampler's watcher, which restores the same version
    to its successor.
    """

    async def restore(engine: EngineHandle) -> None:
        await _transfer(learner, [engine], version)

    sampler.restore = restore
    async with sampler.updating() as seats:
        engines = {seat.engine: seat for seat in seats}
        for engine in await _transfer(learner, list(engines), version):
            engines[engine].give_up()


async def _transfer(learner: Learner, engines: list[EngineHandle], version: int) -> list[EngineHandle]:
    """Move all buckets; answers with the engines that were lost on the way."""
    alive = await _on_each(engines, [engine.begin_update() for engine in engines], "begin the weight update")
    async for bucket in learner.weights():
        alive = await _on_each(alive, [engine.load_bucket(bucket) for engine in alive], "load a weight bucket")
    alive = await _on_each(alive, [engine.end_update(version) for engine in alive], "end the weight update")
    return [engine for engine in engines if engine not in alive]


async def _on_each(engines: list[EngineHandle], calls: Iterable[Awaitable[Answer]], what: str) -> list[EngineHandle]:
    """The engines whose call came through. Any other error than a lost engine is ours and ends the run."""

    async def limited(engine: EngineHandle, call: Awaitable[Answer]) -> bool:
        try:
            await asyncio.wait_for(call, UPDATE_TIMEOUT_S)
        except EngineLost:
            return False
        except TimeoutError:
            return False
        return True

    came_through = await asyncio.gather(*(limited(e, c) for e, c in zip(engines, calls, strict=True)))
    alive = [engine for engine, ok in zip(engines, came_through, strict=True) if ok]
    if engines and not alive:
        names = ", ".join(engine.name for engine in engines)
        raise EngineLost(f"no engine could {what} within {UPDATE_TIMEOUT_S:.0f} s: {names}")
    return alive
