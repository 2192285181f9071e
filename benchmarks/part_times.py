"""What the parts of a step take: fitted to a run, or stated from a model's shape and a GPU's data sheet."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.simulation import PartTimes, Scenario
from rl.architecture import Architecture
from rl.log import read_metrics
from rl.run_folder import read_settings

MIN_STEPS = 3
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run's settings, the rows of its steps but the first, and the response lengths of each of these."""

    config: dict[str, Any]
    rows: list[dict[str, Any]]
    lengths: list[list[int]]

    @property
    def all_lengths(self) -> list[int]:
        return [length for step in self.lengths for length in step]


def read_run(folder: Path) -> Run:
    """Raises ValueError for a folder without the figures that are needed."""
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder} is no run folder: it has no config.yaml")
    config = read_settings(folder)["config"]
    rows = [row for row in read_metrics(folder) if row["step"] > 1]  # the first one warms everything up
    lengths = []
    for row in rows:
        path = folder / "samples" / f"step-{row['step']}.jsonl"
        if not path.is_file():
            raise ValueError(f"{path} is missing: run with log.samples_every_steps 1")
        groups = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        lengths.append([response["length"] for group in groups for response in group["responses"]])
    if len(rows) < MIN_STEPS:
        raise ValueError(f"{folder} has {len(rows)} steps after the first: at least {MIN_STEPS} are needed")
    return Run(config, rows, lengths)


def measured_times(run: Run) -> PartTimes:
    """Part times of a run with `max_staleness` 0, in which one part follows the other. Raises ValueError for others.

    n sequences of lengths l in one engine take max(l) decode steps, and sum(l) sequence-steps.
    """
    config = run.config
    sequences = config["groups_per_step"] * config["samples_per_prompt"]
    engine = config["engine"]
    if config["max_staleness"]:
        raise ValueError("max_staleness is above 0: sampling hides behind learning there; fit to a run with 0")
    if engine["batch_invariant"] or sequences > engine["num_engines"] * engine["max_num_sequences"]:
        raise ValueError("the engines did not run all sequences of a step at once: fit to a run where they do")
    if any(row["group/rejected"] for row in run.rows):
        raise ValueError("groups were rejected, whose lengths are in no file: fit to a run without group filters")
    judging = [row["time/wait_judging_s"] for row in run.rows]
    sampling = [row["time/collect_s"] - wait for row, wait in zip(run.rows, judging, strict=True)]
    tokens = [sum(lengths) / engine["num_engines"] for lengths in run.lengths]
    decode_step_s, decode_sequence_s = fit_two(list(map(max, run.lengths)), tokens, sampling)
    learn = [row["time/learn_s"] for row in run.rows]
    learn_step_s, learn_token_s = fit_two([1] * len(learn), list(map(sum, run.lengths)), learn)
    return PartTimes(
        decode_step_s=decode_step_s,
        decode_sequence_s=decode_sequence_s,
        learn_step_s=learn_step_s,
        learn_token_s=learn_token_s,
        sync_s=median(row["time/sync_s"] for row in run.rows),
        judge_s=median(judging),
        other_s=median(map(_other_s, run.rows)),
    )


def measured_step_s(run: Run) -> float:
    """The mean step without evaluations, after the steps that a staleness takes to come into its stride.

    Groups come in bursts that last `max_staleness` + 1 steps, so a multiple of that is counted.
    """
    burst = run.config["max_staleness"] + 1
    rows = run.rows[burst - 1 :]
    rows = rows[len(rows) % burst :]
    if not rows:
        raise ValueError("the run ends before it is in its stride: it needs more than 2 x max_staleness + 2 steps")
    return fmean(row["time/step_s"] - (row.get("time/eval_s") or 0.0) for row in rows)


