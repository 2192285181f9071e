"""A run whose learner is lost: again from the newest checkpoint, so often and no more, and written down."""

import asyncio
import signal

import pytest

from rl.checkpoint import CheckpointConfig, Checkpointer
from rl.cli import main
from rl.config import SFTConfig
from rl.faults import LearnerLost, RunStopped, ScorerLost
from rl.log import read_metrics
from rl.shutdown import stop_on_signal
from rl.supervision import run_supervised
from rollout.sampler import EngineLost
from tests.commands import read_events
from tests.fakes import FakeLearner, FakePart

LOST = LearnerLost("learner rank 1 is gone, in the learner's update")


def config(**changes):
    values = {"model": "package:tiny-qwen3", "num_steps": 6, "conversations_per_step": 1, "log": {"sinks": []}}
    values |= {"sources": [{"generator": "rl.arithmetic:conversation"}], "checkpoint": {"every_steps": 2} | changes}
    return SFTConfig.model_validate(values)


def recipe_that_loses(at_steps, error=LOST):
    """A loop over a learner of one number, which is lost in each of these steps once."""
    left = list(at_steps)

    async def recipe(config, log):
        learner, part = FakeLearner(), FakePart()
        checkpointer = Checkpointer(
            config.checkpoint, log.folder / "checkpoints", learner=learner, parts={"part": part}, num_steps=6
        )
        step = await checkpointer.resume()
        log.truncate_after(step)
        log.write_first(step, {})
        while step < config.num_steps:
            step += 1
            if left and step == left[0]:
                left.pop(0)
                raise error
            learner.value += 1
            part.count += 1
            log.write(step, {"value": learner.value, "count": part.count})
            await checkpointer.save_if_due(step)

    return recipe


def rows(folder):
    return [(row["step"], row.get("value"), row.get("count")) for row in read_metrics(folder)]


def test_a_lost_learner_costs_nothing_but_time(tmp_path, capsys):
    run_supervised(recipe_that_loses([4]), config(), tmp_path)
    assert rows(tmp_path) == [(0, None, None)] + [(n, n, n) for n in range(1, 7)]
    (event,) = read_events(tmp_path)
    assert (event["kind"], event["step"]) == ("learner_restart", 3)
    assert event["detail"] == f"{LOST}: all parts start again from step 2 (restart 1)"
    assert "start again from step 2" in capsys.readouterr().err
    assert "start again from step 2" in (tmp_path / "log.txt").read_text()


def test_a_lost_part_starts_the_run_again(tmp_path):
    run_supervised(recipe_that_loses([4], ScorerLost("the reward scorer's process is gone")), config(), tmp_path)
    assert rows(tmp_path)[-1] == (6, 6, 6)
    (event,) = read_events(tmp_path)
    assert (event["kind"], event["step"]) == ("scorer_restart", 3)


def test_each_new_checkpoint_earns_another_restart(tmp_path):
    run_supervised(recipe_that_loses([2, 4, 5]), config(), tmp_path)
    assert rows(tmp_path)[-1] == (6, 6, 6)
    assert [event["detail"].partition("from ")[2] for event in read_events(tmp_path)] == [
        f"step {step} (restart {number})" for number, step in ((1, 0), (2, 2), (3, 4))
    ]


def test_without_progress_the_run_stops(tmp_path):
    with pytest.raises(RunStopped, match=r"rank 1 .*no checkpoint was made since .* step 2.*--resume") as stop:
        run_supervised(recipe_that_loses([4, 4, 4]), config(), tmp_path)
    assert stop.value.__cause__ is LOST
    assert rows(tmp_path)[-1] == (3, 3, 3)
    assert len(read_events(tmp_path)) == 1


@pytest.mark.parametrize("limit", [0, 1])
def test_restarts_are_limited(tmp_path, limit):
    with pytest.raises(RunStopped, match=f"checkpoint.max_restarts = {limit} "):
        run_supervised(recipe_that_loses([4, 6]), config(max_restarts=limit), tmp_path)
    assert len(read_events(tmp_path)) == limit


@pytest.mark.parametrize("error", [EngineLost("engine 0 died 4 times"), OSError(28, "No space left on device")])
def test_another_fault_ends_the_run_and_says_how_to_go_on(tmp_path, error):
    with pytest.raises(RunStopped, match=f"(engine 0|No space).*\n.*--resume {tmp_path}"):
        run_supervised(recipe_that_loses([3], error), config(), tmp_path)
    assert not read_events(tmp_path)
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_a_mistake_of_ours_keeps_its_traceback(tmp_path):
    with pytest.raises(AssertionError, match="what was believed"):
        run_supervised(recipe_that_loses([3], AssertionError("what was believed")), config(), tmp_path)


def test_the_command_says_it_in_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rl.recipes.sft.train", recipe_that_loses([1, 1]))
    folder = tmp_path / "run"
    assert main(["run", "configs/smoke/sft.yaml", f"log.dir={tmp_path}", "log.name=run", "log.sinks=[]"]) == 1
    said = capsys.readouterr().err
    assert f"sharpen: {LOST}: it was lost before" in said.replace("\n", " ")
    assert "Traceback" not in said
    assert str(folder) in said


async def test_a_learner_lost_after_a_signal_is_not_started_again(tmp_path):
    checkpointer = Checkpointer(CheckpointConfig(), tmp_path, learner=FakeLearner(), parts={}, num_steps=1)

    async def lose(after_signal: bool) -> None:
        async with stop_on_signal(checkpointer):
            if after_signal:
                signal.raise_signal(signal.SIGTERM)
                await asyncio.sleep(0.1)
            raise LOST

    with pytest.raises(LearnerLost):
        await lose(after_signal=False)
    with pytest.raises(RunStopped, match=r"rank 1 .* after the run was asked to leave"):
        await lose(after_signal=True)
