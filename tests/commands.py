"""The `sharpen` command in processes of its own, for tests that run, kill and resume it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rl.faults import EVENTS

SHARPEN = [sys.executable, "-m", "rl.cli"]
LIMIT_S = 400


def start_run(config: str, log_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "200"}
    command = [*SHARPEN, "run", config, f"log.dir={log_dir}", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def finish(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors[-3000:]
    return errors


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not (folder / "checkpoints" / f"step-{step}").is_dir():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, f"no checkpoint of step {step} within {LIMIT_S} s"
        time.sleep(0.05)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The rows of `events.jsonl`, none where there is no such file; a last line cut off by a crash is left out."""
    path = folder / EVENTS
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def kill_at_journal_and_resume(config: str, log_dir: Path) -> Path:
    """The folder of a run of data that is killed as soon as its journal has something, and resumed to its end."""
    cut = log_dir / "cut"
    process = start_run(config, log_dir, "log.name=cut")
    deadline = time.monotonic() + LIMIT_S
    while not any(path.stat().st_size for path in (cut / "journal").glob("*.jsonl")):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, f"nothing in the journal within {LIMIT_S} s"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    finish(start_run(config, log_dir, "--resume", str(cut)))
    return cut


def kill_and_resume(config: str, log_dir: Path, at_step: int, num_steps: int, *changes: str) -> Path:
    """The folder of a run that is killed after a step and resumed to its end."""
    cut = log_dir / "cut"
    process = start_run(config, log_dir, f"num_steps={at_step}", "log.name=cut", "checkpoint.at_end=false", *changes)
    wait_for_step(cut, at_step, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    finish(start_run(config, log_dir, f"num_steps={num_steps}", *changes, "--resume", str(cut)))
    return cut
