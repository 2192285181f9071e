"""A client of a model's server: JSON in, JSON out, within limits of time and size, tried again where that may help."""

import asyncio
import json
import os
import random
from typing import TYPE_CHECKING, Any

from rewards.calls import ModelFailure, Unavailable
from rewards.endpoint import EndpointConfig
from rewards.retry_after import read_retry_after

if TYPE_CHECKING:
    import httpx

MAX_REPLY_BYTES = 2**20
MAX_PAUSE_S = 8.0
BUSY = frozenset({408, 425, 429})  # and all from 500 on


class ModelClient:
    """Connections to one server. An attempt ends after its `timeout_s`, however slowly its bytes arrive.

    A server that says when to come back is asked again no sooner; beyond `timeout_s` it is not waited for.
    """

    def __init__(self, name: str, config: EndpointConfig) -> None:
        import httpx

        key = os.environ.get(config.api_key_env)
        self.name, self.timeout_s, self._key = name, config.timeout_s, key
        self.max_retries, self.retry_pause_s = config.max_retries, config.retry_pause_s
        self._client = httpx.AsyncClient(
            base_url=config.url,
            timeout=config.timeout_s,
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            limits=httpx.Limits(max_connections=config.max_concurrent),
        )

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The value of the answer's JSON. Raises Unavailable after the last attempt, ModelFailure for a refusal."""
        content = json.dumps(body).encode()  # in ASCII: a lone surrogate is spelled out
        for attempt in range(self.max_retries + 1):
            try:
                return await self._attempt(path, content)
            except Unavailable as failure:
                if attempt == self.max_retries or failure.wait_s > self.timeout_s:
                    raise
                wait_s = failure.wait_s
            # Full jitter: requests that failed together do not come back together.
            await asyncio.sleep(wait_s + random.uniform(0, min(MAX_PAUSE_S, self.retry_pause_s * 2**attempt)))
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        await self._client.aclose()

    async def _attempt(self, path: str, content: bytes) -> Any:
        import httpx

        try:
            async with asyncio.timeout(self.timeout_s), self._client.stream("POST", path, content=content) as response:
                text = await self._read(response)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Unavailable("timeout", f"{self.name} did not answer within {self.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise Unavailable("error", f"{self.name}: {type(error).__name__}: {error}"[:400]) from error
        shown = self._without_key(text.decode(errors="replace"))[:200]
        if response.status_code in BUSY or response.status_code >= 500:
            wait_s = read_retry_after(response.headers.get("retry-after"))
            later = f", to be asked again after {wait_s:.0f} s" if wait_s else ""
            raise Unavailable("error", f"{self.name} answered status {response.status_code}{later}: {shown}", wait_s)
        if response.status_code != 200:
            raise ModelFailure("error", f"{self.name} answered status {response.status_code}: {shown}")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelFailure("error", f"{self.name} answered no JSON: {shown!r}") from error

    def _without_key(self, text: str) -> str:
        """What a server says may quote our key; reasons are logged and kept."""
        return text.replace(self._key, "***") if self._key else text

    async def _read(self, response: "httpx.Response") -> bytes:
        text = bytearray()
        async for chunk in response.aiter_bytes():
            text += chunk
            if len(text) > MAX_REPLY_BYTES:
                raise ModelFailure("error", f"{self.name} answered more than {MAX_REPLY_BYTES} bytes")
        return bytes(text)
