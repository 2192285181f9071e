"""A run folder as one page that opens without a network: scores, curves, responses, config."""

import html
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import yaml

from rl.log import read_metrics
from rl.progress import duration

MAX_SAMPLE_BYTES = 12_000_000
MAX_RESPONSE_CHARACTERS = 16_000
SMOOTH_STEPS = 5

Rows = list[dict[str, Any]]


class Panel(NamedTuple):
    """One plot of a chart: its unit and the metrics in it; a * in a name stands for any part."""

    unit: str
    names: tuple[str, ...]
    log: bool = False


# Title, note and panels of each chart, in the order of the page.
CHARTS: tuple[tuple[str, str, tuple[Panel, ...]], ...] = (
    ("Training reward", "Mean score of the step's responses.", (Panel("score", ("reward/mean", "reward/*/mean")),)),
    (
        "Response length",
        "Sampled tokens, and the share of responses that hit the limit.",
        (Panel("tokens", ("rollout/response_length",)), Panel("share truncated", ("rollout/truncated_rate",))),
    ),
    ("Entropy", "Of the policy at the tokens it learned from.", (Panel("nats a token", ("policy/entropy",)),)),
    (
        "Sampler against learner",
        "Same weights, two programs: the gap should stay small and the ratios near 1.",
        (
            Panel("mismatch KL, nats", ("loss/mismatch_kl",), log=True),
            Panel("mean ratio", ("loss/ratio_mean", "correction/weight_mean")),
            Panel(
                "share of tokens",
                ("loss/clip_rate", "loss/dual_clip_rate", "correction/truncate_rate", "correction/mask_rate"),
            ),
        ),
    ),
    (
        "Optimizer",
        "Gradient norm before clipping, and the learning rate.",
        (Panel("gradient norm", ("optim/grad_norm",)), Panel("learning rate", ("optim/lr",))),
    ),
    (
        "Groups",
        "A group whose scores are all equal teaches nothing.",
        (
            Panel("share of groups", ("group/zero_variance_rate",)),
            Panel("groups rejected", ("group/rejected", "group/rejected/*")),
            Panel("share unscored", ("reward/error_rate",)),
        ),
    ),
    (
        "Staleness",
        "How many steps older than the newest weights the samples are.",
        (Panel("steps", ("rollout/staleness_mean", "rollout/staleness_max")),),
    ),
    (
        "Throughput and memory",
        "Evaluations are not counted in the throughput.",
        (
            Panel("tokens/s", ("throughput/tokens_per_s", "rollout/tokens_per_s")),
            Panel("GiB", ("memory/used_gib", "memory/driver_gib")),
        ),
    ),
)
LABELS = {
    "throughput/tokens_per_s": "trained",
    "rollout/tokens_per_s": "sampled while collecting",
    "loss/ratio_mean": "policy ratio",
    "correction/weight_mean": "correction weight",
    "loss/clip_rate": "clipped",
    "loss/dual_clip_rate": "dual clip",
    "correction/truncate_rate": "correction truncated",
    "correction/mask_rate": "correction masked",
    "group/rejected": "all reasons",
    "memory/used_gib": "machine",
    "memory/driver_gib": "driver",
}
PARTS = ("collect", "learn", "sync", "save")
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def build_report(run_dir: Path) -> Path:
    """Write `report.html` into a run folder. Raises ValueError where there is no run."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    rows = read_metrics(run_dir)
    if not rows:
        raise ValueError(f"{run_dir} has no metrics.jsonl with a row in it: nothing to report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    groups, sample_note = read_groups(run_dir)
    settings = _settings(run_dir)
    page = environment.get_template("report.html.j2").render(
        head=headline(run_dir),
        charts=Markup(to_json(make_charts(rows))),
        groups=Markup(f"[{','.join(groups)}]"),
        plotly=Markup(get_plotlyjs()),
        sample_note=sample_note,
        num_lost_lines=_num_lines(run_dir / "metrics.jsonl") - len(rows),
        settings=yaml.safe_dump(settings.get("config", {}), sort_keys=False, allow_unicode=True),
        versions=settings.get("versions", {}),
        duration=duration,
    )
    path = run_dir / "report.html"
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OSError(f"cannot write {partial}: {error.strerror}") from error
    partial.replace(path)
    return path


def headline(run_dir: Path) -> dict[str, Any]:
    """The figures that a reader wants first; None for what the run has not measured yet.

    `reward` is the mean of the first and of the last steps, `evals` is one entry a suite and parser.
    """
    rows, config = read_metrics(run_dir), _settings(run_dir).get("config", {})
    trained = [row for row in rows if _number(row, "reward/mean") is not None]
    scores = [row["reward/mean"] for row in trained]
    window = max(1, min(SMOOTH_STEPS, len(scores) // 2))
    speeds = [row["throughput/tokens_per_s"] for row in trained if _number(row, "throughput/tokens_per_s")]
    return {
        "name": run_dir.resolve().name,
        "model": config.get("model"),
        "recipe": config.get("recipe"),
        "step": max((row["step"] for row in rows), default=0),
        "num_steps": config.get("num_steps"),
        "wall_s": sum(_number(row, "time/step_s") or 0.0 for row in rows),
        "parts_s": {part: sum(_number(row, f"time/{part}_s") or 0.0 for row in rows) for part in (*PARTS, "eval")},
        "tokens_per_s": median(speeds) if speeds else None,
        "trained_tokens": sum(_number(row, "pack/trained_tokens") or 0.0 for row in rows),
        "reward": (fmean(scores[:window]), fmean(scores[-window:])) if scores else None,
        "reward_steps": window,
        "evals": evaluations(rows, config),
    }


def evaluations(rows: Rows, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Each suite and parser: first and last mean with their standard errors, and the gain paired by prompt."""
    parsers = {suite.get("suite"): suite.get("extracts") or [""] for suite in config.get("evals") or []}
    found = []
    for name in _score_names(rows):
        measured = [row for row in rows if _number(row, name) is not None]
        if not measured:
            continue
        first, last = measured[0], measured[-1]
        suite, _, parser = name.removeprefix("eval/").partition("/avg@")[0].partition("/")
        gain = _number(last, name.replace("/avg@", "/gain@"))
        entry = {
            "suite": suite,
            "parser": parser or parsers.get(suite, [""])[0],
            "measure": name.rpartition("/")[2],
            "first_step": first["step"],
            "first": first[name],
            "first_se": _number(first, name.replace("/avg@", "/se@")),
        }
        if last is not first:
            entry |= {
                "last_step": last["step"],
                "last": last[name],
                "last_se": _number(last, name.replace("/avg@", "/se@")),
                "gain": last[name] - first[name] if gain is None else gain,
                "gain_se": _number(last, name.replace("/avg@", "/gain_se@")),
            }
        found.append(entry)
    return found


