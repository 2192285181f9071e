"""Rows of files and datasets: verl's parquet schema, JSON lines, Hugging Face datasets."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

Row = Mapping[str, Any]


class Origin(Protocol):
    """Where rows come from: a `path`, or a `dataset` with its configuration `name` and `split`."""

    @property
    def path(self) -> str | None: ...

    @property
    def dataset(self) -> str | None: ...

    @property
    def name(self) -> str | None: ...

    @property
    def split(self) -> str: ...


def read_rows(origin: Origin) -> Iterator[tuple[int, Row | bytes]]:
    """Row numbers from 0 with their rows; a line of JSON stays bytes. Blank lines are no rows, but are counted."""
    if origin.dataset is not None:
        import datasets

        try:
            rows = datasets.load_dataset(origin.dataset, origin.name, split=origin.split)
        except (OSError, ValueError) as error:
            raise ValueError(f"dataset {origin.dataset}: {error}") from error
        yield from enumerate(rows)
        return
    path = Path(str(origin.path))
    if not path.is_file():
        raise ValueError(f"no file {path}")
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            batches = pyarrow.parquet.ParquetFile(path).iter_batches()
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{path}: {error}") from error
        yield from enumerate(itertools.chain.from_iterable(batch.to_pylist() for batch in batches))
    elif path.suffix in (".jsonl", ".json"):
        with open(path, "rb") as lines:
            yield from ((number, line) for number, line in enumerate(lines) if line.strip())
    else:
        raise ValueError(f"{path} is neither .parquet nor .jsonl")


def named_rows(origin: Origin, label: str) -> Iterator[tuple[str, Row]]:
    """Where each row stands, and the row. Raises ValueError for what is none."""
    for number, row in read_rows(origin):
        where = f"{label}, row {number}"
        yield where, parse_row(row, where)


def parse_row(line: Row | bytes, where: str) -> Row:
    """A row, from its line of JSON where it is one. Raises ValueError naming the place."""
    if not isinstance(line, bytes):
        return line
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a JSON object is wanted, got {type(row).__name__}")
    return row
