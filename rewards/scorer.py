"""The in-process scorer: every response is judged in a worker that can be killed, and failures have types."""

import asyncio
import pickle
import time
from collections import Counter

from pydantic import BaseModel, ConfigDict, Field

from rewards.crew import Crew
from rewards.registry import find_task, load_tasks
from rewards.types import RewardRequest, RewardResult
from rewards.worker import BrokenLimit, judge

MAX_RESPONSE_CHARS = 1_000_000


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

    What breaks a limit is judged once more, alone in a new worker. An answer to a task of ours that breaks one again
    is a wrong answer; a plug-in that does so, crashes or answers nonsense has failed, and its score is null.
    """

    def __init__(self, config: ScorerConfig) -> None:
        self.config = config
        self.counts: Counter[tuple[str, str]] = Counter()  # (task, status), once a request
        self.num_retries = 0
        self._tasks = load_tasks(tuple(config.plugins))
        self._crew: Crew | None = None

    async def __aenter__(self) -> "Scorer":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the workers; answers when all of them can judge."""
        config = self.config
        self._crew = Crew(config.num_workers, tuple(config.plugins), config.memory_mib, config.recycle_after)
        await self._crew.start()

    async def stop(self) -> None:
        """End the workers, and what they are at."""
        crew, self._crew = self._crew, None
        if crew is not None:
            await crew.stop()

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """One result a request, in order. Raises ValueError for an unknown task, before anything is judged."""
        for request in requests:
            find_task(request.task, self._tasks)
        return list(await asyncio.gather(*(self._score_one(request) for request in requests)))

    async def _score_one(self, request: RewardRequest) -> RewardResult:
        start = time.perf_counter()
        result = self._refuse(request) or await self._judge(request)
        self.counts[request.task, result.status] += 1
        task = self._tasks[request.task]
        verifier = result.verifier or task.name
        ms = result.ms or round((time.perf_counter() - start) * 1e3, 3)
        return result.model_copy(update={"id": request.id, "verifier": verifier, "version": task.version, "ms": ms})

    def _refuse(self, request: RewardRequest) -> RewardResult | None:
        """What needs no worker: a response beyond the bound is a wrong answer."""
        if isinstance(request.response, str):
            if len(request.response) <= MAX_RESPONSE_CHARS:
                return None
            return RewardResult(score=0, reason=f"a response of more than {MAX_RESPONSE_CHARS} characters")
        task = self._tasks[request.task]
        if task.is_ours and not task.takes_messages:
            return RewardResult(score=None, status="error", reason="this task takes a text, not messages")
        return None

    async def _judge(self, request: RewardRequest) -> RewardResult:
        try:
            payload = pickle.dumps((request.model_dump(), None))
        except (RecursionError, ValueError) as error:
            return RewardResult(score=None, status="error", reason=f"nested too deep for a worker: {error}"[:500])
        outcome = await self._attempt(payload)
        if isinstance(outcome, RewardResult):
            return outcome
        self.num_retries += 1
        outcome = await self._attempt(payload, alone=True)
        if isinstance(outcome, RewardResult):
            return outcome
        reason = f"broke a worker's limits twice: {outcome.reason}"
        if self._tasks[request.task].is_ours:
            return RewardResult(score=0, reason=reason)
        return RewardResult(score=None, status=outcome.status, reason=reason)

    async def _attempt(self, payload: bytes, *, alone: bool = False) -> RewardResult | BrokenLimit:
        assert self._crew is not None, "used inside `async with`"
        try:
            outcome = await self._crew.run(judge, payload, timeout_s=self.config.timeout_s, alone=alone)
            return outcome if isinstance(outcome, BrokenLimit) else RewardResult.model_validate(outcome)
        # The world beyond the worker's pipe: what goes wrong there is the failure of that one request.
        except Exception as error:
            return RewardResult(score=None, status="error", reason=f"{type(error).__name__}: {error}"[:500])
