"""Worker processes that take one job at a time, and outlive whatever a job does to one of them."""

import asyncio
import functools
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from rewards.worker import BrokenLimit, ready, start_worker

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0


class Worker:
    """A pebble pool of one process, and another one where it broke.

    Workers that share a pool share its pipe: one that dies while idle, or with the lock of the pipe in its hands, and
    several that die at once, break the pool for all of them.
    """

    def __init__(self, make_pool: Callable[[], ProcessPool]) -> None:
        self._make_pool = make_pool
        self._pool = make_pool()

    def schedule(self, job: Callable[..., Any], *args: Any, timeout_s: float) -> ProcessFuture:
        """Start the job, in a new process if the old one died while idle."""
        try:
            return self._pool.schedule(job, args=args, timeout=timeout_s)
        except RuntimeError:  # pebble's word for a pool that is broken
            self.renew()
            return self._pool.schedule(job, args=args, timeout=timeout_s)

    def renew(self) -> None:
        """A process that has judged nothing yet."""
        self.retire()
        self._pool = self._make_pool()

    def retire(self) -> threading.Thread:
        """End the process from a thread, for which nobody need wait: a broken pool may take its time."""
        thread = threading.Thread(target=_end, args=[self._pool], name="end of a reward worker", daemon=True)
        thread.start()
        return thread


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


class Crew:
    """`size` workers; `plugins` and `memory_mib` as in the scorer's configuration. Every wait for a worker ends."""

    def __init__(self, size: int, plugins: tuple[str, ...], memory_mib: int, recycle_after: int) -> None:
        make_pool = functools.partial(
            ProcessPool,
            max_workers=1,
            max_tasks=recycle_after,
            initializer=start_worker,
            initargs=[plugins, memory_mib],
            context=multiprocessing.get_context("spawn"),
        )
        self._workers = [Worker(make_pool) for _ in range(size)]
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        self._memory_mib = memory_mib

    async def start(self) -> None:
        """Answers when all workers can judge. Raises TimeoutError, or what kept one from starting."""
        starts = [worker.schedule(ready, timeout_s=START_LIMIT_S) for worker in self._workers]
        await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, starts)), START_LIMIT_S)
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def stop(self) -> None:
        """End the workers, and what they are at."""
        threads = [worker.retire() for worker in self._workers]
        await asyncio.gather(*(asyncio.to_thread(thread.join, STOP_LIMIT_S) for thread in threads))

    async def run(
        self, job: Callable[[bytes], Any], payload: bytes, *, timeout_s: float, alone: bool = False
    ) -> Any | BrokenLimit:
        """The job's answer, or the limit that it broke; `alone` in a process that has judged nothing before."""
        worker = await self._idle.get()
        try:
            if alone:
                worker.renew()
            future = asyncio.wrap_future(worker.schedule(job, payload, timeout_s=timeout_s))
            await asyncio.wait([future], timeout=START_LIMIT_S + timeout_s)
            if not future.done():
                future.cancel()
                worker.renew()
                return BrokenLimit("timeout", f"its worker neither started nor died within {START_LIMIT_S:.0f} s")
            return future.result()
        except TimeoutError:
            return BrokenLimit("timeout", f"wall time of {timeout_s} s")
        except (ProcessExpired, BrokenProcessPool) as error:
            code = f" with code {error.exitcode}" if isinstance(error, ProcessExpired) else ""
            return BrokenLimit("error", f"the worker died{code}; its memory limit is {self._memory_mib} MiB")
        finally:
            self._idle.put_nowait(worker)
