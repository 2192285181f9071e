"""On-policy distillation as a user runs it: the student comes nearer to its teacher, by either kind of teacher."""

import json

import pytest

from rl.log import deterministic, read_metrics
from tests.commands import finish, kill_and_resume, start_run

pytestmark = pytest.mark.slow

SMOKE = "configs/smoke/distill.yaml"
SERVED = [
    "mode=sampled_token",
    "divergence.name=reverse",
    "teacher.dtype=auto",
    "teacher.engine={dtype: float32, batch_invariant: true, max_context_tokens: 257, kv_cache_gib: 1}",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six steps in one go."""
    folder = tmp_path_factory.mktemp("runs")
    finish(start_run(SMOKE, folder, "num_steps=6", "log.name=whole"))
    return folder / "whole"


def test_the_student_comes_nearer_to_its_teacher(whole):
    rows = read_metrics(whole)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert rows[6]["distill/forward_kl"] < 0.8 * rows[1]["distill/forward_kl"]
    assert rows[6]["distill/reverse_kl"] < 0.8 * rows[1]["distill/reverse_kl"]
    assert all(row["loss/mismatch_kl"] < 1e-8 for row in rows[1:]), "engine and learner must agree after every sync"
    assert all(row["rollout/staleness_max"] == 0 for row in rows[1:])
    wanted = (
        "loss/distill distill/teacher_entropy distill/top1_agreement distill/unknown_rate policy/entropy "
        "rollout/response_length group/kept pack/trained_tokens optim/grad_norm time/collect_s"
    )
    assert set(wanted.split()) <= set(rows[1])


def test_the_run_folder_holds_samples_and_a_report(whole):
    lines = (whole / "samples" / "step-6.jsonl").read_text().splitlines()
    groups = [json.loads(line) for line in lines]
    assert [len(group["responses"]) for group in groups] == [4] * 8
    assert {response["status"] for group in groups for response in group["responses"]} == {"taught"}
    assert (whole / "report.html").is_file()


@pytest.mark.parametrize("changes", [[], SERVED], ids=["full_vocabulary", "sampled_token"])
def test_a_run_killed_and_resumed_is_the_same_run(changes, tmp_path):
    finish(start_run(SMOKE, tmp_path, "num_steps=6", "log.name=whole", *changes))
    kill_and_resume(SMOKE, tmp_path, 3, 6, *changes)
    cut, whole = (list(map(deterministic, read_metrics(tmp_path / name))) for name in ("cut", "whole"))
    assert cut == whole


def test_a_served_teacher_draws_the_student_nearer(tmp_path):
    finish(start_run(SMOKE, tmp_path, "num_steps=12", "samples_per_prompt=16", "log.name=served", *SERVED))
    rows = read_metrics(tmp_path / "served")
    assert rows[12]["distill/reverse_kl"] < 0.8 * rows[1]["distill/reverse_kl"]
    assert rows[1]["loss/ratio_mean"] == pytest.approx(1, abs=1e-5)


def test_shards_staleness_and_evaluations_work_together(tmp_path):
    changes = [
        "max_staleness=1",
        "learner={num_ranks: 2, zero_stage: 3, dtype: float32, updates_per_step: 2, optimizer: {lr: 1.0e-3}}",
        "evals=[{suite: arithmetic, limit: 8, samples_per_prompt: 1, every_steps: 2, sampling: {max_tokens: 16}}]",
        "num_steps=4",
    ]
    finish(start_run(SMOKE, tmp_path, "log.name=sharded", *changes))
    rows = read_metrics(tmp_path / "sharded")
    assert [row["step"] for row in rows if "eval/arithmetic/avg@1" in row] == [0, 2, 4]
    assert rows[4]["loss/distill"] < rows[1]["loss/distill"]


def test_a_teacher_of_another_vocabulary_is_refused_before_anything_starts(tmp_path):
    process = start_run(SMOKE, tmp_path, "teacher.model=package:smollm2")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "teacher.model: its tokenizer differs from the student's in" in errors
