"""Checkpoints: a folder is complete or it is not there, whatever happened while it was written."""

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from rl.learner import Learner

MANIFEST = "complete.json"

log = logging.getLogger(__name__)


class CheckpointConfig(BaseModel):
    """`every_steps` 0 saves at the end only; the newest `keep` checkpoints stay.

    A run whose learner is lost starts again from the newest one, `max_restarts` times (docs/faults.md).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_steps: int = Field(0, ge=0)
    keep: int = Field(2, ge=1)
    at_end: bool = True
    max_restarts: int = Field(3, ge=0)


class Stateful(Protocol):
    """A part whose state is small and goes into the checkpoint as JSON."""

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...


class Checkpointer:
    """Saves and restores the learner and the small state of the other parts, by step."""

    def __init__(
        self,
        config: CheckpointConfig,
        folder: Path,
        *,
        learner: Learner,
        parts: Mapping[str, Stateful],
        num_steps: int,
    ) -> None:
        self.config, self.folder, self.learner, self.parts = config, folder, learner, parts
        self.num_steps = num_steps
        self.stopping = False  # set from a signal: save at the next step and leave

    async def resume(self) -> int:
        """Load the newest complete checkpoint; answers with its step, 0 where there is none.

        One that is damaged is named and passed over. Raises ValueError where nothing else is there.
        """
        step = self._newest_whole()
        if step == 0:
            return 0
        path = self.folder / f"step-{step}"
        await self.learner.load(path)
        states = json.loads((path / "state.json").read_text())
        absent = ", ".join(self.parts.keys() - states.keys())
        if absent:
            raise ValueError(f"{path} has no state of {absent}: an earlier version made it; go on with that one")
        for name, part in self.parts.items():
            part.load(states[name])
        return step

    def _newest_whole(self) -> int:
        step = latest_step(self.folder)
        damaged = {number: fault for number, path in _checkpoints(self.folder).items() if (fault := _fault_of(path))}
        faults = "; ".join(f"step-{number}: {damaged[number]}" for number in sorted(damaged) if number > step)
        if faults and step == 0:
            raise ValueError(
                f"resume: no checkpoint under {self.folder} is whole ({faults}): put back what is missing, or remove "
                "them to begin with the first step"
            )
        if faults:
            text = "checkpoints under %s are damaged (%s): the run goes on from step %d"
            log.warning(text, self.folder, faults, step, extra={"event": "checkpoint_damaged"})
        return step

    def is_due(self, step: int) -> bool:
        every = self.config.every_steps
        at_end = self.config.at_end and step == self.num_steps
        return self.stopping or at_end or bool(every and step % every == 0)

    async def save_if_due(self, step: int) -> None:
        if self.is_due(step):
            await self.save(step)

    async def save(self, step: int) -> None:
        """Write everything under another name, make it durable, and rename: a crash leaves the last good one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final, work = self.folder / f"step-{step}", self.folder / f".step-{step}.partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            await self.learner.save(work)
            states = {name: part.state() for name, part in self.parts.items()}
            (work / "state.json").write_text(json.dumps(states))
            await asyncio.to_thread(_seal, work)  # gigabytes take a while, and sampling goes on
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            free_gib = shutil.disk_usage(self.folder).free / 2**30
            shutil.rmtree(work, ignore_errors=True)
            raise OSError(
                f"cannot save the checkpoint of step {step} under {self.folder} ({free_gib:.1f} GiB free): {error}"
            ) from error
        shutil.rmtree(final, ignore_errors=True)
        work.rename(final)
        _sync(self.folder)
        self._forget()

    def _forget(self) -> None:
        for step in complete_steps(self.folder)[: -self.config.keep]:
            shutil.rmtree(self.folder / f"step-{step}")
        for partial in self.folder.glob(".step-*.partial"):
            shutil.rmtree(partial)


def complete_steps(folder: Path) -> list[int]:
    """Steps whose checkpoint is whole: its manifest is there and every file has the size it names."""
    return sorted(step for step, path in _checkpoints(folder).items() if not _fault_of(path))


def latest_step(folder: Path) -> int:
    return max(complete_steps(folder), default=0)


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Folders of checkpoints by step, damaged ones too."""
    numbers = {path.name.removeprefix("step-"): path for path in folder.glob("step-*")}
    return {int(number): path for number, path in numbers.items() if number.isdigit()}


def _fault_of(path: Path) -> str:
    """What a checkpoint lacks, nothing where it is whole."""
    try:
        for name, size in json.loads((path / MANIFEST).read_text()).items():
            found = (path / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes of {size}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except ValueError:
        return f"{MANIFEST} is no JSON"
    return ""


def _seal(folder: Path) -> None:
    inside = sorted(folder.rglob("*"))
    for path in inside:
        _sync(path)  # folders too: a file whose name is not durable is lost
    files = [path for path in inside if path.is_file()]
    (folder / MANIFEST).write_text(json.dumps({str(p.relative_to(folder)): p.stat().st_size for p in files}))
    _sync(folder / MANIFEST)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