def make_charts(rows: Rows) -> list[dict[str, Any]]:
    """Charts as plain data: title, note, and panels with a unit and traces; what was never measured is left out."""
    charts = [_score_chart(rows)]
    for title, note, panels in CHARTS:
        filled = [_panel(rows, panel) for panel in panels]
        charts.append({"title": title, "note": note, "panels": [panel for panel in filled if panel["traces"]]})
    charts.append(_time_chart(rows))
    return [chart for chart in charts if any(panel["traces"] for panel in chart["panels"])]


def _panel(rows: Rows, panel: Panel) -> dict[str, Any]:
    names = [name for pattern in panel.names for name in _matching(rows, pattern)]
    traces = [trace for name in names if (trace := _trace(rows, name, _label(name)))["x"]]
    positive = all(value > 0 for trace in traces for value in trace["y"])
    return {"unit": panel.unit, "log": panel.log and positive, "traces": traces}


def _matching(rows: Rows, pattern: str) -> list[str]:
    start, star, end = pattern.partition("*")
    known = {name for row in rows for name in row}
    if not star:
        return [pattern] if pattern in known else []
    inner = {n for n in known if n.startswith(start) and n.endswith(end) and len(n) >= len(pattern)}
    return sorted(inner) if len(inner) > 1 else []  # of a single task or reason the total says the same


def _label(name: str) -> str:
    # Names come from data sets as well, and Plotly reads tags in them.
    plain = name.partition("/")[2].removesuffix("/mean").rpartition("/")[2].replace("_", " ")
    return html.escape(LABELS.get(name, plain), quote=False)


