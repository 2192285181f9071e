"""Files that are written whole or not at all, and a journal of what has been paid for already."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rl.log import as_json
from rl.rows import parse_row

Row = Mapping[str, Any]


def write_atomically(path: Path, text: str) -> None:
    """The file with this text, or as it was before. Raises OSError naming it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}; free some space and go on with --resume") from error


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    write_atomically(path, "".join(_line(row) for row in rows))


def read_lines(path: Path, what: str) -> Iterator[tuple[str, Row]]:
    """The rows of a file of JSON lines, each after the words for its place. Raises ValueError naming the place."""
    if not path.is_file():
        raise ValueError(f"{what}: no file {path}")
    with open(path, "rb") as lines:
        for number, line in enumerate(lines):
            if line.strip():
                where = f"{what}: {path}, row {number}"
                yield where, parse_row(line, where)


class Journal:
    """Rows by key, each on disk as soon as it is known, so that an interrupted run asks for nothing twice.

    Append-only JSON lines. A last line that a crash cut off is forgotten.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self._rows[row["key"]] = row["value"]
            kept += len(line)
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `with`
        self._file.truncate(kept)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def get(self, key: str) -> Any:
        return self._rows.get(key)

    def add(self, key: str, value: Any) -> Any:
        """Keep a value that JSON can hold; answers with it."""
        try:
            self._file.write(_line({"key": key, "value": value}).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(f"cannot write {self.path}: {error.strerror}; free some space and --resume") from error
        self._rows[key] = value
        return value


def _line(row: Row) -> str:
    """One line, in ASCII: a model's lone surrogates are spelled out."""
    return json.dumps(as_json(dict(row)), allow_nan=False) + "\n"
