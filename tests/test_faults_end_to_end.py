"""Real runs that lose a learner rank, their disk or their driver, from the command on. See docs/faults.md."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from rl.checkpoint import complete_steps
from rl.log import deterministic, read_metrics
from tests.commands import LIMIT_S, finish, read_events, start_run, wait_for_step

SFT, GRPO = "configs/smoke/sft.yaml", "configs/smoke/grpo.yaml"
SFT_STEPS, GRPO_STEPS = 12, 5
GONE_S = 30  # how long an orphan may live
AGENT_S = 180  # Ray's runtime-env agent reports its end to a GCS that is gone, for a minute

pytestmark = pytest.mark.slow


def below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def learner_ranks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [each for each in below(process) if "LearnerRank" in " ".join(each.cmdline())]


def rows(folder: Path) -> list[dict]:
    return [deterministic(row) for row in read_metrics(folder)]


def learned(folder: Path) -> list[str]:
    """What each step was made of, to the byte."""
    return [path.read_text() for path in sorted((folder / "samples").iterdir())]


@pytest.fixture(scope="module")
def whole_sft(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    finish(start_run(SFT, folder, f"num_steps={SFT_STEPS}", "log.name=whole", "learner.num_ranks=2"))
    return folder / "whole"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_a_run_that_loses_a_learner_rank_goes_on_by_itself(whole_sft, tmp_path, number):
    changes = ["learner.num_ranks=2", "learner.update_timeout_s=30", "checkpoint.every_steps=2"]
    process = start_run(SFT, tmp_path, f"num_steps={SFT_STEPS}", "log.name=cut", *changes)
    wait_for_step(tmp_path / "cut", 2, process)
    first, second = learner_ranks(process)
    os.kill(second.pid, number)
    said = finish(process)
    assert rows(tmp_path / "cut") == rows(whole_sft)
    (event,) = read_events(tmp_path / "cut")
    assert event["kind"] == "learner_restart"
    cause = "is gone" if number == signal.SIGKILL else "did not answer within 30 s (learner.update_timeout_s)"
    assert cause in event["detail"]
    assert "start again from step" in said
    assert not psutil.wait_procs([first, second], timeout=GONE_S)[1], "no rank of the first attempt is left"


def test_rl_that_loses_its_learner_learns_no_prompt_twice(tmp_path):
    finish(start_run(GRPO, tmp_path, f"num_steps={GRPO_STEPS}", "log.name=whole"))
    process = start_run(GRPO, tmp_path, f"num_steps={GRPO_STEPS}", "log.name=cut", "checkpoint.every_steps=2")
    wait_for_step(tmp_path / "cut", 2, process)
    (rank,) = learner_ranks(process)
    rank.kill()
    finish(process)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")
    assert [event["kind"] for event in read_events(tmp_path / "cut")] == ["learner_restart"]


def test_nothing_outlives_a_killed_driver(tmp_path):
    process = start_run(GRPO, tmp_path, "num_steps=1000", "log.name=killed")
    wait_for_step(tmp_path / "killed", 1, process)
    children = below(process)
    assert len(children) > 5, "the cluster, an engine with its core, a learner rank, the scorer with its worker"
    ours = [each for each in children if "Agent" not in " ".join(each.cmdline())]
    os.kill(process.pid, signal.SIGKILL)  # the driver alone
    process.wait(timeout=GONE_S)
    assert not [each.name() for each in psutil.wait_procs(ours, timeout=GONE_S)[1]]
    assert not [each.name() for each in psutil.wait_procs(children, timeout=AGENT_S)[1]]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MiB, on which two checkpoints of the smallest model fit, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=256m", folder], check=True)
    subprocess.run(["umount", folder], check=True)


def test_the_last_good_checkpoint_outlives_a_full_disk(whole_sft, small_disk):
    folder, enlarge = small_disk
    changes = [f"num_steps={SFT_STEPS}", "learner.num_ranks=2"]
    process = start_run(SFT, folder, *changes, "log.name=run", "log.sinks=[]")
    said = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 1
    assert "Traceback" not in said
    message = " ".join(said[said.rindex("sharpen: ") :].split())
    assert "cannot save the checkpoint of step" in message
    assert "GiB free" in message
    assert f"--resume {folder}/run" in message
    good = complete_steps(folder / "run" / "checkpoints")
    assert good == [1, 2]
    assert sorted(path.name for path in (folder / "run" / "checkpoints").iterdir()) == ["step-1", "step-2"]
    enlarge()
    finish(start_run(SFT, folder, *changes, "log.sinks=[]", "--resume", str(folder / "run")))
    assert rows(folder / "run") == rows(whole_sft)


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(whole_sft, tmp_path):
    shutil.copytree(whole_sft, tmp_path / "cut")
    checkpoints = tmp_path / "cut" / "checkpoints"
    before, newest = complete_steps(checkpoints)
    largest = max((checkpoints / f"step-{newest}").rglob("*.pt"), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    changes = [f"num_steps={SFT_STEPS}", "learner.num_ranks=2", f"log.dir={whole_sft.parent}", "log.name=whole"]
    said = finish(start_run(SFT, tmp_path, *changes, "--resume", str(tmp_path / "cut")))
    assert f"the run goes on from step {before}" in " ".join(said.split())
    (event,) = read_events(tmp_path / "cut")
    assert event["kind"] == "checkpoint_damaged"
    assert f"step-{newest}: " in event["detail"]
    assert largest.name in event["detail"]
    assert rows(tmp_path / "cut") == rows(whole_sft)
    assert json.loads((checkpoints / f"step-{newest}" / "complete.json").read_text())