def _trace(rows: Rows, name: str, label: str) -> dict[str, Any]:
    points = [(row["step"], value) for row in rows if (value := _number(row, name)) is not None]
    return {"name": label, "metric": html.escape(name, quote=False), "x": [x for x, _ in points], "y": [y for _, y in points]}


def _score_chart(rows: Rows) -> dict[str, Any]:
    traces = []
    for name in _score_names(rows):
        trace = _trace(rows, name, html.escape(name.removeprefix("eval/").replace("/", " "), quote=False))
        error = name.replace("/avg@", "/se@")
        traces.append(trace | {"error": [_number(row, error) for row in rows if _number(row, name) is not None]})
    panel = {"unit": "mean score", "log": False, "traces": [trace for trace in traces if trace["x"]]}
    return {"title": "Held-out score", "note": "Bars: standard error over prompts.", "panels": [panel]}


def _time_chart(rows: Rows) -> dict[str, Any]:
    """Seconds of each part of a step; evaluations, which are rare and long, would hide the rest."""
    trained = [row for row in rows if _number(row, "reward/mean") is not None]
    x = [row["step"] for row in trained]
    parts = {part: [_number(row, f"time/{part}_s") or 0.0 for row in trained] for part in PARTS}
    known = [sum(_number(row, f"time/{part}_s") or 0.0 for part in (*PARTS, "eval")) for row in trained]
    whole = [_number(row, "time/step_s") or 0.0 for row in trained]
    parts["other"] = [max(0.0, total - part) for total, part in zip(whole, known, strict=True)]
    traces = [{"name": part, "metric": part, "x": x, "y": y, "bar": True} for part, y in parts.items() if any(y)]
    note = "By part, without evaluations."
    return {"title": "Time a step", "note": note, "panels": [{"unit": "seconds", "log": False, "traces": traces}]}


def _score_names(rows: Rows) -> list[str]:
    names = {name for row in rows for name in row if name.startswith("eval/") and "/avg@" in name}
    return sorted(names, key=lambda name: (name.split("/")[1], name.count("/"), name))


def read_groups(run_dir: Path, max_bytes: int = MAX_SAMPLE_BYTES) -> tuple[list[str], str]:
    """Groups for the browser, each as JSON that is safe in a script element; and what was left out, in words.

    Files are taken from the ends and then evenly between them, none with more than a quarter of the room.
    """
    files = [(int(p.stem.rpartition("-")[2]), "", p) for p in run_dir.glob("samples/step-*.jsonl")]
    files += [(int(p.stem.rpartition("-")[2]), p.stem.rpartition("-step-")[0], p) for p in run_dir.glob("evals/*.jsonl")]
    files.sort(key=lambda file: (file[0], file[1] == "" and file[0] == 0, file[1]))
    chosen: dict[int, list[str]] = {}
    room, num_cut = max_bytes, 0
    for index in _spread(len(files)):
        step, origin, path = files[index]
        share, kept = min(room, max_bytes // 4), []
        for group in _read_groups(path):
            text = to_json({"step": step, "origin": origin} | group)
            share -= len(text.encode("utf-8", "backslashreplace"))
            if share < 0:
                num_cut += 1
                break
            kept.append(text)
        room -= sum(len(text.encode("utf-8", "backslashreplace")) for text in kept)
        if kept:
            chosen[index] = kept
    num_left_out = len(files) - len(chosen)
    notes = [f"{num_left_out} of {len(files)} sample files are left out"] if num_left_out else []
    notes += [f"{num_cut} are cut short"] if num_cut else []
    limit = f" to keep the page under {max_bytes / 1e6:.0f} MB of samples; all are in the run folder." if notes else ""
    return [text for index in sorted(chosen) for text in chosen[index]], " and ".join(notes) + limit


def _spread(count: int) -> list[int]:
    """All numbers below `count`: the last, the first, then ever finer steps between them."""
    order, stride = [count - 1] if count else [], 1 << count.bit_length()
    while stride:
        order += range(0, count, stride)
        stride //= 2
    return list(dict.fromkeys(order))
