"""A pipeline as one page: each stage's headline and curves, and its measures set side by side, stage by stage."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from rl.files import write_atomically
from rl.log import read_metrics
from rl.pipeline_config import REFERENCE
from rl.progress import duration
from rl.report import headline, make_charts

CURVES = ("Held-out score", "Training reward", "Loss", "Response length", "Entropy", "Optimizer")
WIDTH, HEIGHT, MAX_LINES, MAX_CURVES = 260, 64, 4, 4


def build_pipeline_report(run_dir: Path) -> Path:
    """Write `report.html` into a pipeline's run folder. Raises ValueError where there is none."""
    import jinja2

    settings = run_dir / "config.yaml"
    if not settings.is_file():
        raise ValueError(f"{run_dir} is no run folder: it has no config.yaml")
    config = yaml.safe_load(settings.read_text(encoding="utf-8"))["config"]
    stages = [read_stage(run_dir, name, stage["config"]) for name, stage in config["stages"].items()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("pipeline.html.j2").render(
        name=run_dir.resolve().name,
        stages=stages,
        table=make_table(stages, config["table"]),
        wall_s=sum(row["time/step_s"] for row in read_metrics(run_dir)),
        duration=duration,
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        width=WIDTH,
        height=HEIGHT,
    )
    path = run_dir / "report.html"
    write_atomically(path, page)
    return path


def read_stage(run_dir: Path, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the page says of a stage: its state, headline, curves, rows, and the wall time of its attempts."""
    folder = run_dir / "stages" / name
    rows = read_metrics(folder)
    number = list(yaml.safe_load((run_dir / "config.yaml").read_text())["config"]["stages"]).index(name) + 1
    state = "complete" if (folder / "stage.json").is_file() else "not complete" if folder.is_dir() else "not started"
    return {
        "name": name,
        "recipe": config.get("recipe", "grpo"),
        "model": REFERENCE.sub(lambda found: f"the model of {found[1]}", str(config.get("model") or "")),
        "state": state,
        "rows": rows,
        "head": headline(folder) if rows else None,
        "wall_s": sum(row["time/step_s"] for row in read_metrics(run_dir) if row["step"] == number),
        "curves": make_curves(rows),
        "link": f"stages/{name}/report.html" if (folder / "report.html").is_file() else None,
    }


def make_table(stages: list[dict[str, Any]], wanted: list[dict[str, str]]) -> dict[str, Any]:
    """Suites by stages: the last value that each stage measured, with its standard error.

    The column `before` is what the first stage that trains measured before it did.
    """
    columns = [(stage["name"], _last(stage["rows"])) for stage in stages]
    columns = [(name, values) for name, values in columns if any(_label(metric, wanted) for metric in values)]
    trained: list[dict[str, Any]] = next(
        (stage["rows"] for stage in stages if _is_measured_before(stage["rows"], wanted)), []
    )
    if trained:
        columns.insert(0, ("before", trained[0]))
    lines: dict[str, dict[str, tuple[float, float | None]]] = {}
    for column, values in columns:
        for metric, value in values.items():
            label = _label(metric, wanted)
            if label is None or value is None:
                continue
            error = values.get(metric.replace("/avg@", "/se@")) if "/avg@" in metric else None
            lines.setdefault(label, {})[column] = (value, error)
    return {
        "columns": [name for name, _ in columns],
        "lines": {name: lines[name] for name in sorted(lines, key=_order)},
    }


def _order(label: str) -> list[str | int]:
    """By words and by numbers, so that budget-4 stands before budget-12."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]


def _last(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each metric's newest value; an evaluation's error is of the same row as its mean."""
    values: dict[str, Any] = {}
    for row in rows:
        values |= row
    return values


def _is_measured_before(rows: list[dict[str, Any]], wanted: list[dict[str, str]]) -> bool:
    has_trained = bool(rows) and rows[0]["step"] == 0 and rows[-1]["step"] > 0
    return has_trained and any(_label(metric, wanted) is not None for metric in rows[0])


def _label(metric: str, wanted: list[dict[str, str]]) -> str | None:
    """What a metric is called in the table; None where it is not in it. A * is one part of a name."""
    for row in wanted:
        parts = row["metric"].split("/")
        if len(parts) == metric.count("/") + 1 and all(map(fnmatchcase, metric.split("/"), parts)):
            return row.get("label") or metric.removeprefix("eval/").replace("/", ", ")
    return None


def make_curves(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A stage's key curves, ready to be drawn as lines of points between their least and greatest values."""
    charts = {chart["title"]: chart for chart in make_charts(rows)}
    loss = [(row["step"], value) for row in rows if (value := row.get("loss/cross_entropy")) is not None]
    if loss:
        x, y = zip(*loss, strict=True)
        traces = [{"name": "loss/cross_entropy", "x": x, "y": y}]
        charts["Loss"] = {"title": "Loss", "panels": [{"unit": "nats a token", "traces": traces}]}
    curves = [_curve(charts[title]) for title in CURVES if title in charts]
    return [curve for curve in curves if curve is not None][:MAX_CURVES]


def _curve(chart: dict[str, Any]) -> dict[str, Any] | None:
    panel = chart["panels"][0]
    traces = [trace for trace in panel["traces"] if len(trace["x"]) > 1][:MAX_LINES]
    if not traces:
        return None
    low, high = (end(value for trace in traces for value in trace["y"]) for end in (min, max))
    first, last = (end(value for trace in traces for value in trace["x"]) for end in (min, max))
    spread = (high - low) or 1.0
    lines = [
        " ".join(
            f"{WIDTH * (x - first) / (last - first):.1f},{HEIGHT - HEIGHT * (y - low) / spread:.1f}"
            for x, y in zip(trace["x"], trace["y"], strict=True)
        )
        for trace in traces
    ]
    names = [trace["name"] for trace in traces]
    return {"title": chart["title"], "unit": panel["unit"], "low": low, "high": high, "lines": lines, "names": names}
