"""Requests between acceptance and result: bounded, judged once an id, finished before the service ends."""

import asyncio
import functools
import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import dataclass

from rewards.registry import find_task, load_tasks
from rewards.scorer import Scorer
from rewards.service_config import ServiceConfig
from rewards.service_log import log_result
from rewards.service_metrics import ServiceMetrics
from rewards.types import RewardRequest, RewardResult
from rewards.wire import failure

UNKNOWN_TASK = "unknown"


class Conflict(ValueError):
    """A request whose id belongs to another one."""


class Overload(Exception):
    """More requests than may wait."""


class Closed(Exception):
    """The service has not started, or is about to end."""


@dataclass(frozen=True, slots=True)
class Known:
    """A request that was accepted: what it was, its result, and when it came."""

    digest: bytes
    result: "asyncio.Task[RewardResult]"
    accepted_s: float


class JudgementQueue:
    """Tasks of the event loop that outlive the connection that brought them; a scorer judges.

    An id stands for its content: a second request with both the same gets the first one's result, under way or not,
    within the window of the config. Results without a score are forgotten at once, so that a retry is a new attempt.
    """

    def __init__(self, scorer: Scorer, config: ServiceConfig, metrics: ServiceMetrics) -> None:
        self.num_open = 0  # accepted and unanswered
        self.is_open = False
        self._scorer, self._config, self._metrics = scorer, config, metrics
        self._tasks = load_tasks(tuple(config.scorer.plugins))
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._running: set[asyncio.Task[RewardResult]] = set()

    def check_room(self, num_requests: int) -> None:
        """Raises Closed or Overload where so many requests cannot be accepted now."""
        if not self.is_open:
            raise Closed("the service is about to end")
        if self.num_open + num_requests > self._config.max_queue:
            raise Overload(f"{self.num_open} requests are waiting, of at most {self._config.max_queue}")

    def check_task(self, request: RewardRequest) -> None:
        """Raises ValueError for an unknown task."""
        try:
            find_task(request.task, self._tasks)
        except ValueError:
            self._metrics.count_result(UNKNOWN_TASK, "error", 0)
            raise

    def accept(self, request: RewardRequest) -> "asyncio.Task[RewardResult]":
        """The result to come. Raises Conflict, and ValueError for an unknown task."""
        self.check_task(request)
        digest = _digest(request) if request.id is not None and self._config.remember else None
        if request.id is None or digest is None:
            return self._start(request)
        self._forget_old()
        known = self._known.get(request.id)
        if known is None:
            if len(self._known) == self._config.remember:
                self._known.popitem(last=False)
            result = self._start(request)
            self._known[request.id] = Known(digest, result, time.monotonic())
            result.add_done_callback(functools.partial(self._drop_unscored, request.id))
            return result
        if known.digest != digest:
            raise Conflict("this id belongs to a request with another content")
        self._metrics.count_repeat()
        return known.result

    async def stop(self) -> None:
        """Cancel what is left."""
        self.is_open = False
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self, request: RewardRequest) -> "asyncio.Task[RewardResult]":
        task = asyncio.get_running_loop().create_task(self._judge(request))
        self.num_open += 1
        self._running.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: "asyncio.Task[RewardResult]") -> None:
        self.num_open -= 1
        self._running.discard(task)

    async def _judge(self, request: RewardRequest) -> RewardResult:
        start = time.perf_counter()
        try:
            (result,) = await self._scorer.score([request])
        # The scorer's own trouble is that of one request, never of the batch that it came in.
        except Exception as error:
            result = failure(f"{type(error).__name__}: {error}", {"id": request.id})
        seconds = time.perf_counter() - start
        self._metrics.count_result(request.task, result.status, seconds)
        if self._config.log_results:
            log_result(request, result, seconds)
        return result

    def _forget_old(self) -> None:
        oldest_s = time.monotonic() - self._config.remember_s
        while self._known and next(iter(self._known.values())).accepted_s < oldest_s:
            self._known.popitem(last=False)

    def _drop_unscored(self, identity: str, result: "asyncio.Task[RewardResult]") -> None:
        if not result.cancelled() and result.exception() is None and result.result().status == "ok":
            return
        known = self._known.get(identity)
        if known is not None and known.result is result:
            del self._known[identity]


def _digest(request: RewardRequest) -> bytes | None:
    """A hash of the content without the id; None where it is nested too deep to be written."""
    try:
        text = json.dumps(request.model_dump(exclude={"id"}), sort_keys=True)
    except (RecursionError, ValueError):
        return None
    return hashlib.sha256(text.encode()).digest()
