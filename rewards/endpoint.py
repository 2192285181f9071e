"""A model's server as the scorer sees it: bounded concurrency, a cache with single flight, a circuit breaker."""

import asyncio
import hashlib
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewards.calls import Call, ModelFailure, Reply, Unavailable

Post = Callable[[Call], Awaitable[Reply]]  # raises Unavailable, or ModelFailure for what the server said
Close = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)


class EndpointConfig(BaseModel):
    """A server by its `url`, or with `serve` one that Sharpen starts for the run.

    A call gets `timeout_s` an attempt, is tried again `max_retries` times after random pauses that grow from
    `retry_pause_s`, and `max_concurrent` are under way at once. A server's `Retry-After` is waited for up to
    `timeout_s`; a longer one ends the call. After `break_after` failed calls in a row the server is left alone for
    `break_for_s`: calls fail at once. The key is read from the environment variable `api_key_env`.
    `serve_options` are further arguments of the `vllm serve` that `serve` starts, on `num_gpus` where there are GPUs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = ""
    model: str = ""
    serve: bool = False
    serve_options: list[str] = Field(default_factory=list)
    num_gpus: int = Field(1, ge=1)
    start_timeout_s: float = Field(900, gt=0)
    api_key_env: str = "SHARPEN_API_KEY"
    timeout_s: float = Field(60, gt=0)
    max_retries: int = Field(2, ge=0)
    retry_pause_s: float = Field(0.5, ge=0)
    max_concurrent: int = Field(32, ge=1)
    break_after: int = Field(16, ge=1)
    break_for_s: float = Field(30, gt=0)
    cache_size: int = Field(100_000, ge=0)

    @property
    def api_path(self) -> str:
        """What comes after a server's address in `url`."""
        return ""

    def vllm_arguments(self) -> list[str]:
        """What `vllm serve` needs to know to serve such a model."""
        return []

    @model_validator(mode="after")
    def _names_a_server(self) -> Self:
        if self.url and not self.url.startswith(("http://", "https://")):
            scheme = self.url.partition(":")[0][:20]  # of a URL with a password no more is said
            raise ValueError(f"url: {scheme!r} does not start with http:// or https://")
        if has_user_info(self.url):
            raise ValueError("url: it holds a user name or password; name the variable with the key by api_key_env")
        if any(option.split("=")[0] == "--api-key" for option in self.serve_options):
            raise ValueError("serve_options: --api-key would stand in the config; name a variable by api_key_env")
        if not self.url and not self.serve:
            raise ValueError("url is missing: give the server's address, or serve: true")
        if self.serve and self.url:
            raise ValueError("url and serve exclude each other: a server is given, or started")
        if self.serve and not self.model:
            raise ValueError("model is missing: a hub id, a folder or package:NAME that shall be served")
        return self


def has_user_info(url: str) -> bool:
    """Whether a URL holds a user name or password: configs are written into run folders and shown."""
    return re.match(r"[a-z][a-z0-9+.-]*://[^/?#\s@]*@", url, re.IGNORECASE) is not None


class Breaker:
    """Closed, until `break_after` failures in a row open it for `break_for_s`; then one trial decides."""

    def __init__(self, break_after: int, break_for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.break_after, self.break_for_s, self._clock = break_after, break_for_s, clock
        self.num_failures = 0
        self._open_until = 0.0

    def check(self, name: str) -> None:
        """Raise ModelFailure while it is open; the first caller after that is the trial, and others fail meanwhile."""
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
    """Replies to calls. `post` makes one call, its own retries included; `close` ends its connections.

    A call waits for those before it, each of which is bounded; behind a dead server the breaker fails them at once.
    """

    def __init__(self, name: str, post: Post, config: EndpointConfig, close: Close | None = None) -> None:
        self.name, self.config = name, config
        self.num_calls = 0
        self._post, self._close = post, close
        self._limit_s = (2 * config.timeout_s + 10) * (config.max_retries + 1)  # beyond all attempts and their pauses
        self._slots = asyncio.Semaphore(config.max_concurrent)
        self._breaker = Breaker(config.break_after, config.break_for_s)
        self._cache: OrderedDict[str, asyncio.Task[Reply]] = OrderedDict()

    async def answer(self, call: Call) -> Reply:
        """The reply, once for equal calls, those under way included. Raises ModelFailure; failures are not kept."""
        key = _key(call)
        task = self._cache.get(key)
        if task is None:
            task = self._cache[key] = asyncio.create_task(self._ask(call))
            task.add_done_callback(lambda done: self._tidy(key, done))
        else:
            self._cache.move_to_end(key)
        try:
            return await asyncio.shield(task)  # one caller that gives up must not take the reply from the others
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                raise ModelFailure("error", f"{self.name} was stopped before it answered") from None
            raise

    def forget(self, call: Call, reply: Reply) -> None:
        """Ask anew next time, where this reply is kept: whoever read it found nothing of use."""
        key = _key(call)
        kept = self._cache.get(key)
        if kept is not None and _reply_of(kept) == reply:
            del self._cache[key]

    async def stop(self) -> None:
        """Cancel the calls under way and close the connections."""
        tasks = list(self._cache.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._close is not None:
            await self._close()

    def _tidy(self, key: str, done: "asyncio.Task[Reply]") -> None:
        if _reply_of(done) is None:
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
            except Unavailable:
                self._breaker.fail()
                raise
            except TimeoutError as error:
                self._breaker.fail()
                raise ModelFailure("timeout", f"{self.name} did not answer within {self._limit_s:g} s") from error
            except ModelFailure:  # it answered, if nothing of use
                self._breaker.succeed()
                raise
            self._breaker.succeed()
        log.debug("%s replied", self.name, extra={"endpoint": self.name, "reply": reply})
        return reply


def _key(call: Call) -> str:
    return hashlib.sha256(json.dumps(call.model_dump(), sort_keys=True).encode()).hexdigest()


def _reply_of(task: "asyncio.Task[Reply]") -> Reply | None:
    """The reply that a task has brought; None while it is under way, and for a failure."""
    has_reply = task.done() and not task.cancelled() and task.exception() is None
    return task.result() if has_reply else None
