"""The simulation against arithmetic, and what it says of looking ahead; part times from a run, and its prediction."""

import asyncio
import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.part_times import (
    Hardware,
    Lengths,
    fit_two,
    least_ranks,
    measured_step_s,
    measured_times,
    read_run,
    room_for_sequences,
    run_scenario,
)
from benchmarks.simulate import advice, against, from_run
from benchmarks.simulation import PartTimes, Scenario, Simulation, run_virtually, simulate
from rl.architecture import find_architecture

TIMES = PartTimes(
    decode_step_s=0.5, decode_sequence_s=0.25, learn_step_s=2.0, learn_token_s=0.125, sync_s=1.0, other_s=0.5
)


def scenario(**changes):
    known = {"times": TIMES, "draw_length": lambda rng: 10, "groups_per_step": 2, "samples_per_prompt": 2}
    return Scenario(**known | {"num_steps": 12, "num_warmup": 4} | changes)


def test_a_synchronous_step_by_hand():
    """4 sequences of 10 tokens: 10 x (0.5 + 4 x 0.25) s of sampling, 2 + 40 / 8 of learning, 1 + 0.5 of the rest.

    The next prompts are drawn when the weights are published, half a second before the step ends.
    """
    row = simulate(scenario())
    assert (row["time/learn_s"], row["time/step_s"]) == (pytest.approx(7), pytest.approx(15 + 7 + 1))
    assert row["time/collect_s"] == pytest.approx(14.5)
    assert row["rollout/staleness_max"] == 0


def test_sequences_that_end_make_the_others_faster():
    """Of lengths 4 and 10 in one engine: 4 steps of 1 s, then 6 of 0.75 s."""
    lengths = iter([4, 10] * 40)
    row = simulate(scenario(draw_length=lambda rng: next(lengths), groups_per_step=1))
    assert row["time/collect_s"] + 0.5 == pytest.approx(4 * 1.0 + 6 * 0.75)


def test_sequences_wait_for_a_place():
    """4 of 10 tokens, 2 at once: twice 10 steps of 1 s."""
    assert simulate(scenario(max_num_sequences=2))["time/collect_s"] + 0.5 == pytest.approx(20)


def test_engines_share_the_groups_and_judges_take_turns():
    times = dataclasses.replace(TIMES, judge_s=3.0)
    row = simulate(scenario(times=times, num_engines=2, num_judges=1))
    assert row["time/collect_s"] + 0.5 == pytest.approx(10 * 1.0 + 4 * 3.0)
    assert row["time/wait_judging_s"] == pytest.approx(12.0)


@pytest.mark.parametrize(("learn_token_s", "bound_s"), [(0.125, 16.0), (1.0, 43.5)])
def test_with_staleness_the_slower_side_sets_the_pace(learn_token_s, bound_s):
    """Two steps' groups are in the engine: 8 sequences, 40 tokens a step at 2.5 s for 8, but not while it is frozen."""
    times = dataclasses.replace(TIMES, learn_token_s=learn_token_s)
    row = simulate(scenario(times=times, max_staleness=1, num_steps=60, num_warmup=20))
    assert row["time/step_s"] == pytest.approx(bound_s, rel=0.15)
    assert row["rollout/staleness_max"] == 1
    assert (row["time/collect_s"] > 0.1) == (learn_token_s < 1)


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_the_bound_holds_while_looking_ahead(staleness):
    simulation = Simulation(long_tailed(max_staleness=staleness, reject_rate=0.4, look_ahead=64))

    async def main():
        return await simulation.run()

    assert max(row["rollout/staleness_max"] for row in run_virtually(main())) <= staleness


def long_tailed(**changes):
    lengths = Lengths(mean=400, sigma=1.0, longest=4000)
    known = {"draw_length": lengths.draw, "groups_per_step": 8, "samples_per_prompt": 4, "max_num_sequences": 64}
    times = PartTimes(decode_step_s=0.02, decode_sequence_s=2e-4, learn_step_s=1, learn_token_s=2e-4, sync_s=1)
    return scenario(**{"times": times, "num_steps": 40, "num_warmup": 10} | known | changes)


def test_without_rejections_taking_groups_in_order_costs_nothing():
    """At its last step a group is waited for in any order; and every first in line is at its last step."""
    steps = [simulate(long_tailed(max_staleness=2, look_ahead=ahead))["time/step_s"] for ahead in (0, 64)]
    assert steps[1] == pytest.approx(steps[0], rel=0.05)


