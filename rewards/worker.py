"""What runs in a scorer's worker process: its start, its limits, and one judgement at a time."""

import asyncio
import functools
import inspect
import json
import numbers
import os
import pickle
import resource
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from rewards.calls import CALLS, Call, Reply
from rewards.registry import TASKS, load_tasks
from rewards.types import RewardRequest, RewardResult

MAX_REASON_CHARS, MAX_EXTRACTED_CHARS = 500, 4_096
MAX_COMPONENTS, MAX_NAME_CHARS = 256, 200  # of a result; names are those of components and of the verifier


@dataclass(frozen=True, slots=True)
class BrokenLimit:
    """The limit of a worker that a judgement broke, and the status it has where that is our failure."""

    status: Literal["error", "timeout"]
    reason: str


def start_worker(plugins: tuple[str, ...], memory_mib: int, warm: Iterable[str]) -> None:
    """Leave the parent's standard streams alone, warm up for the tasks `warm`, then limit what they may take."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)  # what a plug-in prints is a log, never a result
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # dies at once, even in the middle of a long call into C
    load_tasks(plugins)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for task in warm:
        _warm_up(task)
    _limit_memory(_used_bytes() + memory_mib * 2**20)


def warm_up(task: str) -> None:
    """Load what the task's judgements need, beside what they may take."""
    limit, most = resource.getrlimit(resource.RLIMIT_AS)
    used = _used_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _warm_up(task)
    _limit_memory(limit + max(0, _used_bytes() - used))


@functools.cache
def _warm_up(task: str) -> None:
    """Once a process: one that starts while its list of tasks grows is asked again for the newest."""
    load = TASKS[task].warm_up
    assert load is not None, "only tasks that have something to load are warmed up for"
    with suppress(Exception):  # what cannot be loaded fails again where it is used, and is told there
        load()


def _used_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _limit_memory(num_bytes: int) -> None:
    """Set the soft limit: the hard one stays, so that a later warm-up may move it."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = num_bytes if most == resource.RLIM_INFINITY else min(num_bytes, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def ready() -> bool:
    """Answered by a worker that has started."""
    return True


Outcome = dict[str, Any] | list[dict[str, Any]] | BrokenLimit


def judge(payload: bytes) -> Outcome:
    """The result of a pickled request and the replies to its calls, or the calls that it needs; as plain data.

    Nothing of a plug-in goes to the parent, no exception either.
    """
    start = time.perf_counter()
    try:
        request, replies = pickle.loads(payload)
        answer = _judge(RewardRequest.model_validate(request), replies)
    except MemoryError:
        return BrokenLimit("error", "the worker's memory limit")
    except RecursionError:
        return BrokenLimit("error", "the interpreter's recursion limit")
    # A task is code from anywhere: whatever it raises, exits included, is the failure of that one request.
    except BaseException as error:
        answer = RewardResult(score=None, status="error", reason=_describe(error))
    if isinstance(answer, list):
        return answer
    return _bounded(answer) | {"ms": round((time.perf_counter() - start) * 1e3, 3)}


def _judge(request: RewardRequest, replies: list[Reply] | None) -> RewardResult | list[dict[str, Any]]:
    answer: Any = TASKS[request.task].judge(request, replies)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_awaited(answer))
    if isinstance(answer, list):
        calls = [call.model_dump() if isinstance(call, BaseModel) else call for call in answer]
        return _plain(CALLS.validate_python(calls))
    if isinstance(answer, RewardResult):
        return RewardResult.model_validate(answer.model_dump())
    if not isinstance(answer, numbers.Real):
        raise TypeError(f"the reward of task {request.task!r} returned {answer!r:.100}, not a number")
    score = float(answer)
    if score != score or score in (float("inf"), float("-inf")):
        raise ValueError(f"the reward of task {request.task!r} returned {score}")
    return RewardResult(score=score)


def _plain(calls: list[Call]) -> list[dict[str, Any]]:
    """Calls as JSON has them: their servers are sent no else, and the parent gets no object of a plug-in's."""
    try:
        text = json.dumps([call.model_dump() for call in calls], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the task's calls are no plain JSON: {error}") from error
    plain: list[dict[str, Any]] = json.loads(text)
    return plain


def _bounded(result: RewardResult) -> dict[str, Any]:
    """A result's fields, so short that they fit a line of the service's. The reason says which components are lost."""
    named = list(result.components.items())
    components = {_text(name, MAX_NAME_CHARS): value for name, value in named[:MAX_COMPONENTS]}
    num_lost = len(named) - len(components)  # names that are equal now are lost too
    note = f" (without {num_lost} of {len(named)} components)" if num_lost else ""
    return result.model_dump(exclude={"components"}) | {
        "components": components,
        "reason": _text(result.reason, MAX_REASON_CHARS - len(note)) + note,
        "extracted": None if result.extracted is None else _text(result.extracted, MAX_EXTRACTED_CHARS),
        "verifier": _text(result.verifier, MAX_NAME_CHARS),
    }


async def _awaited(answer: Any) -> Any:
    return await answer


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:MAX_REASON_CHARS]
    # The error's own `__str__` is the plug-in's code, too.
    except Exception:
        return type(error).__name__


def _text(text: str, max_chars: int) -> str:
    """The beginning of a text, as any encoder takes it: a lone surrogate is spelled out."""
    return text[:max_chars].encode("utf-8", "backslashreplace").decode()[:max_chars]
