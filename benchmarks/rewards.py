"""How fast and how right rewards are: each task, `math` against published graders, and a soak of the service.

All arms take turns in one run, several times; ratios are medians over
turns. Each turn has texts of its own, so that nobody is paid for remembering. A wrong score of a task, and a fault
of the soak, end it with an error.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script: this file is called as a package of ours

from benchmarks import math_accuracy
from benchmarks.graders import GRADERS, Grader
from rewards.registry import Task, load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest

PARTS = "tasks", "speed", "accuracy"
PROSE = "Let us look at the next case, where the number {0} is even and {1} is odd, so that the sum is {2}. "


def responses(turn: int, num: int) -> list[tuple[str, str]]:
    """Typical responses and their references: eight kinds in turn, a quarter wrong, a quarter long chains."""
    numbers = random.Random(turn)
    pairs = []
    for index in range(num):
        a, b, c = (numbers.randint(2, 999) for _ in range(3))
        reference, answer = [
            (f"{a * b}", f"{a * b:,}"),
            (f"{a}/{b}", f"\\frac{{{a}}}{{{b}}}"),
            (f"{a / 8}", f"{a / 8}0"),
            (f"{a}\\sqrt{{2}}", f"{a} \\sqrt 2"),
            (f"({a}, {b})", f"\\left({a}, {b}\\right)"),
            (f"{a}x + {b}", f"{b} + {a}x"),
            (f"{a}", f"x = {a}"),
            (f"\\frac{{\\sqrt{{{b}}}}}{{{a}}}", f"\\frac{{1}}{{{a}}}\\sqrt{{{b}}}"),
        ][index % 8]
        if index % 4 == 3:
            answer = answer.replace(str(a), str(a + 1))
        words = 800 if index % 4 == 1 else 4
        thinking = "".join(PROSE.format(a + n, b + n, c + n) for n in range(words))
        pairs.append((f"<think>{thinking}</think>\nThe answer is \\boxed{{{answer}}}.", reference))
    return pairs


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def time_each(grade: Grader, pairs: list[tuple[str, str]]) -> list[float]:
    """Seconds of each judgement."""
    seconds = []
    for response, reference in pairs:
        start = time.perf_counter()
        grade(response, reference)
        seconds.append(time.perf_counter() - start)
    return seconds


async def measure_speed(scorer: Scorer, repeats: int, num: int, tell: Callable[[str], None]) -> dict[str, float]:
    """Judgements a second and latencies of the task `math` and of other graders, on the same texts."""
    graders = {name: make() for name, make in GRADERS.items()}
    rates: dict[str, list[float]] = {name: [] for name in ("scorer", *graders)}
    each: dict[str, list[float]] = {name: [] for name in ("one at a time", *graders)}
    for turn in range(repeats + 1):  # the first turn warms every arm up and is dropped
        pairs = responses(turn, num)
        requests = [RewardRequest(task="math", response=text, reference=reference) for text, reference in pairs]
        start = time.perf_counter()
        await scorer.score(requests)
        rates["scorer"].append(num / (time.perf_counter() - start))
        singles = []
        for request in requests:
            start = time.perf_counter()
            await scorer.score([request])
            singles.append(time.perf_counter() - start)
        each["one at a time"] += singles if turn else []
        for name, grade in graders.items():
            seconds = time_each(grade, pairs)
            rates[name].append(num / sum(seconds))
            each[name] += seconds if turn else []
    figures = {f"{name}/per_s": round(median(values[1:]), 1) for name, values in rates.items()}
    for name, values in each.items():
        figures |= {f"{name}/p50_ms": round(1e3 * median(values), 2)}
        figures |= {f"{name}/p99_ms": round(1e3 * percentile(values, 0.99), 2)}
    for ours in ("scorer", "sharpen"):
        for theirs in list(graders)[1:]:
            ratios = [a / b for a, b in zip(rates[ours][1:], rates[theirs][1:], strict=True)]
            figures[f"{ours}/times_{theirs}"] = float(f"{median(ratios):.3g}")
            tell(f"{ours} against {theirs}: {median(ratios):.3g} times (from {min(ratios):.3g} to {max(ratios):.3g})")
    for name, value in figures.items():
        tell(f"{name}: {value}")
    return figures


async def measure_task(scorer: Scorer, task: Task, repeats: int) -> tuple[float, list[float], int]:
    """Judgements a second on all cases at once, seconds of each alone, and how many scores are wrong."""
    cases = [case for case in task.cases if not case.replies]
    requests = (
        [task.example, *(task.request(case) for case in cases)] if task.ask is None else list(map(task.request, cases))
    )
    rates, singles, num_wrong = [], [], 0
    for _ in range(repeats + 1):  # the first turn imports what the task needs, and is dropped
        start = time.perf_counter()
        results = await scorer.score(requests)
        rates.append(len(requests) / (time.perf_counter() - start))
        wanted = [case.score for case in cases]
        num_wrong += sum(result.score != score for result, score in zip(results[-len(cases) :], wanted, strict=True))
    for request in requests:
        start = time.perf_counter()
        await scorer.score([request])
        singles.append(time.perf_counter() - start)
    return median(rates[1:]), singles, num_wrong


async def measure_tasks(scorer: Scorer, repeats: int, tell: Callable[[str], None]) -> dict[str, float]:
    """Every task on its example and its conformance cases, hostile ones included, but for those that ask a model."""
    figures: dict[str, float] = {}
    for name, task in load_tasks().items():
        rate, singles, num_wrong = await measure_task(scorer, task, repeats)
        assert not num_wrong, f"{name}: {num_wrong} wrong scores"
        p50, p99 = 1e3 * median(singles), 1e3 * percentile(singles, 0.99)
        figures |= {f"{name}/per_s": round(rate, 1), f"{name}/p50_ms": round(p50, 2), f"{name}/p99_ms": round(p99, 2)}
        tell(f"{name:<32} {rate:8.1f} a second, p50 {p50:8.2f} ms, p99 {p99:8.2f} ms")
    return figures


async def measure(options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    parts = options.part or PARTS
    figures: dict[str, dict[str, float]] = {}
    if options.soak:
        from benchmarks.soak import SHORT, USUAL, soak

        limits = SHORT if options.short_limits else USUAL
        return {"soak": await soak(options.requests, options.workers, tell, limits=limits)}
    async with Scorer(ScorerConfig(num_workers=options.workers)) as scorer:
        if "speed" in parts:
            figures["speed"] = await measure_speed(scorer, options.repeats, options.num, tell)
        if "tasks" in parts:
            figures["tasks"] = await measure_tasks(scorer, options.repeats, tell)
    if "accuracy" in parts:
        graders = {name: make() for name, make in GRADERS.items()}
        for name, path in (("fitted", math_accuracy.CASES), ("held out", math_accuracy.HELD_OUT)):
            tell(f"cases that are {name}:")
            figures[f"accuracy, {name}"] = math_accuracy.measure(math_accuracy.read_cases(path), graders, tell)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--num", type=int, default=240, help="responses a turn, for speed")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--soak", action="store_true", help="the soak alone")
    parser.add_argument("--requests", type=int, default=10_000, help="of the soak")
    parser.add_argument(
        "--short-limits", action="store_true", help="of the soak: hostile requests, and slow ones, cost less time"
    )
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    options = parser.parse_args()
    figures = asyncio.run(measure(options, lambda line: print(line, flush=True)))
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
