"""Stages of a pipeline on disk: what each was made from, whether it is complete, and how it goes on.

In the pipeline's run folder, `stages/NAME` is the stage's own run folder, `stages/NAME.yaml` the config it was
started with, `stages/NAME.log` what it printed, and `stages/NAME/stage.json`, written last, says that it is complete.
"""

import asyncio
import fcntl
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from rl.checkpoint import latest_step
from rl.config_file import differences, parse_config, read_config
from rl.files import write_atomically
from rl.log import read_metrics
from rl.pipeline_config import PipelineConfig, escape_interpolations, fill_references, references

MARKER = "stage.json"
LOCK_LIMIT_S = 900  # a stage whose pipeline died finishes its step and saves


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: `values` are its config, with references to earlier stages as they were written."""

    name: str
    values: dict[str, Any]
    folder: Path
    number: int
    num_stages: int

    @property
    def log_file(self) -> Path:
        return self.folder.with_name(f"{self.name}.log")

    @property
    def title(self) -> str:
        return f"stage {self.number} of {self.num_stages}, {self.name}"

    def open_log(self, mode: str) -> IO[bytes]:
        return open(self.log_file, mode)

    def sibling(self, name: str) -> "Stage":
        return Stage(name, {}, self.folder.with_name(name), 0, 0)

    def marker(self) -> dict[str, Any] | None:
        """What the stage was when it was completed; None while it is not."""
        try:
            marker: dict[str, Any] = json.loads((self.folder / MARKER).read_text())
        except FileNotFoundError:
            return None
        return marker

    def run_ids(self) -> dict[str, str | None]:
        """Which run of each stage it refers to is there now."""
        names = sorted({name for name, _ in references(self.values)})
        return {name: (self.sibling(name).marker() or {}).get("run_id") for name in names}

    def output(self, kind: str) -> str:
        """The path of what the stage has made. Raises ValueError where it is not there."""
        if kind == "folder":
            return str(self.folder.resolve())
        if kind == "data":
            path, remedy = self.folder / "data", "its recipe makes no data"
        else:
            steps = self.folder / "checkpoints"
            path, remedy = steps / f"step-{latest_step(steps)}" / "model", "set checkpoint.at_end, its default"
        if not path.is_dir():
            raise ValueError(f"stage {self.name} has no {kind} ({path}): {remedy}")
        return str(path.resolve())

    def filled(self) -> dict[str, Any]:
        """The config with the paths of what earlier stages have made, and the stage's own run folder."""
        values = fill_references(self.values, lambda name, kind: self.sibling(name).output(kind))
        log = values.get("log") or {}
        return values | {"log": log | {"dir": str(self.folder.parent), "name": self.name}}


def make_stages(config: PipelineConfig, folder: Path) -> list[Stage]:
    """The stages in order. Raises ValueError where a complete one was made from another config or other inputs."""
    names = list(config.stages)
    stages = [
        Stage(name, config.stages[name].config, folder / "stages" / name, number, len(names))
        for number, name in enumerate(names, start=1)
    ]
    for index, stage in enumerate(stages):
        marker = stage.marker()
        if marker is not None:
            _check_unchanged(stage, marker, stages[index:])
    return stages


def _check_unchanged(stage: Stage, marker: dict[str, Any], rest: list[Stage]) -> None:
    changed = list(differences(marker["config"], stage.values))
    changed += [
        f"its input {name} (run {marker['inputs'].get(name)} -> {run_id or 'not there'})"
        for name, run_id in stage.run_ids().items()
        if marker["inputs"].get(name) != run_id
    ]
    if changed:
        raise ValueError(
            f"stage {stage.name} is complete, but changed since: {', '.join(changed)}. To make it and what follows "
            f"again, remove their folders: rm -r {_existing(rest)}"
        )


def _existing(stages: list[Stage]) -> str:
    return " ".join(str(stage.folder) for stage in stages if stage.folder.exists())


def prepare(stage: Stage) -> list[str]:
    """Write the stage's config; answers with the arguments of `sharpen run` that start it or go on with it.

    Raises ValueError where a checkpoint was made by another config.
    """
    config = parse_config(stage.filled(), f"stages.{stage.name}")
    path = stage.folder.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(escape_interpolations(stage.filled()), sort_keys=False, allow_unicode=True))
    has_checkpoint = latest_step(stage.folder / "checkpoints") > 0
    if not (stage.folder / "config.yaml").is_file():
        shutil.rmtree(stage.folder, ignore_errors=True)
        return [str(path)]
    free = set(config.resume_may_change)
    before = read_config(stage.folder).model_dump(exclude=free)
    changed = list(differences(before, config.model_dump(exclude=free)))
    if changed and has_checkpoint:
        raise ValueError(
            f"stage {stage.name} has a checkpoint, but changed since: {', '.join(changed)}. To start it anew, remove "
            f"its folder: rm -r {stage.folder}"
        )
    if changed:
        shutil.rmtree(stage.folder)
        return [str(path)]
    return [str(path), "--resume", str(stage.folder)]


def steps_left(stage: Stage) -> int:
    """How many steps a stage still has to take by its own rows."""
    num_steps = read_config(stage.folder).num_steps
    return num_steps - max((row["step"] for row in read_metrics(stage.folder)), default=0)


def takes_steps(stage: Stage) -> bool:
    """Whether its rows tell when it has finished; of other recipes only their end does."""
    return read_config(stage.folder).num_steps > 0


def mark_complete(stage: Stage) -> None:
    """Written under another name and renamed: the marker is whole or not there."""
    content = {"run_id": secrets.token_hex(8), "config": stage.values, "inputs": stage.run_ids()}
    write_atomically(stage.folder / MARKER, json.dumps(content, indent=1))


@asynccontextmanager
async def locked(folder: Path, say: Callable[[str], None], limit_s: float = LOCK_LIMIT_S) -> AsyncIterator[int]:
    """The only pipeline in this folder: the descriptor of a lock that stages inherit, and hold if we die.

    Raises ValueError where another one, or a stage of a dead one, does not leave within the limit.
    """
    with _open_lock(folder) as file:
        deadline = time.monotonic() + limit_s
        is_waiting = False
        while not _try_lock(file):
            if not is_waiting:
                say(f"waiting for the stage of an earlier start in {folder} to save and leave, at most {limit_s:g} s")
                is_waiting = True
            if time.monotonic() > deadline:
                raise ValueError(f"another run of the pipeline in {folder} goes on after {limit_s:g} s; end it first")
            await asyncio.sleep(0.5)
        yield file.fileno()


def _open_lock(folder: Path) -> IO[bytes]:
    return open(folder / "pipeline.lock", "ab")


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
