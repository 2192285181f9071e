"""The in-process scorer: every response is judged in a worker that can be killed, and failures have types."""

import asyncio
import logging
import pickle
import time
from collections import Counter
from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from rewards.calls import CALLS, Call, ModelFailure, Reply
from rewards.canaries import check_canaries, run_canaries
from rewards.combine import Combination
from rewards.crew import Crew
from rewards.expansion import check_tasks, score_combined
from rewards.models import Models, ModelsConfig
from rewards.registry import find_task, load_tasks
from rewards.types import RewardRequest, RewardResult
from rewards.worker import BrokenLimit, judge

MAX_RESPONSE_CHARS = 1_000_000

log = logging.getLogger(__name__)


class ScorerConfig(ModelsConfig):
    """Workers and their limits. `timeout_s` is wall time a response, `memory_mib` what a worker may add to its start.

    `plugins` are modules or `.py` files that register tasks, or `module:function` for a task of that name. Workers load
    at their start what the tasks `warm_up` need, and for another task before its first response. `judge` and
    `preference` are the models that model-based tasks ask. `combine` has the combination of each task that has one.
    """

    num_workers: int = Field(1, ge=1)
    timeout_s: float = Field(10, gt=0)
    memory_mib: int = Field(2048, ge=64)
    recycle_after: int = Field(10_000, ge=1)
    plugins: list[str] = Field(default_factory=list)
    warm_up: list[str] = Field(default_factory=list)
    combine: dict[str, Combination] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_known_tasks(self) -> Self:
        if self.combine:
            check_tasks(self.combine, load_tasks(tuple(self.plugins)))
        for name in self.warm_up:
            try:
                find_task(name, load_tasks(tuple(self.plugins)))
            except ValueError as error:
                raise ValueError(f"warm_up: {error}") from None
        return self

    @property
    def warm_tasks(self) -> list[str]:
        """The tasks of `warm_up`, and those that their combinations ask, as far as they have something to load."""
        tasks = load_tasks(tuple(self.plugins))
        parts = [part for name in self.warm_up if name in self.combine for part in self.combine[name].tasks.values()]
        return [name for name in dict.fromkeys([*self.warm_up, *parts]) if tasks[name].warm_up]


