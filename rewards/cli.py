"""The command `sharpen rewards`: list the tasks, score requests from standard input, check tasks and data."""

import argparse
import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from rewards.judge import JudgeConfig
from rewards.preference import PreferenceConfig
from rewards.registry import Task, load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult

MAX_WORKERS = 4  # by default
LOOK_AHEAD = 16  # requests a worker that are read before the first of them is answered


def add_commands(subparsers: Any) -> None:
    """Add the command `rewards` and its own commands to a parser's."""
    rewards = subparsers.add_parser("rewards", help="list, run and check reward functions")
    commands = rewards.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--plugin", action="append", default=[], metavar="MODULE|FILE.py[:FUNCTION]")
    limits = argparse.ArgumentParser(add_help=False)
    workers = min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    limits.add_argument("--workers", type=int, default=workers, metavar="N", help=f"processes (default {workers})")
    limits.add_argument("--timeout", type=float, default=10, metavar="S", help="seconds a response (default 10)")
    models = argparse.ArgumentParser(add_help=False)
    for name in ("judge", "preference"):
        models.add_argument(f"--{name}", metavar="URL", help=f"the server of the {name} model")
        models.add_argument(f"--{name}-model", default="", metavar="NAME", help="the name that it knows the model by")
    tasks = commands.add_parser("list", parents=[shared], help="all tasks, with their parameters")
    tasks.add_argument("--json", action="store_true", help="one JSON array, an object a task")
    tasks.set_defaults(run=_list)
    score = commands.add_parser("score", parents=[shared, limits, models], help="JSON lines in, one result a line out")
    score.set_defaults(run=_score)
    check = commands.add_parser("check", parents=[shared, limits, models], help="run tasks' conformance cases")
    check.add_argument("tasks", nargs="*", metavar="TASK", help="the tasks to check (default: all)")
    check.add_argument(
        "--data", type=Path, metavar="FILE.jsonl", help="check that each row's own reference is accepted"
    )
    check.set_defaults(run=_check)


def _list(options: argparse.Namespace) -> int:
    with _results() as out:
        tasks = load_tasks(tuple(options.plugin))
        rows = [_describe(task) for task in tasks.values()]
        if options.json:
            print(json.dumps(rows, indent=2), file=out)
            return 0
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            print(f"{row['name']:<{width}}  {' '.join(row['description'].split())}", file=out)
            for name, help_text in row["params"].items():
                print(f"{'':<{width}}    {name}: {help_text}", file=out)
    return 0


def _describe(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "description": task.description,
        "params": dict(task.params),
        "example": task.example.model_dump(mode="json"),
        "version": task.version,
    }


def _score(options: argparse.Namespace) -> int:
    code = 0
    with _results() as out:
        try:
            asyncio.run(_score_lines(_config(options), out))
        except* BrokenPipeError:  # nobody reads on
            code = 1
    return code


def _check(options: argparse.Namespace) -> int:
    from rewards.conformance import check

    with _results() as out:
        job = check(_config(options), options.data, lambda line: print(line, file=out), options.tasks)
        num_failures = asyncio.run(job)
    return int(num_failures > 0)


def _config(options: argparse.Namespace) -> ScorerConfig:
    if options.workers < 1:
        raise ValueError(f"--workers: {options.workers} is below 1")
    if not options.timeout > 0:
        raise ValueError(f"--timeout: {options.timeout} is not above 0 seconds")
    return ScorerConfig(
        num_workers=options.workers,
        timeout_s=options.timeout,
        plugins=options.plugin,
        judge=_judge(options),
        preference=_preference(options),
    )


def _judge(options: argparse.Namespace) -> JudgeConfig | None:
    if not options.judge and not options.judge_model:
        return None
    if not options.judge_model:
        raise ValueError("--judge-model is missing: give the name under which the server knows the judge")
    return JudgeConfig(url=_url("--judge", options.judge), model=options.judge_model)


def _preference(options: argparse.Namespace) -> PreferenceConfig | None:
    if not options.preference and not options.preference_model:
        return None
    return PreferenceConfig(url=_url("--preference", options.preference), model=options.preference_model)


def _url(option: str, url: str | None) -> str:
    if not url:
        raise ValueError(f"{option} is missing: give the address of the server")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{option}: {url!r} does not start with http:// or https://")
    return url


@contextmanager
def _results() -> Iterator[TextIO]:
    """Standard output for results alone: until it is closed, what anybody else prints goes to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        out = os.fdopen(os.dup(saved), "w", encoding="utf-8", errors="backslashreplace")
        try:
            yield out
        finally:
            with suppress(BrokenPipeError):
                out.close()
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


async def _score_lines(config: ScorerConfig, out: TextIO) -> None:
    """Results in the order of the lines, each written as soon as those before it are."""
    async with Scorer(config) as scorer, asyncio.TaskGroup() as group:
        lines: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        pending: asyncio.Queue[asyncio.Task[RewardResult] | None] = asyncio.Queue(LOOK_AHEAD * config.num_workers)
        _read_lines(lines.put, asyncio.get_running_loop())

        async def start() -> None:
            while (line := await lines.get()) is not None:
                await pending.put(group.create_task(_score_line(line, scorer)))
            await pending.put(None)

        reader = group.create_task(start())
        while (task := await pending.get()) is not None:
            out.write((await task).model_dump_json() + "\n")
            out.flush()
        await reader


def _read_lines(put: Callable[[bytes | None], Any], loop: asyncio.AbstractEventLoop) -> None:
    """Feed standard input to a queue of the loop's, from a thread that the end of the program need not wait for."""

    def read() -> None:
        with suppress(CancelledError, RuntimeError), open(0, "rb", closefd=False) as stdin:  # the loop has ended
            for line in stdin:
                asyncio.run_coroutine_threadsafe(put(line), loop).result()
            asyncio.run_coroutine_threadsafe(put(None), loop).result()

    threading.Thread(target=read, name="standard input", daemon=True).start()


async def _score_line(line: bytes, scorer: Scorer) -> RewardResult:
    """The result of one line; a line that is no request gives one, too."""
    try:
        data = _parse(line)
    except (ValueError, RecursionError) as error:
        return _failure(f"not a line of JSON: {error}", None)
    try:
        request = RewardRequest.model_validate(data)
        return (await scorer.score([request]))[0]
    except ValidationError as error:
        places = (f"{'.'.join(map(str, e['loc'])) or 'the request'}: {e['msg']}" for e in error.errors())
        return _failure("; ".join(places), data)
    except ValueError as error:  # an unknown task
        return _failure(str(error), data)


def _parse(line: bytes) -> Any:
    """JSON as it is specified, without NaN; a lone surrogate, which no encoder takes, becomes `?`."""
    data = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse_constant)
    return json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _failure(reason: str, data: Any) -> RewardResult:
    known = data.get("id") if isinstance(data, dict) else None
    return RewardResult(id=known if isinstance(known, str) else None, score=None, status="error", reason=reason[:500])
