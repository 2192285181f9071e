"""The command as a user runs it: a real run, killed and resumed, is the same run."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rl.log import deterministic, read_metrics
from tests.commands import LIMIT_S, SHARPEN, finish, kill_and_resume, start_run

SMOKE = "configs/smoke/grpo.yaml"


def start(tmp_path: Path, *arguments: str, config: str = SMOKE) -> subprocess.Popen[str]:
    return start_run(config, tmp_path, *arguments)


def samples(folder: Path, step: int) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples" / f"step-{step}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Six steps in one go."""
    folder = tmp_path_factory.mktemp("runs")
    finish(start(folder, "num_steps=6", "log.name=whole"))
    return folder / "whole"


def test_the_run_folder_holds_what_the_contract_names(whole):
    rows = read_metrics(whole)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    wanted = (
        "reward/mean reward/std reward/error_rate reward/math/mean rollout/tokens rollout/tokens_per_s "
        "rollout/response_length rollout/truncated_rate rollout/staleness_mean rollout/staleness_max "
        "group/zero_variance_rate group/rejected loss/policy loss/clip_rate loss/ratio_mean loss/mismatch_kl "
        "policy/entropy optim/grad_norm optim/lr time/step_s time/collect_s time/learn_s time/sync_s "
        "throughput/tokens_per_s"
    )
    assert set(wanted.split()) <= set(rows[1])
    names = {path.name for path in whole.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "samples", "checkpoints", "report.html", "log.txt", "tensorboard"}


def test_the_smoke_run_has_signal(whole):
    rows = read_metrics(whole)[1:]
    assert len({row["reward/mean"] for row in rows}) > 1
    assert all(row["optim/grad_norm"] > 0 for row in rows)
    assert all(row["rollout/staleness_max"] == 0 for row in rows)
    assert all(row["loss/mismatch_kl"] < 1e-8 for row in rows), "engine and learner must agree after every sync"


def assert_same(cut: Path, whole: Path) -> None:
    rows = read_metrics(whole)
    assert list(map(deterministic, read_metrics(cut))) == list(map(deterministic, rows))
    for row in rows[1:]:
        assert samples(cut, row["step"]) == samples(whole, row["step"])


def test_a_run_killed_and_resumed_is_the_same_run(whole, tmp_path):
    assert_same(kill_and_resume(SMOKE, tmp_path, 3, 6), whole)


@pytest.mark.slow
def test_running_statistics_are_the_same_after_a_kill(tmp_path):
    """Each step's rewards depend on the statistics of all steps before it, which the checkpoint must hold."""
    parts = "rule: {weight: 1}, preference: {task: likes, weight: 0.25, std: 2}, penalties: {repetition: 0.5}"
    changes = [
        f"rewards.plugins=[{Path(__file__).parent / 'rl/reward_plugins.py'}]",
        f"rewards.combine={{even_length: {{{parts}}}}}",
        "reward_statistics=running",
        "prompts.sources=[{generator: 'rl.arithmetic:problem', task: even_length}]",
    ]
    finish(start(tmp_path, "num_steps=4", "log.name=whole", *changes))
    cut, whole = kill_and_resume(SMOKE, tmp_path, 2, 4, *changes), tmp_path / "whole"
    assert_same(cut, whole)
    rows = read_metrics(whole)[1:]
    for name in ("scale_mean", "scale_std"):
        values = [row[f"reward/even_length/preference/{name}"] for row in rows]
        assert len(set(values)) == 4, f"{name} must move with each step, or there is nothing to be lost"
    components = [each["components"] for row in samples(whole, 4) for each in row["responses"]]
    assert {"rule", "penalty/repetition"} <= set(components[0])
    assert 0 < sum("preference" in each for each in components) < len(components), "some pass the gate, some do not"


def test_sigterm_saves_and_leaves_cleanly(tmp_path):
    process = start(tmp_path, "num_steps=1000", "log.name=stopped", "checkpoint.every_steps=0")
    deadline = time.monotonic() + LIMIT_S
    while len(read_metrics(tmp_path / "stopped")) < 3 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    finish(process)
    last = read_metrics(tmp_path / "stopped")[-1]["step"]
    assert (tmp_path / "stopped" / "checkpoints" / f"step-{last}" / "complete.json").is_file()


@pytest.mark.slow
def test_an_asynchronous_run_holds_its_bound(tmp_path):
    finish(start(tmp_path, "num_steps=8", "max_staleness=2", "learner.num_ranks=2", "log.name=async"))
    rows = read_metrics(tmp_path / "async")[1:]
    assert max(row["rollout/staleness_max"] for row in rows) in (1, 2)
    for row in rows:
        assert sum(row.get(f"rollout/staleness/{age}", 0) for age in range(3)) == 64
        waited = row["time/wait_sampling_s"] + row["time/wait_judging_s"]
        assert row["time/head_of_line_s"] <= waited <= row["time/collect_s"]
    assert all(row["reward/error_rate"] == 0 for row in rows)


