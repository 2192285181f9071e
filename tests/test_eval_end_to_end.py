"""An evaluation as a user runs it: killed in the middle and resumed, it has the numbers of one that was not."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rl.log import deterministic, read_eval_rows, read_metrics
from tests.commands import LIMIT_S, SHARPEN, finish, start_run

SMOKE = "configs/smoke/eval.yaml"
NUM_PROMPTS = 16
ROWS = Path("evals") / "arithmetic-step-0.jsonl"


def wait_for_rows(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while len(read_eval_rows(folder, "arithmetic", 0)) < 3:
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, f"no rows within {LIMIT_S} s"
        time.sleep(0.01)


@pytest.mark.slow
def test_an_evaluation_killed_and_resumed_has_the_same_numbers(tmp_path):
    finish(start_run(SMOKE, tmp_path, "log.name=whole"))
    process = start_run(SMOKE, tmp_path, "log.name=cut")
    cut = tmp_path / "cut"
    wait_for_rows(cut, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    kept = len(read_eval_rows(cut, "arithmetic", 0))
    assert 3 <= kept < NUM_PROMPTS
    finish(start_run(SMOKE, tmp_path, "--resume", str(cut)))
    assert f"{kept} prompts were evaluated before" in (cut / "log.txt").read_text()
    assert (cut / ROWS).read_bytes() == (tmp_path / "whole" / ROWS).read_bytes()
    assert list(map(deterministic, read_metrics(cut))) == list(map(deterministic, read_metrics(tmp_path / "whole")))


@pytest.mark.slow
def test_sharpen_eval_goes_on_and_shows_each_budget(tmp_path):
    """A run folder whose last prompts were lost: the command makes these alone, and its table has a part a budget."""
    flags = f"--suite arithmetic --samples 2 --max-tokens 16 --budgets 4,8 --out {tmp_path}/metrics.json"
    overrides = f"evals.0.limit=6 engine.dtype=float32 engine.batch_invariant=true log.dir={tmp_path} log.name=run"
    command = [*SHARPEN, "eval", "--model", "package:tiny-qwen3", *f"{flags} {overrides}".split()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "200"}

    def run(*arguments: str) -> tuple[str, dict[str, float]]:
        answer = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=LIMIT_S, env=environment
        )
        assert answer.returncode == 0, answer.stderr[-3000:]
        return answer.stdout, json.loads((tmp_path / "metrics.json").read_text())

    table, metrics = run()
    assert "arithmetic/budget-4: " in table
    assert {f"eval/arithmetic/budget-{budget}/avg@2" for budget in (4, 8)} <= set(metrics)
    path = tmp_path / "run" / "evals" / "arithmetic-budget-8-step-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    again, resumed = run("--resume", str(tmp_path / "run"))
    assert (resumed, path.read_bytes()) == (metrics, whole)
    assert "4 prompts were evaluated before" in (tmp_path / "run" / "log.txt").read_text()
    assert again.count("avg@2") == table.count("avg@2") == 2
