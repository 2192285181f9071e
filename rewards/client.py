"""The reward service as a scorer: the interface of the one in process, over HTTP."""

import asyncio
import json
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rewards.endpoint import has_user_info
from rewards.registry import unknown_task
from rewards.retry_after import read_retry_after
from rewards.service_config import DEFAULT_TOKEN_ENV
from rewards.types import RewardRequest, RewardResult
from rewards.wire import MAX_REASON_CHARS, failure

RETRIED = {408, 425, 429, 500, 502, 503, 504}
MAX_LINE_BYTES = 2**20  # of one result
MAX_PAUSE_S = 30.0
LIST_LIMIT_S = 10.0  # for the list of tasks


class HttpScorerConfig(BaseModel):
    """A service by its `url`. A call carries `chunk_size` requests or `chunk_mib`, and is over after `timeout_s`.

    What it did not answer is asked for again, `max_retries` times with growing, random pauses, by default long enough
    for a service that is gone for a minute. The token is read from the environment variable `token_env`, if it is set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(pattern=r"^https?://[^/]")
    token_env: str = DEFAULT_TOKEN_ENV
    timeout_s: float = Field(300, gt=0)
    max_retries: int = Field(10, ge=0)
    first_pause_s: float = Field(0.5, gt=0)
    chunk_size: int = Field(64, ge=1)
    chunk_mib: float = Field(16, gt=0)
    max_concurrent: int = Field(16, ge=1)

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        if has_user_info(url):
            raise ValueError("it holds a user name or password; name the variable with the token by token_env")
        return url


class CallFailed(Exception):
    """A call without an answer, or the end of one; `is_final` where another attempt cannot help."""

    def __init__(self, reason: str, *, is_final: bool = False, is_late: bool = False, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.is_final, self.is_late, self.pause_s = is_final, is_late, pause_s


class HttpScorer:
    """Judges requests by a service. One that is down, late or lying gives results without a score that name its URL."""

    def __init__(self, config: HttpScorerConfig) -> None:
        self.config = config
        self.counts: Counter[tuple[str, str]] = Counter()  # (task, status), once a request
        self.num_retries = 0
        self._known_tasks: set[str] = set()
        self._client: httpx.AsyncClient | None = None
        self._slots = asyncio.Semaphore(config.max_concurrent)

    async def __aenter__(self) -> "HttpScorer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the connections; the service need not be up yet."""
        token = os.environ.get(self.config.token_env)
        self._client = httpx.AsyncClient(
            base_url=self.config.url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=self.config.timeout_s,
            limits=httpx.Limits(max_connections=self.config.max_concurrent),
        )

    async def stop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """One result a request, in order. Raises ValueError for a task that the service does not know."""
        await self._check_tasks({request.task for request in requests})
        results: list[RewardResult | None] = [None] * len(requests)
        chunks: list[dict[int, str]] = [{}]
        num_bytes = 0
        for index, request in enumerate(requests):
            try:
                text = _write(request)
            except (ValueError, TypeError, RecursionError) as error:
                results[index] = failure(f"cannot be sent as JSON: {error}", None)
                continue
            is_full = len(chunks[-1]) == self.config.chunk_size
            if chunks[-1] and (is_full or num_bytes + len(text) > self.config.chunk_mib * 2**20):
                chunks.append({})
                num_bytes = 0
            chunks[-1][index] = text
            num_bytes += len(text)
        for answers in await asyncio.gather(*(self._score_chunk(chunk) for chunk in chunks if chunk)):
            for index, answer in answers.items():
                results[index] = answer
        return [self._finish(request, result) for request, result in zip(requests, results, strict=True)]

    def _finish(self, request: RewardRequest, result: RewardResult | None) -> RewardResult:
        assert result is not None, "each request is refused here or part of one chunk"
        self.counts[request.task, result.status] += 1
        return result.model_copy(update={"id": request.id})

    async def _check_tasks(self, names: set[str]) -> None:
        """A user's mistake is told at once; where the service cannot be asked, its answers will say what is wrong."""
        if names <= self._known_tasks:
            return
        try:
            response = await self._http.get("/v1/tasks", timeout=min(self.config.timeout_s, LIST_LIMIT_S))
            known = {task["name"] for task in response.json()} if response.status_code == 200 else names
        except (httpx.HTTPError, ValueError, TypeError, KeyError):
            return
        for name in sorted(names - known):
            raise ValueError(unknown_task(name, known))
        self._known_tasks = known

    async def _score_chunk(self, chunk: dict[int, str]) -> dict[int, RewardResult]:
        """A result for each index, by as many attempts as it takes and may."""
        prefix = uuid.uuid4().hex  # an attempt after a broken connection finds what the first one began
        done: dict[int, RewardResult] = {}
        attempt = 0
        while True:
            missing = [index for index in chunk if index not in done]
            if not missing:
                return done
            try:
                async with self._slots, asyncio.timeout(self.config.timeout_s):
                    async for index, result in self._call(missing, chunk, prefix):
                        done[index] = result
                trouble = CallFailed("some results are missing from the answer")
            except TimeoutError:
                trouble = CallFailed(f"no answer within {self.config.timeout_s:g} s", is_late=True)
            except httpx.HTTPError as error:
                is_late = isinstance(error, httpx.TimeoutException)
                trouble = CallFailed(f"{type(error).__name__}: {error}", is_late=is_late)
            except CallFailed as error:
                trouble = error
            missing = [index for index in chunk if index not in done]
            if missing and (trouble.is_final or attempt == self.config.max_retries):
                return done | dict.fromkeys(missing, self._unscored(trouble))
            if missing:
                self.num_retries += 1
                await asyncio.sleep(self._pause_s(attempt, trouble))
                attempt += 1

    async def _call(self, missing: Sequence[int], chunk: dict[int, str], prefix: str) -> AsyncIterator[Any]:
        """Pairs of an index and its result, as they arrive."""
        items = ",".join(f'{{"id":"{prefix}-{index}",{chunk[index][1:]}' for index in missing)
        headers = {"Content-Type": "application/json"}
        async with self._http.stream(
            "POST", "/v1/score/stream", content=f'{{"requests":[{items}]}}', headers=headers
        ) as response:
            if response.status_code != 200:
                text = (await _first_bytes(response)).decode("utf-8", "replace")
                raise CallFailed(
                    f"status {response.status_code}: {text}",
                    is_final=response.status_code not in RETRIED,
                    pause_s=read_retry_after(response.headers.get("retry-after")),
                )
            async for line in _lines(response):
                position, result = _read(line)
                if not 0 <= position < len(missing):
                    raise CallFailed(f"a result of request {position}, of {len(missing)}")
                yield missing[position], result

    def _unscored(self, trouble: CallFailed) -> RewardResult:
        reason = f"the reward service at {self.config.url}: {trouble}"[:MAX_REASON_CHARS]
        return RewardResult(score=None, status="timeout" if trouble.is_late else "error", reason=reason)

    def _pause_s(self, attempt: int, trouble: CallFailed) -> float:
        """As long as the service asks for, and a random pause that grows."""
        growing_s = min(self.config.first_pause_s * 2**attempt, MAX_PAUSE_S)
        return min(trouble.pause_s, MAX_PAUSE_S) + growing_s * random.uniform(0.5, 1.5)

    @property
    def _http(self) -> httpx.AsyncClient:
        assert self._client is not None, "used inside `async with`"
        return self._client


def _write(request: RewardRequest) -> str:
    """The request as JSON without its id, which need not be unique."""
    return json.dumps(request.model_dump(exclude={"id"}), allow_nan=False)


async def _first_bytes(response: httpx.Response) -> bytes:
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_REASON_CHARS:
            break
    return body[:MAX_REASON_CHARS]


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Lines of bounded length. Raises CallFailed."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise CallFailed(f"a line of more than {MAX_LINE_BYTES} bytes")


def _read(line: bytes) -> tuple[int, RewardResult]:
    try:
        fields = json.loads(line)
        position = fields.pop("index")
        result = RewardResult.model_validate(fields)
        if not isinstance(position, int):
            raise TypeError("its index is no number")
    except (ValidationError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise CallFailed(f"not a line of results: {type(error).__name__}") from error
    return position, result
