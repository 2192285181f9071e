"""The run folder and everything that is written into it while a run goes on."""

import itertools
import json
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rl.faults import EventFile
from rl.plugins import check_name, find_function
from rl.progress import Progress
from rl.types import StepMetrics

Sink = Callable[[int, StepMetrics], None]
TRACKERS = ("wandb", "mlflow", "swanlab")
PACKAGES = ("rl", "rollout", "rewards")
WALL_CLOCK = ("time/", "throughput/", "memory/")


class LogConfig(BaseModel):
    """`dir` holds run folders; `name` is this run's, by default the recipe and the time.

    `sinks`: tensorboard, wandb, mlflow, swanlab, or `module:function` of `(step, metrics)`. The console and
    metrics.jsonl are always written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dir: str = "runs"
    name: str | None = None
    sinks: list[str] = ["tensorboard"]
    samples_every_steps: int = Field(1, ge=1)

    @field_validator("sinks")
    @classmethod
    def _known(cls, sinks: list[str]) -> list[str]:
        known = dict.fromkeys(("tensorboard", *TRACKERS))
        return [check_name(sink, known, "log sink") for sink in sinks]


def new_run_folder(config: LogConfig, recipe: str) -> Path:
    """A folder that is not there yet. Raises ValueError where a run of that name exists."""
    name = config.name or f"{recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        folder = Path(config.dir) / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if config.name:
                raise ValueError(
                    f"log.name: {folder} exists; choose another name, or go on in it with --resume {folder}"
                ) from None
    raise AssertionError("numbers do not end")


class RunLog:
    """Metrics, samples, messages and timings of one run. Use as a context manager."""

    def __init__(self, folder: Path, config: LogConfig, *, recipe: str, num_steps: int) -> None:
        self.folder, self.config = folder, config
        self.recipe = recipe
        self._progress = Progress(num_steps)
        self._seconds: dict[str, float] = defaultdict(float)
        self._last_write = time.perf_counter()
        self._sinks: list[Sink] = []
        self._stack = ExitStack()
        self._events = EventFile(folder, show=self._progress.message)

    def __enter__(self) -> "RunLog":
        with ExitStack() as stack:  # a sink that does not open leaves nothing open behind it
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
            stack.enter_context(self._progress)
            handler = logging.FileHandler(self.folder / "log.txt", encoding="utf-8", errors="backslashreplace")
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            stack.callback(handler.close)
            self._logger = logging.getLogger(f"sharpen.{self.folder.name}")
            self._logger.setLevel(logging.INFO)
            self._logger.propagate = False
            for logger in (self._logger, *map(logging.getLogger, PACKAGES)):
                for each in (handler, self._events):
                    logger.addHandler(each)
                    stack.callback(logger.removeHandler, each)
            self._events.step = max((row["step"] for row in read_metrics(self.folder)), default=0)
            self._sinks = [_open_sink(name, self.folder, stack) for name in self.config.sinks]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None and error is not None:
            self._logger.error("the run stopped", exc_info=(kind, error, trace))
        self._stack.close()

    def message(self, text: str) -> None:
        """A line for people: console and log.txt."""
        self._logger.info(text)
        self._progress.message(text)

    def event(self, kind: str, detail: str) -> None:
        """A message that is a row of events.jsonl, too."""
        self._logger.warning(detail, extra={"event": kind})

    def stage(self, text: str) -> None:
        """What the run does now."""
        self._logger.info(text)
        self._progress.stage(text)

    def progress(self, name: str) -> Callable[[int, int], None]:
        """A callback `(done, total)` that shows how far stage `name` is."""
        return lambda done, total: self._progress.advance(name, done, total)

    @contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Wall seconds of a part, summed into `time/NAME_s` of the next row."""
        self._progress.stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def write(self, step: int, metrics: StepMetrics) -> None:
        """One row: metrics.jsonl, console, sinks. Raises OSError naming the file when it cannot be written."""
        row = metrics | self._wall_clock(metrics)
        _append(self.folder / "metrics.jsonl", [{"step": step} | {k: _finite(row[k]) for k in sorted(row)}])
        self._progress.step(step, row)
        self._events.step = step
        for sink in self._sinks:
            sink(step, row)

    def write_first(self, step: int, metrics: StepMetrics) -> None:
        """The row `step: 0` before training; a resumed run has it already, and its clock starts here."""
        if step == 0:
            self.write(step, metrics)
        self._seconds.clear()
        self._last_write = time.perf_counter()

    def _wall_clock(self, metrics: StepMetrics) -> StepMetrics:
        now = time.perf_counter()
        step_s, self._last_write = now - self._last_write, now
        row = {f"time/{name}_s": seconds for name, seconds in self._seconds.items()} | {"time/step_s": step_s}
        row["memory/driver_gib"] = psutil.Process().memory_info().rss / 2**30
        row["memory/used_gib"] = (psutil.virtual_memory().total - psutil.virtual_memory().available) / 2**30
        if "pack/trained_tokens" in metrics:
            training_s = step_s - self._seconds.get("eval", 0.0)
            row["throughput/tokens_per_s"] = metrics["pack/trained_tokens"] / training_s
        if self._seconds.get("collect"):
            row["rollout/tokens_per_s"] = metrics.get("rollout/tokens", 0.0) / self._seconds["collect"]
        self._seconds.clear()
        return row

    def write_samples(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """All responses of a step, a row a group (`rl/sample_rows.py`)."""
        if step % self.config.samples_every_steps:
            return
        path = self.folder / "samples" / f"step-{step}.jsonl"
        path.unlink(missing_ok=True)
        _append(path, rows)

    def write_eval_rows(self, name: str, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """The responses of an evaluation in place of those that are there; whole, or not at all."""
        path = _eval_file(self.folder, name, step)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        _append(partial, rows)
        partial.replace(path)

    def append_eval_row(self, name: str, step: int, row: dict[str, Any]) -> None:
        """The responses to one more prompt, on disk when this returns."""
        _append(_eval_file(self.folder, name, step), [row])

    def read_eval_rows(self, name: str, step: int) -> list[dict[str, Any]]:
        return read_eval_rows(self.folder, name, step)

    def truncate_after(self, step: int) -> None:
        """Drop what was written past a checkpoint: the resumed run writes it again."""
        self._events.step = step
        path = self.folder / "metrics.jsonl"
        if path.exists():
            kept = [row for row in read_metrics(self.folder) if row["step"] <= step and step > 0]
            partial = path.with_suffix(".partial")
            partial.write_text("")
            _append(partial, kept)
            partial.replace(path)
        for file in (*self.folder.glob("samples/step-*.jsonl"), *self.folder.glob("evals/*-step-*.jsonl")):
            if int(file.stem.rpartition("-")[2]) > step or step == 0:
                file.unlink()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line cut off by a crash is left out."""
    path = folder / "metrics.jsonl"
    rows = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in filter(None, text.split("\n")):  # splitlines would cut at characters that JSON leaves in a string
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def read_eval_rows(folder: Path, name: str, step: int) -> list[dict[str, Any]]:
    return list(stream_eval_rows(folder, name, step))


def stream_eval_rows(folder: Path, name: str, step: int) -> Iterator[dict[str, Any]]:
    """The rows of an evaluation, none where it has not begun; a line cut off by a crash is left out."""
    path = _eval_file(folder, name, step)
    if path.exists():
        with open(path, "rb") as lines:
            for line in lines:
                with suppress(ValueError):
                    yield json.loads(line)


def _eval_file(folder: Path, name: str, step: int) -> Path:
    return folder / "evals" / f"{name.replace('/', '-')}-step-{step}.jsonl"


def deterministic(row: dict[str, Any]) -> dict[str, Any]:
    """A row without wall-clock and memory figures: what two equal runs have in common to the bit."""
    return {k: v for k, v in row.items() if not k.startswith(WALL_CLOCK) and not k.endswith("tokens_per_s")}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def as_json(value: Any) -> Any:
    """The value with null for NaN and infinities, which are no JSON; a plug-in's components may hold them."""
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as JSON lines, on disk when this returns."""
    text = "".join(json.dumps(as_json(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}; free some space and go on with --resume") from error


def _open_sink(name: str, folder: Path, stack: ExitStack) -> Sink:
    if name == "tensorboard":
        return _tensorboard(folder, stack)
    return _tracker(name, folder, stack) if name in TRACKERS else find_function(name, {}, "log sink")


def _tensorboard(folder: Path, stack: ExitStack) -> Sink:
    writer: Any = None

    def write(step: int, metrics: StepMetrics) -> None:
        nonlocal writer
        if writer is None:  # only the first row tells where a resumed run goes on
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    stack.callback(lambda: writer and writer.close())
    return write


def _tracker(name: str, folder: Path, stack: ExitStack) -> Sink:
    """A tracker by way of verl. Raises ValueError naming the package where it is missing or does not start."""
    from verl.utils.tracking import Tracking

    try:
        tracking = Tracking(project_name="sharpen", experiment_name=folder.name, default_backend=name)
    except ModuleNotFoundError as error:
        raise ValueError(f"log.sinks: {name} needs the package {error.name}: pip install {error.name}") from error
    if name not in tracking.logger:  # verl goes on without MLflow when it cannot reach it
        raise ValueError(f"log.sinks: {name} did not start; see the warnings above")
    stack.callback(tracking.finish)
    return lambda step, metrics: tracking.log({k: v for k, v in metrics.items() if math.isfinite(v)}, step=step)
