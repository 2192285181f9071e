"""Whether tasks judge as they promise, and whether data can be judged by them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rewards.registry import Case, Task, find_task, load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult

BATCH = 256  # rows that are judged at once
BINDING = "honest", "forged"  # how cases begin that a live model must judge like the recorded one


async def check(config: ScorerConfig, data: Path | None, tell: Callable[[str], None], names: Sequence[str] = ()) -> int:
    """Judge the cases of the named tasks, or of all, and each row of `data` by its reference: the number of failures.

    The replies of models are those recorded with the cases. Where `config` has a model, the cases that ask it are
    judged live too: honest and forged ones must agree with the record, of others it is told whether they do. Raises
    ValueError for an unknown task, and for a data file that cannot be read.
    """
    num_failures = 0
    tasks = load_tasks(tuple(config.plugins))
    chosen = [find_task(name, tasks) for name in names] or list(tasks.values())
    async with Scorer(config) as scorer:
        for task in chosen:
            failures = await _check_cases(task, scorer)
            num_failures += len(failures)
            for failure in failures:
                tell(f"FAILED {task.name}, {failure}")
            tell(f"{task.name}: {len(task.cases) - len(failures)} of {len(task.cases)} cases pass")
            num_failures += await _check_live(task, scorer, tell)
        if data is not None:
            num_failures += await _check_data(data, scorer, config, tell)
    return num_failures


async def _check_cases(task: Task, scorer: Scorer) -> list[str]:
    requests = [task.request(case) for case in task.cases]
    if task.ask is None:
        results = await scorer.score(requests)
    else:
        replays = (scorer.replay(request, case.replies) for request, case in zip(requests, task.cases, strict=True))
        results = list(await asyncio.gather(*replays))
    return [
        f"case {case.name!r}: {_outcome(result)}, expected {case.score}"
        for case, result in zip(task.cases, results, strict=True)
        if result.score != case.score
    ]


async def _check_live(task: Task, scorer: Scorer, tell: Callable[[str], None]) -> int:
    """Judge the cases that ask a model by the models that there are; the number of binding ones that disagree."""
    models = {"judge": scorer.config.judge, "preference": scorer.config.preference}
    cases = [case for case in task.cases if case.replies and models[_asked(case)] is not None]
    results = await scorer.score([task.request(case) for case in cases])
    num_agreed = num_failures = 0
    for case, result in zip(cases, results, strict=True):
        # A logit depends on the model: it is enough that there is one.
        agrees = result.score == case.score or (_asked(case) == "preference" and result.score is not None)
        fails = not agrees and case.name.startswith(BINDING)
        num_agreed, num_failures = num_agreed + agrees, num_failures + fails
        verdict = "agrees" if agrees else "FAILED" if fails else "differs"
        tell(f"{task.name}, live case {case.name!r}: {verdict}: {_outcome(result)}, recorded {case.score:g}")
    if cases:
        tell(f"{task.name}: {num_agreed} of {len(cases)} live cases agree")
    return num_failures


def _asked(case: Case) -> str:
    return "judge" if isinstance(case.replies[0], str) else "preference"


async def _check_data(path: Path, scorer: Scorer, config: ScorerConfig, tell: Callable[[str], None]) -> int:
    tasks = load_tasks(tuple(config.plugins))
    counts: Counter[str] = Counter()
    batch: list[tuple[int, RewardRequest]] = []

    async def judge() -> None:
        for (number, _), result in zip(batch, await scorer.score([request for _, request in batch]), strict=True):
            counts["accepted" if result.score == 1 else "FAILED"] += 1
            if result.score != 1:
                tell(f"FAILED {path}:{number}: its own reference is not accepted: {_outcome(result)}")
        batch.clear()

    for number, row in _read_rows(path):
        try:
            request = RewardRequest.model_validate({"response": ""} | row)
            task = find_task(request.task, tasks)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        if task.respond is None:
            counts["not checked, their task cannot state a reference"] += 1
            continue
        batch.append((number, request.model_copy(update={"response": task.respond(request.reference)})))
        if len(batch) == BATCH:
            await judge()
    await judge()
    tell(f"{path}: " + (", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "no rows"))
    return counts["FAILED"]


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a JSON lines file. Raises ValueError."""
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}:{number}: not a line of JSON: {error}") from error
                if not isinstance(row, dict):
                    raise ValueError(f"{path}:{number}: a row is an object, not {type(row).__name__}")
                yield number, row
    except OSError as error:
        raise ValueError(f"--data: cannot read {path}: {error.strerror}") from error


def _outcome(result: RewardResult) -> str:
    verdict = f"score {result.score:g}" if result.score is not None else f"status {result.status}"
    return f"{verdict} ({result.reason})" if result.reason else verdict
