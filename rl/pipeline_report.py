"""A pipeline as one page: each stage's headline and curves, and its measures set side by side, stage by stage."""

from pathlib import Path
from typing import Any

import yaml

from rl.files import write_atomically
from rl.log import read_metrics
from rl.pipeline_config import REFERENCE
from rl.progress import duration
from rl.report import headline, make_charts
from rl.stage_tables import make_tables

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
        tables=make_tables(stages, config["table"]),
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
        "folder": folder,
        "recipe": config.get("recipe", "grpo"),
        "model": REFERENCE.sub(lambda found: f"the model of {found[1]}", str(config.get("model") or "")),
        "state": state,
        "rows": rows,
        "head": headline(folder) if rows else None,
        "wall_s": sum(row["time/step_s"] for row in read_metrics(run_dir) if row["step"] == number),
        "curves": make_curves(rows),
        "link": f"stages/{name}/report.html" if (folder / "report.html").is_file() else None,
    }


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
