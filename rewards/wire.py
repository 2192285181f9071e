"""Requests and results as JSON: what comes from outside is cleaned before anything else sees it."""

import json
import re
from typing import Any

from pydantic import ValidationError

from rewards.registry import Task
from rewards.types import RewardRequest, RewardResult

MAX_REASON_CHARS = 500
MAX_MISTAKES = 20  # of one request that are told
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}  # JSON leaves them as they are
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(text: bytes) -> Any:
    """JSON as specified, without NaN; a lone surrogate, which no encoder takes, becomes `?`. Raises ValueError."""
    try:
        data = json.loads(text.decode("utf-8-sig"), parse_constant=_refuse_constant)
        if _SURROGATE.search(text):
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return data


def json_line(result: RewardResult) -> str:
    """The result as one line, also for readers that end lines where Unicode does (Python's `splitlines`, httpx)."""
    return result.model_dump_json().translate(_LINE_ENDS)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def list_mistakes(error: ValidationError) -> list[tuple[str, str]]:
    """Dotted fields and what is wrong with each; the value itself is never repeated."""
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_MISTAKES]
    return [(".".join(map(str, mistake["loc"]))[:MAX_REASON_CHARS], mistake["msg"]) for mistake in mistakes]


def read_request(data: Any) -> RewardRequest | RewardResult:
    """The request that parsed JSON is, or the result of what is none."""
    try:
        return RewardRequest.model_validate(data)
    except ValidationError as error:
        places = (f"{field or 'the request'}: {message}" for field, message in list_mistakes(error))
        return failure("; ".join(places), data)


def failure(reason: str, data: Any) -> RewardResult:
    """The result of what could not be judged, with the id that it came with, if it is one."""
    known = data.get("id") if isinstance(data, dict) else None
    identity = known if isinstance(known, str) else None
    return RewardResult(id=identity, score=None, status="error", reason=reason[:MAX_REASON_CHARS])


def describe_task(task: Task) -> dict[str, Any]:
    """What a user needs to know of a task, as plain data."""
    return {
        "name": task.name,
        "description": task.description,
        "params": dict(task.params),
        "example": task.example.model_dump(mode="json"),
        "version": task.version,
    }
