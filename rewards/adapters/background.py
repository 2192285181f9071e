"""A scorer for callers without an event loop: it lives on a thread of its own, one a process and configuration."""

import asyncio
import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rewards.client import HttpScorer, HttpScorerConfig
from rewards.crew import START_LIMIT_S, STOP_LIMIT_S
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult

URL_ENV = "SHARPEN_REWARDS_URL"


class Unscored(RuntimeError):
    """A response that could not be scored, for a trainer that has no word for it."""


class AdapterConfig(BaseModel):
    """Where another trainer's responses are judged: by the service at `url`, or without one by workers of this process.

    `url` is by default that of the environment variable SHARPEN_REWARDS_URL. `client` are further fields of the
    HTTP client, `scorer` those of the workers. A call ends within `limit_s`. `unscored` is the number for a response
    that could not be scored, where the trainer needs one; without it the call raises Unscored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(default_factory=lambda: os.environ.get(URL_ENV))
    client: dict[str, Any] = Field(default_factory=dict)
    scorer: ScorerConfig = ScorerConfig()
    limit_s: float = Field(3600, gt=0)
    unscored: float | None = None

    def make_scorer(self) -> Scorer | HttpScorer:
        if self.url:
            return HttpScorer(HttpScorerConfig(url=self.url, **self.client))
        return Scorer(self.scorer)

    def number(self, result: RewardResult) -> float:
        """The score, or the number for none. Raises Unscored."""
        if result.score is not None:
            return result.score
        if self.unscored is None:
            raise Unscored(f"task {result.verifier or '?'}: {result.status}: {result.reason}")
        return self.unscored


class BackgroundScorer:
    """A scorer on an event loop in a thread; both end with `close`."""

    def __init__(self, config: AdapterConfig) -> None:
        self._limit_s = config.limit_s
        self._name = config.url or "this process's workers"
        self._scorer = config.make_scorer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reward scorer", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._scorer.start(), self._loop).result(START_LIMIT_S)
        except BaseException:
            self.close()
            raise

    def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """One result a request, in order, when all are there."""
        return self._submit(requests).result()

    async def score_async(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """The same for a caller on an event loop of its own."""
        return await asyncio.wrap_future(self._submit(requests))

    def _submit(self, requests: list[RewardRequest]) -> "Future[list[RewardResult]]":
        return asyncio.run_coroutine_threadsafe(self._score(requests), self._loop)

    async def _score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._scorer.score(requests)
        except TimeoutError as error:
            raise TimeoutError(f"no scores from {self._name} within {self._limit_s:g} s") from error

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        """End the scorer and its thread."""
        if self.has_ended:
            return
        # At the interpreter's exit threads of the loop can no longer be had; the workers are told to end before that.
        with suppress(RuntimeError, TimeoutError):
            asyncio.run_coroutine_threadsafe(self._scorer.stop(), self._loop).result(STOP_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_LIMIT_S)


_OPEN: dict[tuple[int, str], BackgroundScorer] = {}  # by process, which a fork changes, and configuration
_LOCK = threading.Lock()


def shared_scorer(config: AdapterConfig) -> BackgroundScorer:
    """The scorer of this process for the configuration, started at its first use and ended at the process's exit."""
    key = (os.getpid(), config.model_dump_json())
    with _LOCK:
        if key not in _OPEN:
            _OPEN[key] = BackgroundScorer(config)
            atexit.register(_OPEN[key].close)
        return _OPEN[key]


def plain(value: Any) -> Any:
    """Data of NumPy, OmegaConf and the like as JSON has it; what it has not stays as it is."""
    if hasattr(value, "tolist"):  # an array, or a number of NumPy's
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value
