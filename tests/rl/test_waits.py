"""What a step waited for, and what bound it, by hand."""

import asyncio
from dataclasses import replace

import pytest

from benchmarks.simulation import run_virtually
from rl.collect import Collector
from rl.prompts import Draw
from rl.time_charts import bounds_in_words, staleness_chart, time_chart
from rl.types import ScoredGroup
from rl.waits import bound_of
from tests.fakes import FakeStream, make_scored


async def collect(draw: Draw) -> ScoredGroup:
    """Draw 0 takes 3 s to sample and 2 s to judge, the others are there at once."""
    if draw.index == 0:
        await asyncio.sleep(3)
    sampled_at = asyncio.get_running_loop().time()
    if draw.index == 0:
        await asyncio.sleep(2)
    return replace(make_scored([0.0, 1.0]), draw=draw.index, sampled_at=sampled_at)


@pytest.mark.parametrize(("staleness", "blocked"), [(0, 0), (1, 5)])
def test_waits_by_hand(staleness, blocked):
    """Of a step of two, drawn with two more at staleness 1: those could have been taken at once."""

    async def take():
        line = Collector(
            FakeStream(), collect, groups_per_step=2, max_staleness=staleness, max_draws_per_step=2, timeout_s=9
        )
        async with line:
            return await line.take(2, lambda group: None)

    groups, metrics = run_virtually(take())
    assert [group.draw for group in groups] == [0, 1]
    assert {name: metrics[name] for name in metrics if name.startswith("time/")} == {
        "time/wait_sampling_s": pytest.approx(3),
        "time/wait_judging_s": pytest.approx(2),
        "time/head_of_line_s": pytest.approx(blocked),
    }


def row(sampling, judging, learn, sync):
    names = "time/wait_sampling_s", "time/wait_judging_s", "time/learn_s", "time/sync_s"
    return dict(zip(names, (sampling, judging, learn, sync), strict=True))


@pytest.mark.parametrize(
    ("parts", "staleness", "bound"),
    [
        ((5.0, 1.0, 4.0, 0.5), 0, "sampling"),
        ((3.0, 1.0, 4.0, 0.5), 0, "learning"),
        ((3.0, 1.0, 4.0, 0.5), 1, "sampling"),  # the learner waits, though it is the longest part
        ((1.0, 3.0, 9.0, 0.5), 2, "judging"),
        ((0.2, 0.1, 4.0, 0.5), 1, "learning"),
        ((0.2, 0.1, 1.0, 5.0), 1, "sync"),
        ((None, None, 4.0, 0.5), 0, None),
    ],
)
def test_the_bound_by_hand(parts, staleness, bound):
    assert bound_of([row(*parts)], staleness) == bound


def test_a_burst_is_seen_as_a_whole():
    burst = [row(4.0, 0.0, 3.0, 0.1), row(0.0, 0.0, 3.0, 0.1)]
    assert [bound_of([step], 1) for step in burst] == ["sampling", "learning"]
    assert bound_of(burst, 1) == "sampling"
    rows = [step | {"step": number} for number, step in enumerate(burst * 2, start=1)]
    assert bounds_in_words(rows, 1) == "sampling bound 4 of 4 steps"


def test_the_report_says_what_bound_the_steps():
    rows = [{"step": 0, "time/step_s": 9.0}] + [
        row(6.0, 1.0, learn, 0.5) | {"step": step, "time/collect_s": 7.0, "time/step_s": 20.0, "time/head_of_line_s": h}
        for step, (learn, h) in enumerate([(4.0, 0.0), (12.0, 0.0), (5.0, 7.0)], start=1)
    ]
    blocked = "; 33% of the waiting was for one group while enough others were there"
    assert bounds_in_words(rows, 0) == f"sampling bound 2 of 3 steps, learning 1{blocked}"
    assert bounds_in_words(rows[:3], 0) == "sampling bound 1 of 2 steps, learning 1"
    assert bounds_in_words(rows, 1) == f"sampling bound 3 of 3 steps{blocked}"
    assert bounds_in_words([{"step": 1, "time/learn_s": 4.0}], 1) is None
    traces = {trace["name"]: trace["y"] for trace in time_chart(rows)["panels"][0]["traces"]}
    assert traces == {
        "sampling": [6.0] * 3,
        "judging": [1.0] * 3,
        "learn": [4.0, 12.0, 5.0],
        "sync": [0.5] * 3,
        "other": [8.5, 0.5, 7.5],
    }


def test_the_staleness_histogram():
    rows = [
        {"step": 0},
        {"step": 1, "rollout/staleness/0": 8.0, "rollout/staleness_mean": 0.0},
        {"step": 2, "rollout/staleness/0": 2.0, "rollout/staleness/10": 6.0, "rollout/staleness_mean": 7.5},
        {"step": 3, "rollout/staleness/2": 8.0, "rollout/staleness_mean": 2.0},
    ]
    histogram, mean = staleness_chart(rows)["panels"]
    assert {t["name"]: (t["x"], t["y"]) for t in histogram["traces"]} == {
        "0": ([1, 2, 3], [8.0, 2.0, 0.0]),
        "2": ([1, 2, 3], [0.0, 0.0, 8.0]),
        "10": ([1, 2, 3], [0.0, 6.0, 0.0]),
    }
    assert mean["traces"][0]["y"] == [0.0, 7.5, 2.0]
    assert staleness_chart([{"step": 0}])["panels"] == []
