"""A pipeline as a user starts it: a stage killed, the pipeline stopped, the pipeline killed, and still one run."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from rl.checkpoint import latest_step
from rl.log import read_metrics
from tests.commands import LIMIT_S, finish, start_run, wait_for_step

SMOKE = "configs/smoke/pipeline.yaml"


def start(tmp_path: Path, num_steps: int, *arguments: str) -> subprocess.Popen[str]:
    steps = f"stages.reasoning.overrides={{num_steps: {num_steps}, checkpoint: {{keep: 100}}}}"
    # The model goes through an override, so it is said again.
    model = "stages.reasoning.overrides.model=${stages.cold_start.model}"
    return start_run(SMOKE, tmp_path, "log.name=p", "stages.cold_start.overrides.num_steps=1", steps, model, *arguments)


def wait_until_gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + LIMIT_S
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the stage of a pipeline that was killed goes on"
        time.sleep(0.1)


@pytest.mark.slow
def test_whatever_is_killed_the_pipeline_goes_on(tmp_path):
    run = tmp_path / "p"
    reasoning = run / "stages" / "reasoning"
    resume = ("--resume", str(run))

    process = start(tmp_path, 1000)
    wait_for_step(reasoning, 1, process)
    (stage,) = psutil.Process(process.pid).children()
    os.killpg(stage.pid, signal.SIGKILL)
    errors = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 1
    assert "stage 2 of 3, reasoning failed with exit code -9" in errors
    made = (run / "stages" / "cold_start" / "stage.json").read_text()

    process = start(tmp_path, 1000, *resume)
    wait_for_step(reasoning, latest_step(reasoning / "checkpoints") + 1, process)
    process.send_signal(signal.SIGTERM)
    errors = finish(process)
    assert "reasoning: goes on" in errors
    assert "reasoning was stopped" in errors

    process = start(tmp_path, 1000, *resume)
    wait_for_step(reasoning, latest_step(reasoning / "checkpoints") + 1, process)
    (stage,) = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    wait_until_gone(stage)
    reached = latest_step(reasoning / "checkpoints")
    assert read_metrics(reasoning)[-1]["step"] == reached, "it saved its last step before it left"

    finish(start(tmp_path, reached + 1, *resume))
    assert [row["step"] for row in read_metrics(reasoning)] == list(range(reached + 2))
    assert (run / "stages" / "cold_start" / "stage.json").read_text() == made, "what was complete was left alone"
    page = (run / "report.html").read_text()
    assert "3 complete" in page
    assert "arithmetic, avg@2" in page
