"""A pipeline's measures, suites by stages, with the paired difference from each stage to the next."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rl.log import stream_eval_rows
from rl.statistics import mean_and_error, paired_gain, pass_at_k

PASS_K_STEP = 4  # pass@k of all samples, a quarter of them, a sixteenth, ...

Scores = dict[str, list[float]]  # of each prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a stage measured last, and at which step each metric was."""

    name: str
    folder: Path
    values: Mapping[str, Any]
    steps: Mapping[str, int]

    def scores(self, metric: str) -> Scores:
        """What the mean `eval/SUITE/avg@K` or `eval/SUITE/PARSER/avg@K` is made of; nothing where it was not kept."""
        suite = metric.removeprefix("eval/").rpartition("/avg@")[0]
        first, _, parser = suite.rpartition("/")
        step = self.steps[metric]
        return _scores(self.folder, suite, step, None) or _scores(self.folder, first, step, parser)


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with its standard error, and the change since the column `before` by prompts that are in both."""

    value: float
    error: float | None
    gain: float | None = None
    gain_error: float | None = None
    before: str = ""
    num_paired: int = 0

    @property
    def is_clear(self) -> bool:
        """Whether the change is beyond two standard errors."""
        return self.gain is not None and self.gain_error is not None and abs(self.gain) > 2 * self.gain_error


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by line and column."""

    columns: list[str]
    lines: dict[str, dict[str, Cell]]


def make_tables(stages: Sequence[dict[str, Any]], wanted: Sequence[dict[str, str]]) -> dict[str, Table]:
    """`measures`: the metrics that are wanted. `pass_k`: how often one of k samples is right, of each mean in there."""
    columns = make_columns(stages, wanted)
    measures: dict[str, dict[str, Cell]] = {}
    passes: dict[str, dict[str, Cell]] = {}
    known: dict[str, tuple[str, dict[str, float]]] = {}  # of a line: the column before, and its values by prompt
    for column in columns:
        for metric, value in column.values.items():
            label = _label(metric, wanted)
            if label is None or value is None:
                continue
            scores = column.scores(metric) if "/avg@" in metric else {}
            cell = Cell(value, column.values.get(metric.replace("/avg@", "/se@")) if "/avg@" in metric else None)
            means = {key: sum(found) / len(found) for key, found in scores.items()}
            measures.setdefault(label, {})[column.name] = _compared(cell, label, column.name, means, known)
            for name, values in _pass_values(label, scores):
                mean, error = mean_and_error(list(values.values()))
                cell = Cell(mean, error if len(values) > 1 else None)
                passes.setdefault(name, {})[column.name] = _compared(cell, name, column.name, values, known)
    return {"measures": _in_order(columns, measures), "pass_k": _in_order(columns, passes)}


def make_columns(stages: Sequence[dict[str, Any]], wanted: Sequence[dict[str, str]]) -> list[Column]:
    """The stages that measured something of it; before them what the first one that trains measured before it did."""
    columns = [_column(stage["name"], stage["folder"], stage["rows"]) for stage in stages]
    columns = [column for column in columns if any(_label(metric, wanted) for metric in column.values)]
    trained = next((stage for stage in stages if _is_measured_before(stage["rows"], wanted)), None)
    if trained is not None:
        columns.insert(0, _column("before", trained["folder"], trained["rows"][:1]))
    return columns


def _column(name: str, folder: Path, rows: Sequence[dict[str, Any]]) -> Column:
    """Each metric's newest value; an evaluation's error is of the same row as its mean."""
    values = {metric: value for row in rows for metric, value in row.items()}
    steps = {metric: row["step"] for row in rows for metric in row}
    return Column(name=name, folder=folder, values=values, steps=steps)


def _is_measured_before(rows: Sequence[dict[str, Any]], wanted: Sequence[dict[str, str]]) -> bool:
    has_trained = bool(rows) and rows[0]["step"] == 0 and rows[-1]["step"] > 0
    return has_trained and any(_label(metric, wanted) is not None for metric in rows[0])


def _label(metric: str, wanted: Sequence[dict[str, str]]) -> str | None:
    """What a metric is called in the table; None where it is not in it. A * is one part of a name."""
    for row in wanted:
        parts = row["metric"].split("/")
        if len(parts) == metric.count("/") + 1 and all(map(fnmatchcase, metric.split("/"), parts)):
            return row.get("label") or metric.removeprefix("eval/").replace("/", ", ")
    return None


def _scores(folder: Path, suite: str, step: int, parser: str | None) -> Scores:
    """By the first parser where none is named; a prompt without any scored sample drops out."""
    found: Scores = {}
    for row in stream_eval_rows(folder, suite, step) if suite else ():
        for response in row["responses"]:
            scores = response["scores"]
            score = next(iter(scores.values()), None) if parser is None else scores.get(parser)
            if score is not None:
                found.setdefault(row["id"], []).append(score)
    return found


def _compared(
    cell: Cell, label: str, column: str, values: dict[str, float], known: dict[str, tuple[str, dict[str, float]]]
) -> Cell:
    """The cell with the change since the line's column before; `known` then has this one as the line's newest."""
    if not values:
        return cell
    before, earlier = known.get(label, ("", {}))
    known[label] = column, values
    num_paired = len(values.keys() & earlier.keys())
    if num_paired == 0:
        return cell
    gain, error = paired_gain(earlier, values)
    return Cell(cell.value, cell.error, gain, error if num_paired > 1 else None, before, num_paired)


def _pass_values(label: str, scores: Scores) -> Iterator[tuple[str, dict[str, float]]]:
    """For some k each prompt's pass@k, under the name of its line; a prompt with fewer scored samples drops out."""
    k = max(map(len, scores.values()), default=0)
    stem = re.sub(r", avg@\d+$", "", label)
    while k > 1:
        enough = {key: found for key, found in scores.items() if len(found) >= k}
        yield f"{stem}, pass@{k}", {key: pass_at_k(len(s), sum(x >= 1 for x in s), k) for key, s in enough.items()}
        k //= PASS_K_STEP


def _in_order(columns: Sequence[Column], lines: dict[str, dict[str, Cell]]) -> Table:
    names = [column.name for column in columns if any(column.name in cells for cells in lines.values())]
    return Table(names, {line: lines[line] for line in sorted(lines, key=_order)})


def _order(label: str) -> list[str | int]:
    """By words and by numbers, so that budget-4 stands before budget-12."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]