@pytest.mark.slow
def test_dynamic_sampling_fills_the_step_with_signal(tmp_path):
    changes = ["group_filters=[zero_variance]", "learner.updates_per_step=2", "loss.name=gspo", "max_draws_per_step=64"]
    finish(start(tmp_path, "num_steps=3", "log.name=dynamic", *changes))
    rows = read_metrics(tmp_path / "dynamic")[1:]
    assert all(row["group/zero_variance_rate"] == 0 for row in rows)
    assert sum(row["group/rejected/zero_variance"] for row in rows) > 0


@pytest.mark.slow
def test_kl_entropy_and_export_work_together(tmp_path):
    changes = [
        "loss.kl={place: loss, estimator: k2}",
        "loss.entropy={adaptive: true, target: 6}",
        "learner.zero_stage=3",
    ]
    finish(start(tmp_path, "num_steps=2", "log.name=kl", *changes))
    rows = read_metrics(tmp_path / "kl")[1:]
    assert rows[0]["loss/kl"] == pytest.approx(0, abs=1e-9), "before the first update the policy is the reference"
    assert rows[1]["loss/kl"] > 0
    assert rows[1]["optim/entropy_coefficient"] == pytest.approx(2e-4)
    command = [*SHARPEN, "export", str(tmp_path / "kl"), str(tmp_path / "model")]
    subprocess.run(command, check=True, timeout=120, cwd=Path(__file__).parents[1])
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 1e5
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template


@pytest.mark.slow
def test_a_run_with_an_environment_learns_from_episodes(tmp_path):
    finish(start(tmp_path, "log.name=tools", config="configs/smoke/environment.yaml"))
    rows = read_metrics(tmp_path / "tools")[1:]
    assert len(rows) == 2
    assert all(1 < row["rollout/turns_mean"] <= 3 for row in rows)
    assert all(row["rollout/tool_errors_rate"] == 1 for row in rows), "a random model never calls a tool rightly"
    assert all(row["environment/failure_rate"] == row["reward/error_rate"] == 0 for row in rows)
    assert all(row["loss/mismatch_kl"] < 1e-8 for row in rows), "turns after an observation as well"
    assert all(row["optim/grad_norm"] > 0 for row in rows)
    (response, *_) = samples(tmp_path / "tools", 1)[0]["responses"]
    assert "No call of a tool was found." in response["text"]


@pytest.mark.slow
def test_an_evaluation_of_aime_from_a_local_file(tmp_path):
    """Real engine, chat template and rewards, from the command to the table and every file."""
    problems = [{"problem": f"What is {n} + {n}?", "answer": f"{2 * n:03}"} for n in (1, 2, 3)]
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    flags = f"--suite aime24 --data {tmp_path}/aime.jsonl --mode non-thinking --samples 4 --max-tokens 24"
    outputs = f"--out {tmp_path}/metrics.json --lm-eval-out {tmp_path}/lm_eval"
    overrides = f"engine.dtype=float32 log.dir={tmp_path} log.name=run"
    command = [*SHARPEN, "eval", "--model", "package:tiny-qwen3", *f"{flags} {outputs} {overrides}".split()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    answer = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "question error" in answer.stdout
    assert "3 questions of the suite's 30" in answer.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    names = {f"eval/aime24/{name}" for name in ("avg@4", "se@4", "sampling_se@4", "pass@1", "pass@4", "cons@4")}
    assert names | {"eval/aime24/lenient/avg@4"} <= set(metrics)
    assert (metrics["eval/aime24/num_prompts"], metrics["eval/aime24/error_rate"]) == (3, 0)
    assert 0 < metrics["eval/aime24/response_length"] <= 24
    rows = [json.loads(line) for line in (tmp_path / "run/evals/aime24-step-0.jsonl").read_text().splitlines()]
    assert [row["reference"] for row in rows] == ["2", "4", "6"]
    assert all(len(row["responses"]) == 4 for row in rows)
    (results,) = (tmp_path / "lm_eval").rglob("results_*.json")
    found = json.loads(results.read_text())["results"]["aime24"]
    assert found["exact_match,boxed"] == metrics["eval/aime24/avg@4"]


@pytest.mark.slow
def test_weights_that_are_broadcast_make_the_same_run(whole, tmp_path):
    finish(start(tmp_path, "num_steps=6", "log.name=broadcast", "learner.weight_transfer=broadcast"))
    assert_same(tmp_path / "broadcast", whole)
