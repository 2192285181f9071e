"""A run folder as one page that opens without a network: curves, responses, config."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rl.log import read_metrics
from rl.progress import duration

MAX_SAMPLE_BYTES = 12_000_000

Rows = list[dict[str, Any]]

# Title, unit, and the metrics of each chart; a name that ends in * stands for all that begin so.
CHARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Reward", "score", ("reward/mean", "reward/*/mean")),
    ("Entropy", "nats a token", ("policy/entropy",)),
    ("Response length", "tokens", ("rollout/response_length",)),
    ("Rates", "share", ("rollout/truncated_rate", "group/zero_variance_rate", "reward/error_rate", "loss/clip_rate")),
    ("Sampler-learner mismatch", "nats (k3)", ("loss/mismatch_kl",)),
    ("Gradient norm", "before clipping", ("optim/grad_norm",)),
    ("Staleness", "steps", ("rollout/staleness_mean", "rollout/staleness_max")),
    ("Throughput", "tokens a second", ("throughput/tokens_per_s", "rollout/tokens_per_s")),
)
LABELS = {"throughput/tokens_per_s": "trained", "rollout/tokens_per_s": "sampled while collecting"}
PARTS = ("time/collect_s", "time/learn_s", "time/sync_s", "time/save_s", "time/eval_s")
LIGHT, GRID = "rgba(0,0,0,0)", "rgba(128,128,128,0.25)"


def build_report(run_dir: Path) -> Path:
    """Write `report.html` into a run folder. Raises ValueError where there is no run."""
    import jinja2
    from plotly.offline import get_plotlyjs

    rows = read_metrics(run_dir)
    if not rows:
        raise ValueError(f"{run_dir} has no metrics.jsonl with a row in it: nothing to report")
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    groups, left_out = read_groups(run_dir)
    settings = _settings(run_dir)
    page = environment.get_template("report.html.j2").render(
        name=run_dir.resolve().name,
        headline=headline(run_dir),
        evaluations=evaluation_table(rows),
        charts=[_as_json(chart) for chart in make_charts(rows)],
        plotly=get_plotlyjs(),
        groups=_as_json(groups),
        left_out=left_out,
        num_lost_rows=len(lines) - len(rows),
        settings=yaml.safe_dump(settings.get("config", {}), sort_keys=False, allow_unicode=True),
        versions=settings.get("versions", {}),
    )
    path = run_dir / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def _settings(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "config.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else {}


def headline(run_dir: Path) -> dict[str, str]:
    """The few figures that a reader wants first, as text."""
    rows = read_metrics(run_dir)
    config = _settings(run_dir).get("config", {})
    trained = [row for row in rows if "reward/mean" in row]
    figures = {"model": str(config.get("model", "?")), "recipe": str(config.get("recipe", "?"))}
    figures["steps"] = f"{trained[-1]['step']} of {config.get('num_steps', '?')}" if trained else "0"
    figures["wall time"] = duration(sum(row.get("time/step_s") or 0 for row in rows))
    if trained:
        figures["reward"] = f"{_text(trained[0]['reward/mean'])} → {_text(trained[-1]['reward/mean'])}"
        speeds = sorted(row.get("throughput/tokens_per_s") or 0 for row in trained)
        figures["median speed"] = f"{speeds[len(speeds) // 2]:.0f} trained tokens/s"
    return figures


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def evaluation_table(rows: Rows) -> list[dict[str, str]]:
    """Each suite and parser: the first and last mean with its standard error, and the paired gain."""
    table = []
    names = sorted({k for row in rows for k in row if k.startswith("eval/") and "/avg@" in k}, key=len)
    for name in names:
        measured = [row for row in rows if row.get(name) is not None]
        if not measured:
            continue
        first, last = measured[0], measured[-1]
        error, gain = name.replace("/avg@", "/se@"), name.replace("/avg@", "/gain@")
        gain_error = name.replace("/avg@", "/gain_se@")
        table.append(
            {
                "name": name.removeprefix("eval/"),
                "first": f"{first[name]:.3f} ± {_text(first.get(error))}",
                "last": f"{last[name]:.3f} ± {_text(last.get(error))}",
                "gain": f"{last[gain]:+.3f} ± {_text(last.get(gain_error))}" if last.get(gain) is not None else "",
            }
        )
    return table


def make_charts(rows: Rows) -> list[dict[str, Any]]:
    """Plotly figures as plain data: held-out scores, time a part, and the metrics of CHARTS."""
    charts = [_evaluations(rows)]
    for title, unit, patterns in CHARTS:
        names = [name for pattern in patterns for name in _matching(rows, pattern)]
        traces = [_line(rows, name, LABELS.get(name, name.partition("/")[2])) for name in names]
        charts.append(_figure(title, unit, traces))
    charts.append(_time(rows))
    return [chart for chart in charts if any(trace["x"] for trace in chart["data"])]


def _matching(rows: Rows, pattern: str) -> list[str]:
    start, star, end = pattern.partition("*")
    known = {name for row in rows for name in row}
    if not star:
        return [pattern] if pattern in known else []
    inner = {n for n in known if n.startswith(start) and n.endswith(end) and len(n) > len(pattern)}
    return sorted(inner) if len(inner) > 1 else []  # with one task its mean is the mean


def _line(rows: Rows, name: str, label: str) -> dict[str, Any]:
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    x, y = [p[0] for p in points], [p[1] for p in points]
    return {"type": "scatter", "mode": "lines+markers", "marker": {"size": 4}, "name": label, "x": x, "y": y}


def _evaluations(rows: Rows) -> dict[str, Any]:
    traces = []
    for name in sorted({k for row in rows for k in row if k.startswith("eval/") and "/avg@" in k}, key=len):
        trace = _line(rows, name, name.removeprefix("eval/"))
        errors = [row.get(name.replace("/avg@", "/se@")) for row in rows if row.get(name) is not None]
        traces.append(trace | {"error_y": {"type": "data", "array": errors, "thickness": 1}})
    return _figure("Held-out score and its standard error over prompts", "mean score", traces)


def _time(rows: Rows) -> dict[str, Any]:
    trained = [row for row in rows if "reward/mean" in row]
    x = [row["step"] for row in trained]
    traces = []
    for part in PARTS:
        y = [row.get(part) or 0 for row in trained]
        if any(y):
            traces.append({"type": "bar", "name": part[5:-2], "x": x, "y": y})
    rest = [max(0, (row.get("time/step_s") or 0) - sum(row.get(p) or 0 for p in PARTS)) for row in trained]
    traces.append({"type": "bar", "name": "other", "x": x, "y": rest})
    return _figure("Time a step", "seconds", traces, barmode="stack")


def _figure(title: str, unit: str, traces: Sequence[dict[str, Any]], **layout: Any) -> dict[str, Any]:
    axes = {"gridcolor": GRID, "zerolinecolor": GRID}
    layout |= {
        "title": {"text": title, "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "xaxis": axes | {"title": {"text": "step"}},
        "yaxis": axes | {"title": {"text": unit}},
        "paper_bgcolor": LIGHT,
        "plot_bgcolor": LIGHT,
        "margin": {"l": 60, "r": 15, "t": 40, "b": 45},
        "height": 310,
        "legend": {"orientation": "h", "y": -0.28, "yanchor": "top", "x": 0},
        "showlegend": len(traces) > 1,
    }
    return {"data": list(traces), "layout": layout}


def read_groups(run_dir: Path, max_bytes: int = MAX_SAMPLE_BYTES) -> tuple[list[dict[str, Any]], int]:
    """Groups for the browser, whole steps from both ends first; and how many files did not fit."""
    files = [(int(p.stem.rpartition("-")[2]), "train", p) for p in run_dir.glob("samples/step-*.jsonl")]
    files += [(int(p.stem.rpartition("-")[2]), p.stem.partition("-step-")[0], p) for p in run_dir.glob("evals/*.jsonl")]
    files.sort(key=lambda item: (item[0], item[1] != "train"))
    outside_in = sorted(files, key=lambda item: min(files.index(item), len(files) - 1 - files.index(item)))
    chosen, room = set(), max_bytes
    for item in outside_in:
        room -= item[2].stat().st_size
        if room < 0:
            break
        chosen.add(item)
    groups = []
    for step, origin, path in (item for item in files if item in chosen):
        for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
            groups.append({"step": step, "origin": origin, **json.loads(line)})
    return groups, len(files) - len(chosen)


def _as_json(value: Any) -> Any:
    """JSON that cannot end the script element it stands in, whatever a model wrote."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
