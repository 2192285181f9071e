"""Live progress for people: a panel on a terminal, plain lines anywhere else."""

import math
import os
import sys
import time
from statistics import median
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rl.types import StepMetrics

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_LINE_EVERY_S = 10.0


def sparkline(values: list[float], width: int = 48) -> str:
    """The last `width` values as block characters between their least and greatest; a gap where one is not finite."""
    shown = values[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] if math.isfinite(value) else " " for value in shown)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class Progress:
    """Stage, step, reward, held-out score and time left. Writes to standard error."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        # FORCE_COLOR alone makes no terminal: a log file must stay free of control codes.
        self.console = Console(stderr=True, force_terminal=sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
        self._live: Live | None = None
        self._stage = "starting"
        self._step = 0
        self._start = time.monotonic()
        self._stage_start = self._last_line = self._start
        self._rewards: list[float] = []
        self._step_times: list[float] = []
        self._evals: dict[str, list[float]] = {}
        self._row: StepMetrics = {}

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def message(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stage(self, text: str) -> None:
        self._stage, self._stage_start = text, time.monotonic()
        if self._live is None and " " in text:  # the short stages of a step would flood a log
            self._plain(text)

    def advance(self, name: str, done: int, total: int) -> None:
        self._stage = f"{name} {done}/{total}"
        if self._live is None and time.monotonic() - self._last_line > PLAIN_LINE_EVERY_S:
            self._plain(self._stage)

    def step(self, step: int, row: StepMetrics) -> None:
        self._step, self._row = step, row
        if "reward/mean" in row:
            self._rewards.append(row["reward/mean"])
            self._step_times.append(row["time/step_s"])
        for name, value in row.items():
            if name.startswith("eval/") and "/avg@" in name:
                self._evals.setdefault(name, []).append(value)
        if self._live is None:
            self._plain(self._line())

    def _plain(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(f"[{duration(self._last_line - self._start)}] {text}", file=sys.stderr, flush=True)

    def _line(self) -> str:
        parts = [f"step {self._step}/{self.num_steps}"]
        for name, form in (
            ("reward/mean", "reward {:.3f}"),
            ("policy/entropy", "entropy {:.2f}"),
            ("rollout/response_length", "length {:.0f}"),
            ("loss/mismatch_kl", "mismatch {:.1e}"),
            ("throughput/tokens_per_s", "{:.0f} tokens/s"),
            ("time/step_s", "{:.1f} s"),
        ):
            if name in self._row:
                parts.append(form.format(self._row[name]))
        parts += [f"{name.removeprefix('eval/')} {self._row[name]:.3f}" for name in self._evals if name in self._row]
        if self._step_times:
            parts.append(f"{self._time_left()} left")
        return ", ".join(parts)

    def _time_left(self) -> str:
        return duration(median(self._step_times[-10:]) * (self.num_steps - self._step))

    def _render(self) -> Panel:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        table.add_row("stage", Text(f"{self._stage} ({now - self._stage_start:.0f} s)"))  # brackets are no markup
        left = f", {self._time_left()} left" if self._step_times else ""
        table.add_row("step", f"{self._step}/{self.num_steps}, {duration(now - self._start)}{left}")
        if self._rewards:
            table.add_row("reward", f"{self._rewards[-1]:.3f}  {sparkline(self._rewards)}")
        for name, values in self._evals.items():
            table.add_row(Text(name.removeprefix("eval/")), " → ".join(f"{value:.3f}" for value in values[-4:]))
        return Panel(Group(table, Text(self._line() if self._row else "", style="dim")), title="sharpen", width=100)
