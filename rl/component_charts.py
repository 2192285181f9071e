"""The means of reward components, a chart a task: plain data for the report."""

import math
from collections import defaultdict
from typing import Any

MAX_TRACES = 12  # of a task: more colours nobody tells apart
PREFIX, MEAN, SAME = "reward/", "/mean", "/zero_variance_rate"


def component_means(names: set[str]) -> set[str]:
    """Those that are the mean of a component, not of a task: there is a rate of equal groups beside it."""
    found = {name for name in names if name.startswith(PREFIX) and name.endswith(MEAN)}
    return {name for name in found if name.removesuffix(MEAN) + SAME in names}


def component_charts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A chart for each task with components; those that stay between -1 and 1 are apart from lengths and logits."""
    by_task = _traces(rows)
    charts = []
    for task, known in sorted(by_task.items()):
        shown = sorted(known, key=lambda trace: (trace["name"].count("/"), trace["name"]))[:MAX_TRACES]
        small = [trace for trace in shown if max(map(abs, trace["y"])) <= 1]
        large = [trace for trace in shown if trace not in small]
        panels = [
            {"unit": traces[0]["name"] if len(traces) == 1 else unit, "traces": traces}
            for unit, traces in (("mean", small), ("raw mean", large))
            if traces
        ]
        left_out = len(known) - len(shown)
        note = "Before they are normalised and weighed." + (f" {left_out} more: see metrics.jsonl." if left_out else "")
        title = f"Reward components of {task}"
        charts.append({"title": title, "note": note, "panels": panels})
    return charts


def _traces(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By task: the components, a combination without those that its rule has of its own."""
    names = {name for row in rows for name in row}
    means = component_means(names)
    tasks = sorted((name.removesuffix(MEAN) + "/" for name in names - means if name.endswith(MEAN)), key=len)
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name in sorted(means):
        prefix = next((task for task in reversed(tasks) if name.startswith(task)), PREFIX)
        component = name.removeprefix(prefix).removesuffix(MEAN)
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name])]
        if points and not component.startswith("rule/"):
            trace = {"name": component, "x": [x for x, _ in points], "y": [y for _, y in points]}
            by_task[prefix.removeprefix(PREFIX).removesuffix("/")].append(trace)
    return by_task