@pytest.mark.parametrize("staleness", [0, 2])
def test_with_rejections_looking_ahead_saves_time(staleness):
    rows = [
        simulate(long_tailed(max_staleness=staleness, reject_rate=0.5, look_ahead=ahead, num_steps=30))
        for ahead in (0, 64)
    ]
    assert rows[1]["time/step_s"] < 0.9 * rows[0]["time/step_s"]
    assert staleness == 0 or rows[1]["time/head_of_line_s"] < 0.5 * rows[0]["time/head_of_line_s"]


def test_a_deadlock_is_said():
    async def never():
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will ever bring about"):
        run_virtually(never())


def test_the_fit_by_hand():
    assert fit_two([1, 2, 3], [5, 1, 4], [13, 8, 17]) == (pytest.approx(3), pytest.approx(2))
    assert fit_two([1, 1, 1], [1, 2, 3], [3, 2, 1])[1] == 0, "no part takes less than nothing"


def write_run(folder, *, staleness=0, num_steps=30, **changes):
    """A run folder out of a simulation: what is fitted to it must be what it was made with."""
    rng, rows = random.Random(0), []
    folder.mkdir()
    (folder / "samples").mkdir()
    engine = {"num_engines": 1, "max_num_sequences": 64, "batch_invariant": False}
    config = {"groups_per_step": 2, "samples_per_prompt": 2, "max_staleness": staleness, "engine": engine} | changes
    (folder / "config.yaml").write_text(yaml.safe_dump({"config": config}))
    for step in range(1, num_steps + 1):
        lengths = [rng.randint(5, 40) for _ in range(4)]
        row = {
            "step": step,
            "time/collect_s": max(lengths) * 0.5 + sum(lengths) * 0.25 + 3.0,
            "time/wait_judging_s": 3.0,
            "time/learn_s": 2.0 + sum(lengths) * 0.125,
            "time/sync_s": 1.0,
            "group/rejected": 0.0,
        }
        rows.append(row | {"time/step_s": sum(row[f"time/{part}_s"] for part in ("collect", "learn", "sync")) + 0.5})
        groups = [{"responses": [{"length": length} for length in lengths]}]
        (folder / "samples" / f"step-{step}.jsonl").write_text("\n".join(map(json.dumps, groups)))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_part_times_come_back_from_a_run(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    assert dataclasses.asdict(measured_times(run)) == pytest.approx(
        dataclasses.asdict(dataclasses.replace(TIMES, judge_s=3.0))
    )
    predicted = simulate(run_scenario(run, measured_times(run)))["time/step_s"]
    assert predicted == pytest.approx(measured_step_s(run), rel=0.05)
    assert abs(against(tmp_path / "run", tmp_path / "run")["error"]) < 0.05
    steps = [row["step_s"] for row in from_run(tmp_path / "run", [0, 1])["predicted"]]
    assert steps[1] < steps[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"staleness": 1}, "sampling hides behind learning"),
        ({"samples_per_prompt": 64}, "did not run all sequences of a step at once"),
        ({"num_steps": 3}, "at least 3 are needed"),
    ],
)
def test_a_run_that_shows_no_part_times_is_refused(tmp_path, changes, message):
    folder = write_run(tmp_path / "run", **changes)
    with pytest.raises(ValueError, match=message):
        measured_times(read_run(folder))


def test_what_fits_by_hand():
    model, gpu = find_architecture("Qwen/Qwen3-8B"), Hardware()
    # 36 layers x 8 heads x 128 x 2 x 2 bytes a token; 0.85 x 80 GiB less 16.4 GB of weights; 131 GB in 40 GiB each.
    assert room_for_sequences(model, gpu, tensor_parallel=1, mean_context=4096) == 93
    assert room_for_sequences(find_architecture("Qwen/Qwen3-32B"), gpu, tensor_parallel=1, mean_context=4096) == 6
    assert least_ranks(model, gpu) == 4


def test_the_advice_takes_the_least_stale_of_the_fastest():
    rows = [
        {"step_s": 10.0, "max_staleness": 4},
        {"step_s": 10.4, "max_staleness": 1},
        {"step_s": 12, "max_staleness": 0},
    ]
    assert advice(rows)["max_staleness"] == 1


def test_a_plan_from_the_command():
    command = ["--model", "Qwen/Qwen3-4B", "--gpus", "8", "--groups", "8", "--samples", "4", "--steps", "6", "--json"]
    script = Path(__file__).parents[1] / "benchmarks/simulate.py"
    done = subprocess.run([sys.executable, str(script), *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert {row["engines"] + row["ranks"] for row in rows} == {8}
    assert [row["step_s"] for row in rows] == sorted(row["step_s"] for row in rows)
    assert "learner GPUs and max_staleness" in done.stdout
