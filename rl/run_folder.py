"""Run folders below one folder, as a reader sees them while runs write: their names, rows and settings.

A run folder may come from anybody: no path leads out of the folder above, nothing but regular files is opened, and
every answer is bounded.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from rl.log import as_json

MAX_RUNS = 2_000
MAX_PAGE_BYTES = 4 * 2**20
MAX_CONFIG_BYTES = 2**20
MAX_SETTINGS = 5_000
TAIL_BYTES = 256 * 2**10
ABSENT = "–"
MARKS = ("config.yaml", "metrics.jsonl")


class RunFolders:
    """The runs below `root`, a pipeline's stages among them; `root` itself may be one, and is then called `.`."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root} is no folder: give the one that holds run folders (log.dir, by default `runs`)")
        self.root = root.resolve()

    def runs(self) -> dict[str, Path]:
        """Folders by name, in the order of names; `MAX_RUNS` at most."""
        return {path.relative_to(self.root).as_posix(): path for path in islice(self._find(), MAX_RUNS)}

    def _find(self) -> Iterator[Path]:
        for run in (self.root, *sorted(self.root.iterdir())):
            stages = run.glob("stages/*") if run.resolve().is_relative_to(self.root) else ()
            for folder in (run, *sorted(stages)):
                if any(self.is_inside(folder / mark) for mark in MARKS):
                    yield folder

    def run(self, name: str) -> Path:
        """The folder of a run that there is. Raises LookupError."""
        found = self.runs().get(name)
        if found is None:
            raise LookupError(f"there is no run {name!r}")
        return found

    def is_inside(self, path: Path) -> bool:
        """Whether that is a regular file below `root`, links followed."""
        try:
            found = path.resolve(strict=True)
            return found.is_relative_to(self.root) and stat.S_ISREG(found.stat().st_mode)
        except (OSError, RuntimeError):  # the latter: links in a circle
            return False

    def file(self, run: str, name: str) -> Path | None:
        """A file of a run; None where there is none."""
        return self.checked(self.run(run) / name)

    def checked(self, path: Path) -> Path | None:
        """The path, where `is_inside`: for a folder of `runs` that is at hand, which `file` would look for again."""
        return path if self.is_inside(path) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """Rows of a file, and the `place` after them; `is_fresh` where what was read before is no longer in the file."""

    rows: list[dict[str, Any]]
    place: str
    is_fresh: bool
    is_end: bool


def read_rows(path: Path, place: str = "", max_bytes: int = MAX_PAGE_BYTES) -> RowPage:
    """The complete lines of JSON objects after `place`. A resumed run puts another file there: it is read anew."""
    with open(path, "rb") as file:
        found = stat_of(file.fileno())
        known, _, offset = place.partition(".")
        is_fresh = not (known == found[0] and offset.isdecimal() and int(offset) <= found[1])
        start = 0 if is_fresh else int(offset)
        file.seek(start)
        text = file.read(max_bytes)
    end = text.rfind(b"\n") + 1
    if end == 0 and len(text) == max_bytes:  # a line longer than a page is no row of ours
        end = len(text)
    rows = [row for line in text[:end].split(b"\n") if (row := parse_object(line)) is not None]
    return RowPage(rows=rows, place=f"{found[0]}.{start + end}", is_fresh=is_fresh, is_end=len(text) < max_bytes)


def stat_of(descriptor: int) -> tuple[str, int]:
    """What tells a file from one that took its name, and its size."""
    found = os.fstat(descriptor)
    return f"{found.st_dev:x}-{found.st_ino:x}", found.st_size


def read_last(path: Path, max_bytes: int = TAIL_BYTES) -> tuple[list[dict[str, Any]], bool]:
    """The objects in the last lines of a file, and whether there are lines before them."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - max_bytes)
        file.seek(start)
        lines = file.read(max_bytes).split(b"\n")
    complete = lines[1 if start else 0 : -1]
    return [row for line in complete if (row := parse_object(line)) is not None], start > 0


def parse_object(line: bytes) -> dict[str, Any] | None:
    """A line's JSON object, null for NaN and infinities; None where it holds none."""
    try:
        value = as_json(json.loads(line.decode(errors="replace")))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def sample_files(run_dir: Path) -> list[tuple[int, str, Path]]:
    """Step, suite ("" for training) and path, in the order in which a run wrote them."""
    paths = [*run_dir.glob("samples/step-*.jsonl"), *run_dir.glob("evals/*-step-*.jsonl")]
    split = [(path.stem.rpartition("step-"), path) for path in paths]
    files = [(int(step), suite.removesuffix("-"), path) for (suite, _, step), path in split if step.isdecimal()]
    return sorted(files, key=lambda file: file[:2])


def read_settings(run_dir: Path) -> dict[str, Any]:
    """The config and versions that a run has written; empty where there are none."""
    path = run_dir / "config.yaml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def read_config_values(path: Path) -> dict[str, Any]:
    """The config of a run by dotted keys, `MAX_SETTINGS` at most; what cannot be read is said under one key."""
    found = path.stat()
    return _config_values(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=512)
def _config_values(path: Path, _changed_ns: int, size: int) -> dict[str, Any]:
    if size > MAX_CONFIG_BYTES:
        return {"config.yaml": f"{size} bytes, which is too much to be shown"}
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        config = content.get("config", {}) if isinstance(content, dict) else {}
        return dict(islice(flatten(config), MAX_SETTINGS))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return {"config.yaml": f"cannot be read: {type(error).__name__}"}


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values; an empty mapping or list is a value."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from flatten(inner, f"{key}.{number}")
    else:
        yield key, value


def differing(configs: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Keys under which not all configs hold the same, with each one's value, `ABSENT` where it has none."""
    keys = sorted({key for values in configs.values() for key in values}, key=_order)
    lines = {key: [values.get(key, ABSENT) for values in configs.values()] for key in keys}
    return {key: line for key, line in lines.items() if len(configs) < 2 or any(value != line[0] for value in line[1:])}


def _order(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in key.split(".")]
