"""What sampling ahead of the learner gains: `max_staleness` 1 and 4 against 0 on the same work, engine and learner on
a core each in all arms. And with `--curves`, what it costs: training reward of stale samples with and without the
correction for their mismatch, beside that of fresh ones.

Each arm is a `sharpen run` of the arithmetic demo in a process of its own; the arms take turns, `--repeats` times with
other seeds. Run folders stay under `--out`: benchmarks/simulate.py reads them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from math import lcm
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, which has a module called `rewards`

from rl.log import read_metrics
from rl.waits import bound_of

ROOT = Path(__file__).parents[1]
RUN_LIMIT_S = 7200
SAME_WORK = "loss.entropy.coefficient=1.0e-9"  # with such a term groups without signal are computed, too
CORRECTIONS = {"corrected": "decoupled", "uncorrected": "none"}

Rows = list[dict[str, Any]]


def run(options: argparse.Namespace, name: str, *changes: str) -> Rows:
    """The rows of a run's steps. A run of that name that is complete is not repeated."""
    folder = options.out / name
    if not (folder / "report.html").is_file():  # the last thing that a run writes
        engine, learner, *_ = sorted(os.sched_getaffinity(0))
        arguments = [
            f"model={options.model}",
            f"num_steps={options.steps}",
            f"groups_per_step={options.groups}",
            f"samples_per_prompt={options.samples}",
            f"sampling.max_tokens={options.max_tokens}",
            f'engine.cores="{engine}"',
            f'learner.cores="{learner}"',
            "evals=[]",
            "checkpoint.at_end=false",
            "log.sinks=[]",
            f"log.dir={options.out}",
            f"log.name={name}",
            *options.set,
            *changes,
        ]
        command = [sys.executable, "-m", "rl.cli", "run", str(ROOT / "configs/demo/arithmetic.yaml"), *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        print(f"running {name}", file=sys.stderr, flush=True)
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=RUN_LIMIT_S)
        if done.returncode:
            sys.exit(f"error: {name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [row for row in read_metrics(folder) if row["step"]]


def speed(rows: Rows, max_staleness: int, num_skipped: int) -> dict[str, Any]:
    """Sampled tokens a second over all steps but the first, the same ones in all arms."""
    counted = rows[num_skipped:]
    seconds = sum(row["time/step_s"] for row in counted)
    return {
        "tokens_per_s": sum(row["rollout/tokens"] for row in counted) / seconds,
        "step_s": seconds / len(counted),
        "head_of_line_s": fmean(row["time/head_of_line_s"] for row in counted),
        "staleness": fmean(row["rollout/staleness_mean"] for row in counted),
        "bound": str(bound_of(counted, max_staleness)),
    }


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Medians of each arm, and of its ratio to `max_staleness` 0 of the same turn (least to greatest)."""
    num_skipped = max(options.staleness) + 2  # the first warms up; the line fills in the next ones
    bursts = lcm(*(steps + 1 for steps in options.staleness))  # groups come in bursts, which are counted whole
    if options.steps <= num_skipped or (options.steps - num_skipped) % bursts:
        sys.exit(f"error: --steps must be {num_skipped} and a multiple of {bursts}, not {options.steps}")
    arms: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(options.repeats):
        order = options.staleness if turn % 2 == 0 else options.staleness[::-1]
        for steps in order:
            rows = run(options, f"staleness-{steps}-turn-{turn}", f"max_staleness={steps}", f"seed={turn}", SAME_WORK)
            arms[steps].append(speed(rows, steps, num_skipped))
    result: dict[str, Any] = {}
    for steps, turns in sorted(arms.items()):
        gains = [mine["tokens_per_s"] / base["tokens_per_s"] for mine, base in zip(turns, arms[0], strict=True)]
        middle = {name: median(t[name] for t in turns) for name in turns[0] if name != "bound"}
        bounds = sorted({t["bound"] for t in turns})
        result[f"staleness_{steps}"] = middle | {"gain": median(gains), "bound": bounds}
        print(
            f"max_staleness {steps}: {middle['tokens_per_s']:.1f} tokens/s, {middle['step_s']:.2f} s a step, "
            f"{median(gains):.2f} times max_staleness 0 ({min(gains):.2f} to {max(gains):.2f}), bound by "
            f"{' and '.join(bounds)}, head-of-line {middle['head_of_line_s']:.2f} s, age {middle['staleness']:.2f}"
        )
    return result


def curves(options: argparse.Namespace) -> dict[str, Any]:
    """Training reward and mismatch by step, means over seeds, in curves.html; and the reward of the last quarter."""
    steps = max(options.staleness)
    arms = {"fresh": ("max_staleness=0",)} | {
        f"{name}, staleness {steps}": (f"max_staleness={steps}", f"loss.correction.mode={mode}")
        for name, mode in CORRECTIONS.items()
    }
    found: dict[str, list[Rows]] = {arm: [] for arm in arms}
    for turn in range(options.repeats):
        for arm, changes in arms.items():
            name = f"{arm.replace(', ', '-').replace(' ', '-')}-turn-{turn}"
            found[arm].append(run(options, name, *changes, f"seed={turn}"))
    result = {}
    for arm, runs in found.items():
        ends = [fmean(row["reward/mean"] for row in rows[-max(1, len(rows) // 4) :]) for rows in runs]
        result[arm] = {"last_quarter": ends}
        print(f"{arm}: reward {fmean(ends):.3f} over the last quarter ({min(ends):.3f} to {max(ends):.3f})")
    write_curves(found, options.out / "curves.html")
    return result


def write_curves(found: dict[str, list[Rows]], path: Path) -> None:
    """One page; a line an arm, and its seeds in the background."""
    from plotly.subplots import make_subplots

    names = {"reward/mean": "training reward", "loss/mismatch_kl": "mismatch (k3, nats a token)"}
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=list(names.values()))
    colors = ("#2f5fd0", "#12936a", "#d9730d")
    for column, name in enumerate(names, start=1):
        for (arm, runs), color in zip(found.items(), colors, strict=True):
            lines = [[row.get(name) for row in rows] for rows in runs]
            mean = [fmean(known) if (known := [v for v in at if v is not None]) else None for at in zip(*lines)]  # noqa: B905
            for values in lines:
                figure.add_scatter(y=values, line_color=color, opacity=0.25, showlegend=False, row=1, col=column)
            figure.add_scatter(y=mean, name=arm, line_color=color, showlegend=column == 1, row=1, col=column)
    figure.update_xaxes(title_text="step")
    figure.write_html(path, include_plotlyjs=True)
    print(f"curves side by side: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", action="store_true", help="learning curves instead of throughput")
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--model", default="package:smollm2")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more overrides of the demo's config")
    parser.add_argument("--out", type=Path, default=Path("runs/asynchronous"))
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    options = parser.parse_args()
    if 0 not in options.staleness:
        parser.error("--staleness must hold 0, which the others are compared with")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("error: engine and learner want a core each, and this process may use one alone")
    result = curves(options) if options.curves else throughput(options)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
