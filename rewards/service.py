"""The reward service: the scorer behind HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from rewards.registry import load_tasks
from rewards.scorer import Scorer
from rewards.service_config import ServiceConfig
from rewards.service_http import (
    ERRORS,
    HttpLog,
    make_guard,
    mistakes_response,
    queue_response,
    read_body,
    validation_response,
)
from rewards.service_metrics import ServiceMetrics
from rewards.service_protocols import add_protocols
from rewards.service_queue import UNKNOWN_TASK, Closed, Conflict, JudgementQueue, Overload
from rewards.types import RewardRequest, RewardResult
from rewards.wire import describe_task, failure, json_line, read_request

REQUEST_SCHEMA = RewardRequest.model_json_schema()


class Batch(BaseModel):
    """Requests, each valid or not: an item that is none has a result without a score."""

    model_config = ConfigDict(extra="forbid")

    requests: list[Any]


class BatchResults(BaseModel):
    """One result a request, in order."""

    results: list[RewardResult]


class Service:
    """What the endpoints share. Raises ValueError for a plug-in or a token that is not there."""

    def __init__(self, config: ServiceConfig, replica: str | None) -> None:
        self.config, self.replica = config, replica
        self.token = config.read_token()
        self.metrics = ServiceMetrics(replica)
        self.scorer = Scorer(config.scorer)
        self.queue = JudgementQueue(self.scorer, config, self.metrics)
        self._follow_gauges()

    def _follow_gauges(self) -> None:
        num_workers, follow = self.config.scorer.num_workers, self.metrics.follow
        follow("workers", "Worker processes.", lambda: num_workers)
        follow("in_flight", "Requests accepted and unanswered.", lambda: self.queue.num_open)
        follow("queue_depth", "Those beyond one a worker.", lambda: max(0, self.queue.num_open - num_workers))
        follow("http_in_flight", "HTTP requests under way.", lambda: self.metrics.num_http)
        follow("body_bytes", "Bodies of the HTTP requests under way.", lambda: self.metrics.num_bytes)
        follow("worker_restarts", "Workers replaced after a broken limit.", lambda: self.scorer.num_retries)

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        """Open while the workers run."""
        async with self.scorer:
            self.queue.is_open = True
            try:
                yield
            finally:
                await self.queue.stop()

    async def read_batch(self, http: Request) -> list["asyncio.Future[RewardResult]"]:
        """The results to come of the batch in a body, in order. Raises what the endpoints answer with an error."""
        batch = Batch.model_validate(await read_body(http, self.config))
        if len(batch.requests) > self.config.max_batch:
            raise HTTPException(413, f"a batch of more than {self.config.max_batch} requests")
        self.queue.check_room(len(batch.requests))
        return [self._accept(item) for item in batch.requests]

    def _accept(self, data: Any) -> "asyncio.Future[RewardResult]":
        request = read_request(data)
        if isinstance(request, RewardRequest):
            try:
                return asyncio.shield(self.queue.accept(request))
            except ValueError as error:  # an unknown task, or an id of another request
                request = failure(str(error), data)
        else:
            self.metrics.count_result(UNKNOWN_TASK, "error", 0)
        done: asyncio.Future[RewardResult] = asyncio.get_running_loop().create_future()
        done.set_result(request)
        return done


def make_app(config: ServiceConfig, replica: str | None = None) -> FastAPI:
    """The service as an ASGI app; its workers live as long as its lifespan. `replica` names it among others."""
    service = Service(config, replica)
    app = FastAPI(
        title="Sharpen rewards", description="Judges responses of language models.", version="1", lifespan=service.run
    )
    app.state.service = service
    app.add_middleware(HttpLog, metrics=service.metrics, max_bytes=int(config.max_queue_mib * 2**20))
    app.add_exception_handler(ValidationError, validation_response)
    for error in (Conflict, Overload, Closed):
        app.add_exception_handler(error, queue_response)
    guard = Depends(make_guard(service.token))
    guarded = APIRouter(dependencies=[guard], responses=ERRORS)
    _add_scoring(guarded, service)
    add_protocols(guarded, service.config, service.queue)
    app.include_router(guarded)
    _add_probes(app, service, [guard] if config.protect_metrics else [])
    return app


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _add_scoring(router: APIRouter, service: Service) -> None:
    batch_schema = {
        "type": "object",
        "properties": {"requests": {"type": "array", "items": REQUEST_SCHEMA}},
        "required": ["requests"],
        "additionalProperties": False,
    }

    @router.post("/v1/score", response_model=RewardResult, openapi_extra=_body(REQUEST_SCHEMA))
    async def score(http: Request) -> Response:
        """Judge one response."""
        request = RewardRequest.model_validate(await read_body(http, service.config))
        service.queue.check_room(1)
        try:
            result = service.queue.accept(request)
        except Conflict:
            raise
        except ValueError as error:
            return mistakes_response([("task", str(error))])
        return _json((await asyncio.shield(result)).model_dump_json())

    @router.post("/v1/score/batch", response_model=BatchResults, openapi_extra=_body(batch_schema))
    async def score_batch(http: Request) -> Response:
        """Judge many; an item that is no request, or of an unknown task, has a result without a score."""
        results = await asyncio.gather(*await service.read_batch(http))
        return _json('{"results":[' + ",".join(result.model_dump_json() for result in results) + "]}")

    stream = {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}

    @router.post("/v1/score/stream", responses={200: stream}, openapi_extra=_body(batch_schema))
    async def score_stream(http: Request) -> Response:
        """As the batch, but one line of JSON a result as soon as it is there, with the `index` of its request."""
        return StreamingResponse(_lines(await service.read_batch(http)), media_type="application/x-ndjson")


async def _lines(results: list["asyncio.Future[RewardResult]"]) -> AsyncIterator[str]:
    async def number(index: int, result: "asyncio.Future[RewardResult]") -> tuple[int, RewardResult]:
        return index, await result

    for done in asyncio.as_completed([number(index, result) for index, result in enumerate(results)]):
        index, result = await done
        yield f'{{"index":{index},' + json_line(result)[1:] + "\n"


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _add_probes(app: FastAPI, service: Service, metrics_guard: list[Any]) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process answers at all, and which of several replicas it is."""
        return {"status": "alive"} | ({} if service.replica is None else {"replica": service.replica})

    @app.get("/ready", responses={503: {"description": "Not started, or about to end"}})
    async def ready() -> Response:
        """Whether requests are taken: the workers have started, and the service is not about to end."""
        if service.queue.is_open:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)

    @app.get("/metrics", dependencies=metrics_guard, response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.expose(), headers={"Content-Type": service.metrics.content_type})

    guard = Depends(make_guard(service.token))

    @app.get("/v1/tasks", dependencies=[guard], responses={401: ERRORS[401]})
    async def tasks() -> Response:
        """All tasks, with their parameters and an example."""
        known = load_tasks(tuple(service.config.scorer.plugins))
        return _json(json.dumps([describe_task(task) for task in known.values()]))
