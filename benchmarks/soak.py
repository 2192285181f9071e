"""A soak of the in-process reward service: mixed requests of all tasks, one in a hundred hostile."""

import multiprocessing
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rewards.registry import Case, Task, load_tasks
from rewards.scorer import MAX_RESPONSE_CHARS, Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult

HOSTILE = str(Path(__file__).with_name("hostile.py"))
HOSTILE_EVERY = 100
BATCH_PER_WORKER = 64
MAX_GROWTH = 1.10
KINDS = "hang", "crash", "memory", "huge", "huge for a worker"
OUTCOMES = {"hang": (None, "timeout"), "crash": (None, "error"), "memory": (None, "error"), "huge": (0, "ok")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of a worker; and the seconds beyond which a case is drawn as rarely as its time makes it."""

    timeout_s: float
    memory_mib: int
    slow_s: float


USUAL = Limits(timeout_s=10, memory_mib=1024, slow_s=0.5)
SHORT = Limits(timeout_s=3, memory_mib=512, slow_s=0.05)  # for 100,000 requests within an hour on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A request with the score and status that it must have; `replies` of models, where its case has some."""

    request: RewardRequest
    replies: tuple[str | float, ...]
    score: float | None
    status: str
    kind: str


def _benign(task: Task, case: Case, number: int) -> Item:
    request = task.request(case).model_copy(update={"id": f"{number}"})
    return Item(request=request, replies=case.replies, score=case.score, status="ok", kind="benign")


def _hostile(kind: str, number: int) -> Item:
    if kind == "huge for a worker":  # an answer that is judged, and wrong
        response = "ab" * (MAX_RESPONSE_CHARS // 2 - 1)
        request = RewardRequest(task="exact", response=response, reference="no", id=f"{number}")
        return Item(request=request, replies=(), score=0, status="ok", kind=kind)
    response = "x" * (2 * MAX_RESPONSE_CHARS) if kind == "huge" else kind
    score, status = OUTCOMES[kind]
    request = RewardRequest(task="soak_hostile", response=response, id=f"{number}")
    return Item(request=request, replies=(), score=score, status=status, kind=kind)


def draw_items(cases: list[tuple[Task, Case]], weights: list[float], num_requests: int, seed: int) -> Iterator[Item]:
    """Items numbered from 0: hostile ones in turn, each HOSTILE_EVERY, and cases by their weight."""
    choices = random.Random(seed)
    for number in range(num_requests):
        turn, rest = divmod(number, HOSTILE_EVERY)
        if rest == HOSTILE_EVERY // 2:
            yield _hostile(KINDS[turn % len(KINDS)], number)
        else:
            yield _benign(*choices.choices(cases, weights)[0], number)


async def _score(scorer: Scorer, items: list[Item]) -> list[RewardResult]:
    """One result an item; cases with recorded replies of models are replayed, one after the other."""
    results = iter(await scorer.score([item.request for item in items if not item.replies]))
    return [await scorer.replay(item.request, item.replies) if item.replies else next(results) for item in items]


def rss_mib() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def check_results(items: list[Item], results: list[RewardResult]) -> list[str]:
    """What is lost, doubled or judged otherwise than it must be."""
    faults = [] if len(items) == len(results) else [f"{len(items)} requests, {len(results)} results"]
    for item, result in zip(items, results, strict=False):
        if not item.replies and result.id != item.request.id:
            faults.append(f"request {item.request.id} got the result of {result.id}")
        if (result.score, result.status) != (item.score, item.status):
            faults.append(
                f"request {item.request.id} ({item.request.task}, {item.kind}): score {result.score}, status "
                f"{result.status} ({result.reason}), not {item.score}, {item.status}"
            )
    return faults


async def _weights(scorer: Scorer, cases: list[tuple[Task, Case]], slow_s: float) -> list[float]:
    """How often to draw each case: from one timed pass over all of them, which also warms the parent up."""
    items = [_benign(task, case, number) for number, (task, case) in enumerate(cases)]
    results = await _score(scorer, items)
    assert not (faults := check_results(items, results)), f"before the soak: {faults[:3]}"
    return [min(1.0, slow_s / max(result.ms / 1e3, 1e-3)) for result in results]


async def soak(
    num_requests: int, num_workers: int, tell: Callable[[str], None], seed: int = 0, limits: Limits = USUAL
) -> dict[str, float]:
    """Score in bounded batches at full concurrency. Raises AssertionError with what was lost, wrong or has grown."""
    tell(f"limits: {limits.timeout_s:g} s and {limits.memory_mib} MiB a response; rarer beyond {limits.slow_s:g} s")
    config = ScorerConfig(
        num_workers=num_workers, timeout_s=limits.timeout_s, memory_mib=limits.memory_mib, plugins=[HOSTILE]
    )
    tasks = [task for task in load_tasks((HOSTILE,)).values() if task.is_ours]
    cases = [(task, case) for task in tasks for case in task.cases]
    sizes: list[float] = []
    kinds: Counter[str] = Counter()
    faults: list[str] = []
    async with Scorer(config) as scorer:
        weights = await _weights(scorer, cases, limits.slow_s)
        tell(f"{len(cases)} cases have their scores")
        pids = {process.pid for process in multiprocessing.active_children()}
        start, items = time.perf_counter(), list(draw_items(cases, weights, num_requests, seed))
        size = BATCH_PER_WORKER * num_workers
        for first in range(0, len(items), size):
            batch = items[first : first + size]
            faults += check_results(batch, await _score(scorer, batch))
            kinds.update(item.kind for item in batch)
            sizes.append(rss_mib())
            seconds = time.perf_counter() - start
            tell(f"{first + len(batch)} of {num_requests} after {seconds:.0f} s; parent {sizes[-1]:.0f} MiB")
        replaced = {process.pid for process in multiprocessing.active_children()} - pids
        num_retries = scorer.num_retries
    quarter = max(len(sizes) // 4, 1)
    second, last = median(sizes[quarter : 2 * quarter] or sizes), median(sizes[-quarter:])
    tell(f"{sum(kinds.values())} requests in {seconds:.0f} s on {num_workers} workers: {dict(kinds)}")
    tell(f"{num_retries} judgements repeated; parent {second:.0f} MiB in the second quarter, {last:.0f} in the last")
    assert not faults, f"{len(faults)} faults, the first: {faults[:5]}"
    assert sum(kinds.values()) == num_requests, f"{sum(kinds.values())} results of {num_requests}"
    num_breaking = sum(kinds[kind] for kind in ("hang", "crash", "memory"))
    assert num_retries >= num_breaking, f"{num_breaking} broke limits, {num_retries} were repeated"
    assert replaced or not num_breaking, "no worker was replaced"
    assert last <= MAX_GROWTH * second, f"the parent grew from {second:.0f} to {last:.0f} MiB"
    figures = {"soak_requests": num_requests, "soak_s": round(seconds, 1), "soak_rss_growth": round(last / second, 3)}
    return figures | {"soak_timeout_s": limits.timeout_s}
