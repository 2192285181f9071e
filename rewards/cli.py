"""The commands under `sharpen rewards`: list, score, check."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any, TextIO

from pydantic import ValidationError

from rewards.registry import Task, find_task, load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult

LOOK_AHEAD = 64  # lines that may be under way at once


def add_commands(commands: Any) -> None:
    """`rewards` and its sub-commands on an argparse object."""
    rewards = commands.add_parser("rewards", help="reward tasks: list, score, check")
    actions = rewards.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the tasks with their parameters and an example")
    listing.add_argument("--json", action="store_true", help="one JSON array")
    score = actions.add_parser("score", help="JSON lines of requests in, one result a line out")
    check = actions.add_parser("check", help="run every task's conformance cases")
    check.add_argument("--data", metavar="FILE", help="JSON lines of requests whose own reference must be accepted")
    for action in (listing, score, check):
        action.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="tasks from elsewhere")
    for action in (score, check):
        action.add_argument("--workers", type=int, default=2)
        action.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    listing.set_defaults(run=list_tasks)
    score.set_defaults(run=lambda options: asyncio.run(score_lines(options, sys.stdin, sys.stdout)))
    check.set_defaults(run=lambda options: asyncio.run(check_tasks(options)))


def list_tasks(options: argparse.Namespace) -> int:
    """Print the tasks."""
    tasks = load_tasks(tuple(options.plugin))
    if options.json:
        print(json.dumps([_describe(task) for task in tasks.values()], ensure_ascii=False, indent=1))
        return 0
    for task in tasks.values():
        print(f"{task.name}  (version {task.version})\n  {task.description}")
        for name, text in task.params.items():
            print(f"  params.{name}: {text}")
        print(f"  example: {task.example.model_dump_json(exclude_none=True, exclude_defaults=True)}\n")
    return 0


def _describe(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "description": task.description,
        "version": task.version,
        "params": dict(task.params),
        "example": task.example.model_dump(exclude_none=True),
    }


def _config(options: argparse.Namespace) -> ScorerConfig:
    return ScorerConfig(num_workers=options.workers, timeout_s=options.timeout, plugins=options.plugin)


async def score_lines(options: argparse.Namespace, lines: TextIO, out: TextIO) -> int:
    """One result a line in the order of the lines, each as soon as it and those before it are known."""
    async with Scorer(_config(options)) as scorer:
        tasks = load_tasks(tuple(options.plugin))
        waiting: asyncio.Queue[asyncio.Task[RewardResult] | None] = asyncio.Queue(LOOK_AHEAD)

        async def read() -> None:
            async for line in _stripped(lines):
                await waiting.put(asyncio.create_task(_score_line(line, scorer, tasks)))
            await waiting.put(None)

        reader = asyncio.create_task(read())
        while (task := await waiting.get()) is not None:
            print((await task).model_dump_json(), file=out, flush=True)
        await reader
    return 0


async def _stripped(lines: TextIO) -> AsyncIterator[str]:
    while line := await asyncio.to_thread(lines.readline):
        if line.strip():
            yield line


async def _score_line(line: str, scorer: Scorer, tasks: Any) -> RewardResult:
    identity = None
    try:
        content = json.loads(line)
        identity = content.get("id") if isinstance(content, dict) and isinstance(content.get("id"), str) else None
        request = RewardRequest.model_validate(content)
        find_task(request.task, tasks)
    except (ValidationError, ValueError, RecursionError) as error:
        return RewardResult(id=identity, score=None, status="error", reason=f"bad request: {error}"[:500])
    return (await scorer.score([request]))[0]


async def check_tasks(options: argparse.Namespace) -> int:
    """Judge all conformance cases; 1 when one of them, or a row of `--data`, is not judged as it must be."""
    tasks = load_tasks(tuple(options.plugin))
    failures = []
    async with Scorer(_config(options)) as scorer:
        for task in tasks.values():
            requests = [_case_request(task, number) for number in range(len(task.cases))]
            results = await scorer.score(requests)
            wrong = [
                f"{task.name}: {case.name!r} got {result.score} ({result.reason}), must get {case.score}"
                for case, result in zip(task.cases, results, strict=True)
                if result.score != case.score
            ]
            print(f"{task.name:<16}{len(results) - len(wrong)} of {len(results)} cases as they must be")
            failures += wrong
        if options.data:
            failures += await _check_data(options.data, scorer)
    for failure in failures:
        print(failure)
    return int(bool(failures))


def _case_request(task: Task, number: int) -> RewardRequest:
    case = task.cases[number]
    reference = task.example.reference if case.reference is None else case.reference
    return RewardRequest(
        task=task.name,
        question=task.example.question,
        response=case.response,
        reference=reference,
        params=dict(case.params),
        id=case.name,
    )


def _own_references(path: str) -> list[RewardRequest]:
    """Each row of a file with its own reference as the response."""
    requests = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            text = str(row["reference"][0] if isinstance(row["reference"], list) else row["reference"])
            response = f"\\boxed{{{text.strip('$')}}}" if row["task"].startswith("math") else text
            requests.append(RewardRequest.model_validate(row | {"response": response, "id": f"row {number}"}))
    return requests


async def _check_data(path: str, scorer: Scorer) -> list[str]:
    """Rows whose own reference, boxed or plain, their verifier does not accept."""
    requests = _own_references(path)
    results = await scorer.score(requests)
    refused = [f"{path}, {r.id}: its own reference gets {r.score} ({r.reason})" for r in results if r.score != 1]
    print(f"{path}: {len(results) - len(refused)} of {len(results)} references accepted")
    return refused
