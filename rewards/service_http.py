"""What every endpoint of the service shares: who may call, how a body is read, what is told of a mistake."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewards.service_config import ServiceConfig
from rewards.service_log import LOG, log_event
from rewards.service_metrics import ServiceMetrics
from rewards.service_queue import Closed, Conflict, Overload
from rewards.wire import list_mistakes, parse_json

RETRY_AFTER_S = 1
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON"},
    401: {"description": "No valid token"},
    408: {"description": "The body did not arrive in time"},
    409: {"description": "The id belongs to a request with another content"},
    413: {"description": "The body, or the batch, is too large"},
    415: {"description": "The content type is not application/json"},
    422: {"description": "A field is missing or wrong; each is named"},
    429: {"description": "Too many requests are waiting; Retry-After says when to come back"},
    503: {"description": "The service is about to end, or a response could not be scored"},
}


def make_guard(token: str | None) -> Callable[..., Awaitable[None]]:
    """A dependency that lets nobody pass without the token, as a bearer's or as the password of basic authentication.

    The latter is for trainers that send no header of yours: they take `http://any:TOKEN@host:port/path`.
    """

    async def authorize(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
        basic: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))],
    ) -> None:
        given = bearer.credentials if bearer else basic.password if basic else ""
        if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
            raise HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})

    return authorize


async def read_body(request: Request, config: ServiceConfig) -> Any:
    """The JSON of a request, which no browser sends to another site unasked; HTTPException for what is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the content type is not application/json")
    limit = int(config.max_request_mib * 2**20)
    too_large = HTTPException(413, f"a body of more than {config.max_request_mib:g} MiB", {"Connection": "close"})
    length = request.headers.get("content-length", "")
    if len(length) > 15 or (length.isdecimal() and int(length) > limit):
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(config.read_timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        reason = f"the body did not arrive within {config.read_timeout_s:g} s"
        raise HTTPException(408, reason, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400, "the client left before its body was here") from None
    try:
        return parse_json(bytes(body))
    except ValueError as error:
        raise HTTPException(400, f"not JSON: {error}") from error


def mistakes_response(mistakes: list[tuple[str, str]]) -> JSONResponse:
    """Status 422, in FastAPI's own shape."""
    detail = [{"loc": ["body", *field.split(".")] if field else ["body"], "msg": text} for field, text in mistakes]
    return JSONResponse({"detail": detail}, 422)


def validation_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError), "registered for it"
    return mistakes_response(list_mistakes(error))


def queue_response(request: Request, error: Exception) -> Response:
    """Conflict, Overload and Closed as their statuses."""
    status = {Conflict: 409, Overload: 429, Closed: 503}[type(error)]
    headers = {} if status == 409 else {"Retry-After": str(RETRY_AFTER_S)}
    return JSONResponse({"detail": str(error)}, status, headers)


class HttpLog:
    """Counts responses by path, bounds what all bodies under way hold, and logs what went wrong."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, max_bytes: int) -> None:
        self._app, self._metrics, self._max_bytes = app, metrics, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, num_bytes = 500, 0
        start = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def count() -> Message:
            nonlocal num_bytes
            message = await receive()
            size = len(message.get("body", b""))
            num_bytes += size
            self._metrics.num_bytes += size
            if size and self._metrics.num_bytes > self._max_bytes:
                raise Overload("the bodies of the requests that wait fill the service's memory")
            return message

        self._metrics.num_http += 1
        try:
            await self._app(scope, count, watch)
        except Exception:
            LOG.exception("a request broke the service")
            raise
        finally:
            self._metrics.num_http -= 1
            self._metrics.num_bytes -= num_bytes
            path = getattr(scope.get("route"), "path", "unknown")
            self._metrics.count_http(path, status)
            if status >= 400:
                log_event("http", path=path, http_status=status, ms=round((time.perf_counter() - start) * 1e3, 3))
