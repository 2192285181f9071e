"""The command `sharpen rewards`: list the tasks, score requests from standard input, check tasks, serve them."""

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

from rewards.registry import load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.scorer_options import read_scorer_config, scorer_options
from rewards.serve_command import add_serve
from rewards.types import RewardResult
from rewards.wire import describe_task, failure, json_line, parse_json, read_request

LOOK_AHEAD = 16  # requests a worker that are read before the first of them is answered


def add_commands(subparsers: Any) -> None:
    """Add the command `rewards` and its own commands to a parser's."""
    rewards = subparsers.add_parser("rewards", help="list, run and check reward functions")
    commands = rewards.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--plugin", action="append", default=[], metavar="MODULE|FILE.py[:FUNCTION]")
    scorer = scorer_options()
    tasks = commands.add_parser("list", parents=[shared], help="all tasks, with their parameters")
    tasks.add_argument("--json", action="store_true", help="one JSON array, an object a task")
    tasks.set_defaults(run=_list)
    score = commands.add_parser("score", parents=[shared, scorer], help="JSON lines in, one result a line out")
    score.set_defaults(run=_score)
    check = commands.add_parser("check", parents=[shared, scorer], help="run tasks' conformance cases")
    check.add_argument("tasks", nargs="*", metavar="TASK", help="the tasks to check (default: all)")
    check.add_argument(
        "--data", type=Path, metavar="FILE.jsonl", help="check that each row's own reference is accepted"
    )
    check.set_defaults(run=_check)
    add_serve(commands, [shared, scorer])


def _list(options: argparse.Namespace) -> int:
    with _results() as out:
        tasks = load_tasks(tuple(options.plugin))
        rows = [describe_task(task) for task in tasks.values()]
        if options.json:
            print(json.dumps(rows, indent=2), file=out)
            return 0
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            print(f"{row['name']:<{width}}  {' '.join(row['description'].split())}", file=out)
            for name, help_text in row["params"].items():
                print(f"{'':<{width}}    {name}: {help_text}", file=out)
    return 0


def _score(options: argparse.Namespace) -> int:
    code = 0
    with _results() as out:
        try:
            asyncio.run(_score_lines(read_scorer_config(options), out))
        except* BrokenPipeError:  # nobody reads on
            code = 1
    return code


def _check(options: argparse.Namespace) -> int:
    from rewards.conformance import check

    with _results() as out:
        job = check(read_scorer_config(options), options.data, lambda line: print(line, file=out), options.tasks)
        num_failures = asyncio.run(job)
    return int(num_failures > 0)


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
            out.write(json_line(await task) + "\n")
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
        data = parse_json(line)
    except ValueError as error:
        return failure(f"not a line of JSON: {error}", None)
    request = read_request(data)
    if isinstance(request, RewardResult):
        return request
    try:
        return (await scorer.score([request]))[0]
    except ValueError as error:  # an unknown task
        return failure(str(error), data)
