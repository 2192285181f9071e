"""The remote-reward protocols of other trainers: OpenRLHF's and slime's, as their clients speak them.

Neither has a word for a response that could not be scored. The answer is then status 503, which both try again, or the
number that the caller names by `?unscored=`.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from rewards.service_config import ServiceConfig
from rewards.service_http import RETRY_AFTER_S, mistakes_response, read_body
from rewards.service_queue import JudgementQueue
from rewards.types import Message, RewardRequest, RewardResult
from rewards.wire import parse_json

END_MARKS = (
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)
MAX_LEAD_CHARS = 64  # before the prompt: a tokenizer's own first token
LABEL_FIELDS = {"task", "reference", "params", "question"}
Unscored = Annotated[FiniteFloat | None, Query(description="the number for a response that could not be scored")]
EndMarks = Annotated[list[str] | None, Query(description="marks of a response's end, one of which is cut off")]
DefaultTask = Annotated[str | None, Query(description="the task of labels that name none")]


class OpenRlhfBody(BaseModel):
    """`query` is each prompt with its response, as templated text with special tokens; one text, or lists."""

    model_config = ConfigDict(extra="ignore")  # versions and forks differ in what else they send

    query: str | list[str]
    prompts: str | list[str] | None = None
    labels: Any = None


class SlimeBody(BaseModel):
    """One sample."""

    model_config = ConfigDict(extra="ignore")

    prompt: str | list[Message] = ""
    response: str
    label: Any = None


def add_protocols(router: APIRouter, config: ServiceConfig, queue: JudgementQueue) -> None:
    """The endpoints of the other trainers."""

    @router.post("/openrlhf", openapi_extra=_body(OpenRlhfBody))
    async def openrlhf(
        http: Request,
        task: DefaultTask = None,
        unscored: Unscored = None,
        end: EndMarks = None,
    ) -> Response:
        """OpenRLHF's `remote_rm_url`: rewards, scores and extra_logs of queries, prompts and labels."""
        body = OpenRlhfBody.model_validate(await read_body(http, config))
        try:
            requests = read_queries(body, task, END_MARKS if end is None else end)
        except ValidationError:
            raise
        except ValueError as error:
            return mistakes_response([("labels", str(error))])
        if len(requests) > config.max_batch:
            raise HTTPException(413, f"a batch of more than {config.max_batch} requests")
        results = await _judge(requests, queue, unscored)
        scores = [fill(result, unscored) for result in results]
        # The same keys for every task: OpenRLHF stacks the logs of a whole batch.
        logs = {"scored": [float(result.score is not None) for result in results], "ms": [r.ms for r in results]}
        if isinstance(body.query, str):
            scored, ms = logs["scored"][0], logs["ms"][0]
            return JSONResponse({"rewards": scores[0], "scores": scores[0], "extra_logs": {"scored": scored, "ms": ms}})
        return JSONResponse({"rewards": scores, "scores": scores, "extra_logs": logs})

    @router.post("/slime", openapi_extra=_body(SlimeBody))
    async def slime(
        http: Request,
        task: DefaultTask = None,
        unscored: Unscored = None,
        end: EndMarks = None,
        detail: Annotated[bool, Query(description="the whole result, for slime's --reward-key score")] = False,
    ) -> Response:
        """slime's `--rm-type remote_rm`: one sample in, one number out."""
        body = SlimeBody.model_validate(await read_body(http, config))
        response = cut_end(body.response, END_MARKS if end is None else end)  # slime keeps special tokens by default
        try:
            request = read_label(body.label, task, response=response, question=body.prompt)
        except ValidationError:
            raise
        except ValueError as error:
            return mistakes_response([("label", str(error))])
        (result,) = await _judge([request], queue, unscored)
        score = fill(result, unscored)
        return JSONResponse(result.model_dump() | {"score": score} if detail else score)


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def read_queries(body: OpenRlhfBody, task: str | None, end: Sequence[str]) -> list[RewardRequest]:
    """One request a query. Raises ValueError where the lists differ in length, or a label names no task."""
    queries = [body.query] if isinstance(body.query, str) else body.query
    prompts = [body.prompts] if isinstance(body.prompts, str) else body.prompts or [""] * len(queries)
    labels = body.labels if isinstance(body.labels, list) else [body.labels] * len(queries)
    if not len(queries) == len(prompts) == len(labels):
        raise ValueError(f"{len(queries)} queries, {len(prompts)} prompts and {len(labels)} labels")
    return [
        read_label(label, task, response=cut_response(query, prompt, end), question=prompt)
        for query, prompt, label in zip(queries, prompts, labels, strict=True)
    ]


def cut_response(query: str, prompt: str, end: Sequence[str]) -> str:
    """What follows the prompt, without one mark of the end. Raises ValueError where the prompt is not in the query."""
    before, found, response = query.partition(prompt) if prompt else ("", prompt, query)
    if found != prompt or len(before) > MAX_LEAD_CHARS:
        raise ValueError("a query does not begin with its prompt, so its response cannot be told")
    return cut_end(response, end)


def cut_end(response: str, end: Sequence[str]) -> str:
    """The response without one mark of the end."""
    return next((response.removesuffix(mark) for mark in end if mark and response.endswith(mark)), response)


def read_label(label: Any, task: str | None, *, response: str, question: str | list[Message] = "") -> RewardRequest:
    """A label is an object, or its JSON, of `task`, `reference`, `params` and `question`; anything else a reference.

    Raises ValueError where neither it nor the caller names a task.
    """
    fields: dict[str, Any] = {"task": task, "question": question, "reference": label}
    given = label
    if isinstance(label, str) and label.lstrip().startswith("{"):
        try:
            given = parse_json(label.encode())
        except ValueError:
            given = label
    if isinstance(given, dict) and given and set(given) <= LABEL_FIELDS:
        fields |= {"reference": None} | given
    if fields["task"] is None:
        raise ValueError("a label names no task; name one for all by ?task=")
    return RewardRequest(response=response, **fields)


async def _judge(requests: list[RewardRequest], queue: JudgementQueue, unscored: float | None) -> list[RewardResult]:
    """All results; HTTPException 503 where one has no score and there is no number for it."""
    queue.check_room(len(requests))
    for request in requests:
        try:
            queue.check_task(request)
        except ValueError as error:
            raise HTTPException(422, [{"loc": ["body", "task"], "msg": str(error)}]) from error
    results = await asyncio.gather(*(asyncio.shield(queue.accept(request)) for request in requests))
    failed = [result for result in results if result.score is None]
    if failed and unscored is None:
        reason = f"{len(failed)} of {len(results)} responses could not be scored: {failed[0].reason}"
        raise HTTPException(503, reason, {"Retry-After": str(RETRY_AFTER_S)})
    return results


def fill(result: RewardResult, unscored: float | None) -> float:
    """The score, or the caller's number for none."""
    if result.score is not None:
        return result.score
    assert unscored is not None, "a result without a score was answered with 503"
    return unscored
