"""The in-process scorer: every response is judged in a worker that can be killed, and failures have types."""

import asyncio
import inspect
import logging
import math
import multiprocessing
import resource
import time
from collections import Counter
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from pebble import ProcessExpired, ProcessPool
from pydantic import BaseModel, ConfigDict, Field

from rewards.registry import BUILT_IN, TASKS, find_task, load_tasks
from rewards.types import RewardRequest, RewardResult

MAX_RESPONSE_CHARS = 1_000_000
START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0


class ScorerConfig(BaseModel):
    """Workers and their limits. `timeout_s` is wall time a response, `memory_mib` what a worker may add to its start.

    `plugins` are modules or `.py` files that register tasks, or `module:function` for a task of that name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_workers: int = Field(1, ge=1)
    timeout_s: float = Field(10, gt=0)
    memory_mib: int = Field(2048, ge=64)
    recycle_after: int = Field(10_000, ge=1)
    plugins: list[str] = []


class Scorer:
    """Judges requests in spawned workers, one at a time each; a worker over its limits is killed and replaced.

    An answer to a task of ours that exhausts the limits in two workers is a wrong answer; a plug-in that does so,
    crashes or answers nonsense has failed, and its score is null.
    """

    def __init__(self, config: ScorerConfig) -> None:
        self.config = config
        self.counts: Counter[tuple[str, str]] = Counter()  # (task, status)
        self._tasks = load_tasks(tuple(config.plugins))
        self._pool: ProcessPool | None = None

    async def __aenter__(self) -> "Scorer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the workers; answers when the first one can judge."""
        plugins = tuple(self.config.plugins)
        self._pool = ProcessPool(
            max_workers=self.config.num_workers,
            max_tasks=self.config.recycle_after,
            initializer=_start_worker,
            initargs=[plugins, self.config.memory_mib],
            context=multiprocessing.get_context("spawn"),
        )
        await asyncio.wrap_future(self._pool.schedule(_ready, timeout=START_LIMIT_S))

    async def stop(self) -> None:
        """End the workers, and what they are at."""
        assert self._pool is not None, "started before it is stopped"
        self._pool.stop()
        await asyncio.to_thread(self._pool.join, STOP_LIMIT_S)
        self._pool = None

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """One result a request, in order. Raises ValueError for an unknown task, before anything is judged."""
        for request in requests:
            find_task(request.task, self._tasks)
        return list(await asyncio.gather(*(self._score_one(request) for request in requests)))

    async def _score_one(self, request: RewardRequest) -> RewardResult:
        start = time.perf_counter()
        result = _refuse(request) or await self._judge(request)
        self.counts[request.task, result.status] += 1
        task = self._tasks[request.task]
        verifier = result.verifier or task.name
        ms = round((time.perf_counter() - start) * 1e3, 3)
        return result.model_copy(update={"id": request.id, "verifier": verifier, "version": task.version, "ms": ms})

    async def _judge(self, request: RewardRequest) -> RewardResult:
        failures = []
        for _ in range(2):
            outcome = await self._attempt(request)
            if isinstance(outcome, RewardResult):
                return outcome
            failures.append(outcome)
        reason = f"exhausted a worker's limits twice: {failures[-1]}"
        if self._tasks[request.task].function.__module__ in BUILT_IN:
            return RewardResult(score=0, reason=reason)
        status = "timeout" if "time" in failures[-1] else "error"
        return RewardResult(score=None, status=status, reason=reason)

    async def _attempt(self, request: RewardRequest) -> RewardResult | str:
        """A result, or the limit that the worker broke."""
        assert self._pool is not None, "used inside `async with`"
        payload = request.model_dump()
        future = self._pool.schedule(_work, args=[payload], timeout=self.config.timeout_s)
        try:
            return RewardResult.model_validate(await asyncio.wrap_future(future))
        except FutureTimeoutError:
            return f"wall time of {self.config.timeout_s} s"
        except (ProcessExpired, MemoryError) as error:
            return f"worker died ({type(error).__name__}: {error}); its memory limit is {self.config.memory_mib} MiB"
        # A task is code from anywhere: whatever it raises is recorded as a failure of that one request.
        except Exception as error:
            return RewardResult(score=None, status="error", reason=f"{type(error).__name__}: {error}"[:500])


def _refuse(request: RewardRequest) -> RewardResult | None:
    """What needs no worker: a response beyond the bound is a wrong answer."""
    if isinstance(request.response, str) and len(request.response) > MAX_RESPONSE_CHARS:
        return RewardResult(score=0, reason=f"a response of more than {MAX_RESPONSE_CHARS} characters")
    if not isinstance(request.response, str):
        return RewardResult(score=None, status="error", reason="this task takes a text, not messages")
    return None


def _start_worker(plugins: tuple[str, ...], memory_mib: int) -> None:
    """Import what the tasks need, then limit what they may take."""
    load_tasks(plugins)
    import math_verify  # noqa: F401  a second that must not count as the first response's time

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timers are off: the worker's are on

    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    limit = used + memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _ready() -> bool:
    return True


def _work(payload: dict[str, Any]) -> dict[str, Any]:
    request = RewardRequest.model_validate(payload)
    answer = TASKS[request.task].function(request)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_awaited(answer))
    if isinstance(answer, RewardResult):
        result = answer
    elif isinstance(answer, int | float) and not math.isnan(answer):
        result = RewardResult(score=float(answer))
    else:
        raise TypeError(f"the reward of task {request.task!r} returned {answer!r:.100}, not a number")
    if result.score is not None and not math.isfinite(result.score):
        raise ValueError(f"the reward of task {request.task!r} returned {result.score}")
    return result.model_dump()


async def _awaited(answer: Any) -> Any:
    return await answer
