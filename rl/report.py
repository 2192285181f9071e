"""A run folder as one page that opens without a network: scores, curves, responses, config."""

import json
import math
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml

from rl.component_charts import component_charts, component_means
from rl.log import read_metrics
from rl.progress import duration
from rl.run_folder import read_settings, sample_files
from rl.sample_pages import cut
from rl.time_charts import PARTS, bounds_in_words, staleness_chart, time_chart

MAX_SAMPLE_BYTES = 12_000_000
MAX_RESPONSE_CHARACTERS = 16_000
REWARD_STEPS = 5

Rows = list[dict[str, Any]]

# Title, note, and the plots of each chart: a unit and metrics; a * stands for any part, but no component.
CHARTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Training reward", "Mean score of the responses of a step.", {"score": "reward/mean reward/*/mean"}),
    (
        "Response length",
        "Sampled tokens, and the share of responses that the limit cut off.",
        {"tokens": "rollout/response_length", "share of responses": "rollout/truncated_rate"},
    ),
    ("Entropy", "Of the policy, at the tokens that it learned from.", {"nats a token": "policy/entropy"}),
    (
        "Teacher",
        "How far the student is from it, and how often both would say the same.",
        {
            "nats a token": "distill/forward_kl distill/reverse_kl distill/teacher_entropy",
            "share of tokens": "distill/top1_agreement",
        },
    ),
    (
        "Sampler against learner",
        "The same weights in two programs: a small gap, and ratios near 1.",
        {
            "nats": "loss/mismatch_kl",
            "mean ratio": "loss/ratio_mean correction/weight_mean",
            "share of tokens": "loss/clip_rate loss/dual_clip_rate correction/truncate_rate correction/mask_rate",
        },
    ),
    ("Optimizer", "Gradient norm before clipping.", {"norm": "optim/grad_norm", "learning rate": "optim/lr"}),
    (
        "Groups",
        "A group whose scores are all equal teaches nothing.",
        {
            "share": "group/zero_variance_rate reward/error_rate",
            "rejected": "group/rejected group/rejected/*",
        },
    ),
    (
        "Environments",
        "Turns of an episode; mistakes among the answers, and samples whose environment broke down.",
        {"turns": "rollout/turns_mean", "share": "rollout/tool_errors_rate environment/failure_rate"},
    ),
    (
        "Throughput and memory",
        "Without the time of evaluations.",
        {"tokens/s": "throughput/tokens_per_s rollout/tokens_per_s", "GiB": "memory/used_gib memory/driver_gib"},
    ),
)
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def build_report(run_dir: Path) -> Path:
    """Write `report.html` into a run folder. Raises ValueError where there is no run."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    rows = read_metrics(run_dir)
    if not rows:
        raise ValueError(f"{run_dir} has no metrics.jsonl with a row in it: nothing to report")
    num_lines = (run_dir / "metrics.jsonl").read_bytes().rstrip(b"\n").count(b"\n") + 1
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    groups, sample_note = read_groups(run_dir)
    settings = read_settings(run_dir)
    page = environment.get_template("report.html.j2").render(
        head=headline(run_dir),
        charts=Markup(to_json(make_charts(rows))),
        groups=Markup(f"[{','.join(groups)}]"),
        plotly=Markup(get_plotlyjs()),
        sample_note=sample_note,
        num_lost_lines=num_lines - len(rows),
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
    """The figures that a reader wants first; None for what the run has not measured.

    `reward` is the mean over the first and over the last `reward_steps` steps, `evals` has one entry a suite and
    parser, `parts_s` is how many seconds of `wall_s` went where.
    """
    rows, config = read_metrics(run_dir), read_settings(run_dir).get("config", {})
    trained = [row for row in rows if _number(row, "reward/mean") is not None]
    scores = [row["reward/mean"] for row in trained]
    window = max(1, min(REWARD_STEPS, len(scores) // 2))
    speeds = [row["throughput/tokens_per_s"] for row in trained if _number(row, "throughput/tokens_per_s")]
    return {
        "name": run_dir.resolve().name,
        "model": config.get("model"),
        "recipe": config.get("recipe"),
        "step": max((row["step"] for row in rows), default=0),
        "num_steps": config.get("num_steps"),
        "wall_s": _total(rows, "time/step_s"),
        "bounds": bounds_in_words(rows, config.get("max_staleness", 0)),
        "parts_s": {part: _total(rows, f"time/{part}_s") for part in (*PARTS, "eval")},
        "tokens_per_s": median(speeds) if speeds else None,
        "trained_tokens": _total(rows, "pack/trained_tokens"),
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
        entry = {
            "suite": suite,
            "parser": parser or parsers.get(suite, [""])[0],
            "measure": name.rpartition("/")[2],
            "first_step": first["step"],
            "first": first[name],
            "first_se": _number(first, name.replace("/avg@", "/se@")),
        }
        if last is not first:
            gain = _number(last, name.replace("/avg@", "/gain@"))
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
    for title, note, units in CHARTS:
        panels = []
        for unit, patterns in units.items():
            names = [name for pattern in patterns.split() for name in _matching(rows, pattern)]
            panels.append({"unit": unit, "traces": [t for name in names if (t := _trace(rows, name))["x"]]})
        charts.append({"title": title, "note": note, "panels": [panel for panel in panels if panel["traces"]]})
    charts += component_charts(rows)
    charts += [staleness_chart(rows), time_chart(rows)]
    return [chart for chart in charts if any(panel["traces"] for panel in chart["panels"])]


def _matching(rows: Rows, pattern: str) -> list[str]:
    start, star, end = pattern.partition("*")
    known = {name for row in rows for name in row}
    if not star:
        return [pattern] if pattern in known else []
    inner = {n for n in known if n.startswith(start) and n.endswith(end) and len(n) >= len(pattern)}
    inner -= component_means(known)
    return sorted(inner) if len(inner) > 1 else []  # of a single task or reason the total says the same


def _trace(rows: Rows, name: str) -> dict[str, Any]:
    points = [(row["step"], value) for row in rows if (value := _number(row, name)) is not None]
    return {"name": name, "x": [x for x, _ in points], "y": [y for _, y in points]}


def _score_chart(rows: Rows) -> dict[str, Any]:
    traces = []
    for name in _score_names(rows):
        error = name.replace("/avg@", "/se@")
        errors = [_number(row, error) for row in rows if _number(row, name) is not None]
        if errors:
            traces.append(_trace(rows, name) | {"error": errors})
    panels = [{"unit": "mean score", "traces": traces}]
    return {"title": "Held-out score", "note": "Bars: standard error over prompts.", "panels": panels}


def _score_names(rows: Rows) -> list[str]:
    names = {name for row in rows for name in row if name.startswith("eval/") and "/avg@" in name}
    return sorted(names, key=lambda name: (name.split("/")[1], name.count("/"), name))


def read_groups(run_dir: Path, max_bytes: int = MAX_SAMPLE_BYTES) -> tuple[list[str], str]:
    """Groups for the browser, each as JSON that is safe in a script element; and what was left out, in words.

    Files are taken from the ends and then evenly between them, none with more than a quarter of the room.
    """
    files = sample_files(run_dir)
    chosen: dict[int, list[str]] = {}
    room, num_cut, num_broken = max_bytes, 0, 0
    for index in _spread(len(files)):
        step, origin, path = files[index]
        share, kept = min(room, max_bytes // 4), []
        for line in filter(None, path.read_text(encoding="utf-8", errors="replace").split("\n")):
            try:
                group = _shortened(json.loads(line, parse_constant=lambda _: None))
            except (ValueError, LookupError, TypeError):  # cut off, or no group
                num_broken += 1
                continue
            text = to_json({"step": step, "origin": origin} | group)
            size = len(text.encode("utf-8", "backslashreplace"))
            if size > share:
                num_cut += 1
                break
            kept.append(text)
            share, room = share - size, room - size
        chosen[index] = kept
    num_empty = sum(not kept for kept in chosen.values())
    notes = [f"{num_empty} of {len(files)} sample files are left out"] if num_empty else []
    notes += [f"{num_cut - num_empty} are shown in part"] if num_cut > num_empty else []
    notes = [f"{', '.join(notes)}, for size: see the run folder"] if notes else []
    notes += [f"unreadable lines: {num_broken}"] if num_broken else []
    return [text for index in sorted(chosen) for text in chosen[index]], "; ".join(notes)


def _spread(count: int) -> list[int]:
    """All numbers below `count`: the last, the first, then ever finer steps between them."""
    order, stride = [count - 1] if count else [], 1 << count.bit_length()
    while stride:
        order += range(0, count, stride)
        stride //= 2
    return list(dict.fromkeys(order))


def _shortened(group: dict[str, Any], limit: int = MAX_RESPONSE_CHARACTERS) -> dict[str, Any]:
    """The group with the middle of very long responses cut out, and said so in their place."""
    for response in group["responses"]:
        response["text"] = cut(response["text"], limit)
    return group


def to_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever a model wrote."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(UNSAFE)


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    return value if value is not None and math.isfinite(value) else None


def _total(rows: Rows, name: str) -> float:
    return sum(_number(row, name) or 0.0 for row in rows)
