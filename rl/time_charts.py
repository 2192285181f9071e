"""Where a run's time went, what bound its steps, and how old its samples were: plain data for the report."""

import math
from collections import Counter
from typing import Any

from rl.waits import bound_of

PARTS = ("collect", "learn", "sync", "save")
AGES = "rollout/staleness/"

Rows = list[dict[str, Any]]


def time_chart(rows: Rows) -> dict[str, Any]:
    """Seconds of each part of a step; evaluations, which are rare and long, would hide the rest.

    Collecting is split into what it waited for, where that was measured.
    """
    trained = _trained(rows)
    parts = {part: _seconds(trained, f"{part}_s") for part in (*PARTS, "eval")}
    whole = _seconds(trained, "step_s")
    other = [max(0.0, total - sum(known)) for total, *known in zip(whole, *parts.values(), strict=True)]
    collect, judging = parts.pop("collect"), _seconds(trained, "wait_judging_s")
    sampling = [max(0.0, total - wait) for total, wait in zip(collect, judging, strict=True)]
    split = {"sampling": sampling, "judging": judging} if any(judging) else {"collect": collect}
    shown = split | {part: parts[part] for part in PARTS if part in parts} | {"other": other}
    x = [row["step"] for row in trained]
    traces = [{"name": part, "x": x, "y": y, "bar": True} for part, y in shown.items() if any(y)]
    panels = [{"unit": "seconds", "traces": traces}]
    return {"title": "Time a step", "note": "By part, without evaluations.", "panels": panels}


def bounds_in_words(rows: Rows, max_staleness: int) -> str | None:
    """Which part bound how many steps, by `bound_of`; None for a run that did not measure it."""
    trained = _trained(rows)
    windows = (trained[max(0, end - max_staleness - 1) : end] for end in range(1, len(trained) + 1))
    bounds = Counter(bound for window in windows if (bound := bound_of(window, max_staleness)))
    total = bounds.total()
    if not total:
        return None
    (first, times), *rest = bounds.most_common()
    others = "".join(f", {part} {count}" for part, count in rest)
    collect, blocked = sum(_seconds(rows, "collect_s")), sum(_seconds(rows, "head_of_line_s"))
    text = f"{first} bound {times} of {total} steps{others}"
    if blocked > 0.01 * collect > 0:
        text += f"; {blocked / collect:.0%} of the waiting was for one group while enough others were there"
    return text


def staleness_chart(rows: Rows) -> dict[str, Any]:
    """How many responses of a step were sampled by weights of which age."""
    found = {name for row in rows for name in row if name.startswith(AGES)}
    ages = sorted(int(name.removeprefix(AGES)) for name in found if any(_number(row, name) for row in rows))
    trained = [row for row in rows if any(name in row for name in found)]
    x = [row["step"] for row in trained]
    traces = [
        {"name": str(age), "x": x, "y": [_number(row, f"{AGES}{age}") for row in trained], "bar": True} for age in ages
    ]
    mean = {"name": "rollout/staleness_mean", "x": x, "y": [_number(row, "rollout/staleness_mean") for row in trained]}
    panels = [{"unit": "responses by steps of age", "traces": traces}, {"unit": "mean", "traces": [mean] if x else []}]
    note = "Steps between the newest weights and the oldest that sampled a token of a response."
    return {"title": "Staleness", "note": note, "panels": panels if x else []}


def _trained(rows: Rows) -> Rows:
    return [row for row in rows if row["step"] and row.get("time/learn_s") is not None]


def _seconds(rows: Rows, name: str) -> list[float]:
    return [_number(row, f"time/{name}") for row in rows]


def _number(row: dict[str, Any], name: str) -> float:
    value = row.get(name)
    return float(value) if value is not None and math.isfinite(value) else 0.0