def run_scenario(run: Run, times: PartTimes, **changes: Any) -> Scenario:
    """The layout of a run, with response lengths drawn from its own."""
    config, lengths = run.config, run.all_lengths
    known = {
        "groups_per_step": config["groups_per_step"],
        "samples_per_prompt": config["samples_per_prompt"],
        "max_staleness": config["max_staleness"],
        "look_ahead": config.get("look_ahead", 0),
        "num_engines": config["engine"]["num_engines"],
        "max_num_sequences": config["engine"]["max_num_sequences"],
        "num_steps": 60,
        "num_warmup": 20,
    }
    return Scenario(times=times, draw_length=lambda rng: rng.choice(lengths), **known | changes)


def _other_s(row: dict[str, Any]) -> float:
    parts = ("collect", "learn", "sync", "eval")
    return max(0.0, row["time/step_s"] - sum(row.get(f"time/{part}_s") or 0.0 for part in parts))


def fit_two(first: Sequence[float], second: Sequence[float], wanted: Sequence[float]) -> tuple[float, float]:
    """Least squares of first * a + second * b to `wanted` with a and b of at least 0."""
    columns, y = np.array([first, second], dtype=float).T, np.array(wanted, dtype=float)
    candidates = [np.linalg.lstsq(columns, y, rcond=None)[0]]
    for kept in (0, 1):
        alone = np.zeros(2)
        alone[kept] = columns[:, kept] @ y / max(columns[:, kept] @ columns[:, kept], 1e-12)
        candidates.append(alone)
    allowed = [candidate for candidate in candidates if (candidate >= 0).all()]
    best = min(allowed, key=lambda candidate: float(((columns @ candidate - y) ** 2).sum()))
    return float(best[0]), float(best[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A GPU's data sheet, and what share of it the programs get: assumptions, which a run's own figures replace."""

    memory_gib: float = 80
    bytes_per_s: float = 3.35e12
    flops: float = 989e12  # dense bfloat16
    link_bytes_per_s: float = 25e9  # learner to one engine; all engines at once
    decode_share: float = 0.6  # of the memory's bandwidth
    learn_share: float = 0.35  # of the flops
    memory_share: float = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Response lengths: log-normal with this mean and `sigma` (of the logarithm), cut at `longest`."""

    mean: float
    sigma: float
    longest: int

    def draw(self, rng: random.Random) -> int:
        wanted = rng.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return max(1, min(self.longest, round(wanted)))


def stated_times(
    model: Architecture, gpu: Hardware, *, tensor_parallel: int, num_ranks: int, mean_context: float, judge_s: float
) -> PartTimes:
    """Bandwidth bounds decoding: weights once a step, a sequence's keys and values once a token. Flops bound learning.

    A trained token costs 8 flops a parameter (forward, backward twice that, and forward again for checkpointed
    activations), and 8 a layer, query channel and token of context for causal attention.
    """
    bandwidth = gpu.bytes_per_s * gpu.decode_share * tensor_parallel
    flops = gpu.flops * gpu.decode_share * tensor_parallel
    attention = 8 * model.num_layers * model.num_heads * model.head_dim * mean_context
    learned = 8 * model.num_active_parameters + attention
    return PartTimes(
        decode_step_s=2 * model.num_parameters / bandwidth,
        decode_sequence_s=mean_context * model.kv_bytes_per_token(2) / bandwidth
        + 2 * model.num_active_parameters / flops,
        learn_step_s=2.0,
        learn_token_s=learned / (gpu.flops * gpu.learn_share * num_ranks),
        sync_s=1.0 + 2 * model.num_parameters / gpu.link_bytes_per_s,
        judge_s=judge_s,
        other_s=0.5,
    )


def room_for_sequences(model: Architecture, gpu: Hardware, *, tensor_parallel: int, mean_context: float) -> int:
    """How many sequences of mean length an engine's cache holds; 0 where not even the weights fit."""
    room = gpu.memory_share * gpu.memory_gib * tensor_parallel * GIB - 2 * model.num_parameters
    return max(0, int(room / (mean_context * model.kv_bytes_per_token(2))))


def least_ranks(model: Architecture, gpu: Hardware) -> int:
    """Learner GPUs that hold bfloat16 weights and gradients, float32 masters and moments under ZeRO-3, half full."""
    return math.ceil(16 * model.num_parameters / (0.5 * gpu.memory_gib * GIB))
