"""A model's server as the scorer sees it: bounded concurrency, a cache with single flight, a circuit breaker."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict, Field

from rewards.calls import Call, ModelFailure, Reply

Post = Callable[[Call], Awaitable[Reply]]  # raises TimeoutError or OSError, or ModelFailure with what the server said


class EndpointConfig(BaseModel):
    """A server by its `url`, or with `serve` one that Sharpen starts for the run.

    A call gets `timeout_s` an attempt, is tried again `max_retries` times with growing, random pauses, and
    `max_concurrent` are under way at once. After `break_after` failed calls in a row the server is left alone for
    `break_for_s`: calls fail at once. The key is read from the environment variable `api_key_env`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = ""
    model: str = ""
    serve: bool = False
    api_key_env: str = "SHARPEN_API_KEY"
    timeout_s: float = Field(60, gt=0)
    max_retries: int = Field(2, ge=0)
    max_concurrent: int = Field(32, ge=1)
    break_after: int = Field(16, ge=1)
    break_for_s: float = Field(30, gt=0)
    cache_size: int = Field(100_000, ge=0)


class Breaker:
    """Closed, until `break_after` failures in a row open it for `break_for_s`; then one trial decides."""

    def __init__(self, break_after: int, break_for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.break_after, self.break_for_s, self._clock = break_after, break_for_s, clock
        self.num_failures = 0
        self._open_until = 0.0

    def check(self, name: str) -> None:
        """Raise ModelFailure while it is open; the first caller after that is the trial, and others wait for it."""
        if self.num_failures < self.break_after:
            return
        if self._clock() < self._open_until:
            raise ModelFailure(
                "error", f"{name} failed {self.num_failures} times in a row and is left alone for a while"
            )
        self._open_until = self._clock() + self.break_for_s

    def succeed(self) -> None:
        self.num_failures = 0

    def fail(self) -> None:
        self.num_failures += 1
        if self.num_failures >= self.break_after:
            self._open_until = self._clock() + self.break_for_s


class Endpoint:
    """Replies to calls. `post` makes one call, its own retries included."""

    def __init__(self, name: str, post: Post, config: EndpointConfig) -> None:
        self.name, self.config = name, config
        self.num_calls = 0
        self._post = post
        self._limit_s = config.timeout_s * (config.max_retries + 2)
        self._slots = asyncio.Semaphore(config.max_concurrent)
        self._breaker = Breaker(config.break_after, config.break_for_s)
        self._cache: OrderedDict[str, asyncio.Task[Reply]] = OrderedDict()

    async def answer(self, call: Call) -> Reply:
        """The reply, once for equal calls, those under way included. Raises ModelFailure; failures are not kept."""
        key = hashlib.sha256(call.model_dump_json().encode("utf-8", "surrogatepass")).hexdigest()
        task = self._cache.get(key)
        if task is None:
            task = self._cache[key] = asyncio.create_task(self._ask(call))
            task.add_done_callback(lambda done: self._forget(key, done))
        else:
            self._cache.move_to_end(key)
        return await asyncio.shield(task)  # one caller that gives up must not take the reply from the others

    async def stop(self) -> None:
        """Cancel the calls under way."""
        tasks = list(self._cache.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: str, done: "asyncio.Task[Reply]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._cache.pop(key, None)
        while len(self._cache) > self.config.cache_size:
            _, oldest = next(iter(self._cache.items()))
            if not oldest.done():
                return
            self._cache.popitem(last=False)

    async def _ask(self, call: Call) -> Reply:
        async with self._slots:
            self._breaker.check(self.name)
            self.num_calls += 1
            try:
                async with asyncio.timeout(self._limit_s):
                    reply = await self._post(call)
            except ModelFailure:
                self._breaker.fail()
                raise
            except TimeoutError as error:
                self._breaker.fail()
                raise ModelFailure("timeout", f"{self.name} did not answer within {self._limit_s:g} s") from error
            except OSError as error:
                self._breaker.fail()
                raise ModelFailure("error", f"{self.name}: {error}") from error
            self._breaker.succeed()
            return reply