class Scorer:
    """Judges requests in spawned workers, one at a time each; a worker over its limits is killed and replaced.

    What breaks a limit is judged once more, alone in a new worker. An answer to a task of ours that breaks one again
    is a wrong answer; a plug-in that does so, crashes or answers nonsense has failed, and its score is null. A task
    that asks models is run twice, for its calls and with their replies: nothing waits for a model in a worker.
    """

    def __init__(self, config: ScorerConfig) -> None:
        self.config = config
        self.counts: Counter[tuple[str, str]] = Counter()  # (task, status), once a request or a component of one
        self.num_retries = 0
        self.canary_rates: dict[str, float] = {}
        self._tasks = load_tasks(tuple(config.plugins))
        self._crew: Crew | None = None
        self._models: Models | None = None

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
        """Start the workers, and try the judge on its canaries; answers when all can judge. Raises ValueError."""
        config = self.config
        self._models = Models(config)
        self._crew = Crew(
            config.num_workers, tuple(config.plugins), config.memory_mib, config.recycle_after, config.warm_tasks
        )
        await self._crew.start()
        if config.judge is not None and config.judge.canaries:
            self.canary_rates = await check_canaries(self, config.judge)

    async def stop(self) -> None:
        """End the calls to models, the workers, and what they are at."""
        models, self._models = self._models, None
        crew, self._crew = self._crew, None
        try:
            if models is not None:
                await models.stop()
        finally:
            if crew is not None:
                await crew.stop()

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """One result a request, in order. Raises ValueError for an unknown task, before anything is judged."""
        for request in requests:
            find_task(request.task, self._tasks)
        combine, score = self.config.combine, self._score_one
        return list(await asyncio.gather(*(score_combined(request, combine, score) for request in requests)))

    def num_judged(self) -> int:
        """Results so far, components of combined ones among them."""
        return self.counts.total()

    async def replay(self, request: RewardRequest, replies: Sequence[Reply]) -> RewardResult:
        """The result with these replies in place of models; status error where the task makes more or fewer calls."""
        outcome = self._refuse(request) or await self._judge(request)
        num_calls = len(outcome) if isinstance(outcome, list) else 0
        if num_calls != len(replies):
            reason = f"the task makes {num_calls} calls, for which there are {len(replies)} replies"
            return RewardResult(score=None, status="error", reason=reason)
        return await self._judge_replies(request, list(replies)) if isinstance(outcome, list) else outcome

    async def ask(self, calls: list[Call]) -> list[Reply]:
        """One reply a call. Raises ModelFailure."""
        assert self._models is not None, "used inside `async with`"
        return await self._models.answer(calls)

    async def canaries(self) -> dict[str, float]:
        """How the judge takes its canaries now, as rates under their metric names."""
        return await run_canaries(self)

    async def _score_one(self, request: RewardRequest) -> RewardResult:
        start = time.perf_counter()
        outcome = self._refuse(request) or await self._judge(request)
        result = await self._answered(request, outcome) if isinstance(outcome, list) else outcome
        self.counts[request.task, result.status] += 1
        task = self._tasks[request.task]
        verifier = result.verifier or task.name
        ms = result.ms or round((time.perf_counter() - start) * 1e3, 3)
        return result.model_copy(update={"id": request.id, "verifier": verifier, "version": task.version, "ms": ms})

    async def _answered(self, request: RewardRequest, calls: list[Call]) -> RewardResult:
        """The result of a task that asks models, from their replies."""
        try:
            replies = await self.ask(calls)
        except ModelFailure as failure:
            return RewardResult(score=None, status=failure.status, reason=str(failure)[:500])
        log.debug(
            "replies to %s", request.task, extra={"task": request.task, "request": request.id, "replies": replies}
        )
        result = await self._judge_replies(request, replies)
        if result.status in ("error", "timeout") and self._models is not None:
            self._models.forget(calls, replies)  # one cannot be read: kept, it would fail every attempt to come
        return result.model_copy(update={"ms": 0.0})  # the worker's time alone would leave the models' out

    async def _judge_replies(self, request: RewardRequest, replies: list[Reply]) -> RewardResult:
        outcome = await self._judge(request, replies)
        if isinstance(outcome, RewardResult):
            return outcome
        return RewardResult(score=None, status="error", reason="the task asks models again, after their replies")

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

    async def _judge(self, request: RewardRequest, replies: list[Reply] | None = None) -> RewardResult | list[Call]:
        try:
            payload = pickle.dumps((request.model_dump(), replies))
        except (RecursionError, ValueError) as error:
            return RewardResult(score=None, status="error", reason=f"nested too deep for a worker: {error}"[:500])
        outcome = await self._attempt(request.task, payload)
        if not isinstance(outcome, BrokenLimit):
            return outcome
        self.num_retries += 1
        outcome = await self._attempt(request.task, payload, alone=True)
        if not isinstance(outcome, BrokenLimit):
            return outcome
        reason = f"broke a worker's limits twice: {outcome.reason}"
        if self._tasks[request.task].is_ours and replies is None:  # a model's reply is not the answer's fault
            return RewardResult(score=0, reason=reason)
        return RewardResult(score=None, status=outcome.status, reason=reason)

    async def _attempt(
        self, task: str, payload: bytes, *, alone: bool = False
    ) -> RewardResult | list[Call] | BrokenLimit:
        assert self._crew is not None, "used inside `async with`"
        warm = task if self._tasks[task].warm_up else None
        try:
            outcome = await self._crew.run(judge, payload, timeout_s=self.config.timeout_s, alone=alone, warm=warm)
            if isinstance(outcome, BrokenLimit):
                return outcome
            return CALLS.validate_python(outcome) if isinstance(outcome, list) else RewardResult.model_validate(outcome)
        # The world beyond the worker's pipe: what goes wrong there is the failure of that one request.
        except Exception as error:
            return RewardResult(score=None, status="error", reason=f"{type(error).__name__}: {error}"[:500])
