"""Worker processes that take one job at a time, and outlive whatever a job does to one of them."""

import asyncio
import multiprocessing
import threading
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from rewards.worker import BrokenLimit, ready, start_worker, warm_up

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0


class Worker:
    """A pebble pool of one process, and another one where it broke.

    Workers that share a pool share its pipe: one that dies while idle, or with the lock of the pipe in its hands, and
    several that die at once, break the pool for all of them.
    """

    def __init__(self, make_pool: Callable[[list[str]], ProcessPool], warm: Iterable[str]) -> None:
        self._make_pool, self._first = make_pool, tuple(warm)
        self.warm = list(warm)  # the tasks warmed up for; a process with which the pool replaces another reads the list
        self._pool = make_pool(self.warm)

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
        self._pool = self._make_pool(self.warm)

    def start_over(self) -> None:
        """A new process that is warm for no more than the first one was: what comes next may end it at once."""
        self.warm = list(self._first)
        self.renew()

    def retire(self) -> threading.Thread:
        """End the process from a thread, for which nobody need wait: a broken pool may take its time."""
        thread = threading.Thread(target=_end, args=[self._pool], name="end of a reward worker", daemon=True)
        thread.start()
        return thread


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


class Crew:
    """`size` workers; `plugins` and `memory_mib` as in the scorer's configuration. Every wait for a worker ends.

    A worker warms up for the tasks `warm` at its start, and for another one before its first job.
    """

    def __init__(
        self, size: int, plugins: tuple[str, ...], memory_mib: int, recycle_after: int, warm: Iterable[str] = ()
    ) -> None:
        def make_pool(warm: list[str]) -> ProcessPool:
            return ProcessPool(
                max_workers=1,
                max_tasks=recycle_after,
                initializer=start_worker,
                initargs=[plugins, memory_mib, warm],
                context=multiprocessing.get_context("spawn"),
            )

        warm = tuple(warm)
        self._workers = [Worker(make_pool, warm) for _ in range(size)]
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
        self,
        job: Callable[[bytes], Any],
        payload: bytes,
        *,
        timeout_s: float,
        alone: bool = False,
        warm: str | None = None,
    ) -> Any | BrokenLimit:
        """The job's answer, or the limit that it broke; `alone` in a process that has judged nothing before.

        `warm` is the task that the worker must have warmed up for; that is not of the job's time.
        """
        worker = await self._idle.get()
        try:
            if alone:
                worker.start_over()
            if warm is not None and warm not in worker.warm:
                await _warm_up(worker, warm)
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


async def _warm_up(worker: Worker, task: str) -> None:
    """Have a worker load what a task needs; where that fails, the job says so."""
    worker.warm.append(task)
    future = asyncio.wrap_future(worker.schedule(warm_up, task, timeout_s=START_LIMIT_S))
    await asyncio.wait([future], timeout=2 * START_LIMIT_S)
    if not future.done():
        future.cancel()
        worker.renew()
    if future.cancelled() or future.exception() is not None:
        worker.warm.remove(task)  # its next process must not fail at its start, which is that of all tasks
