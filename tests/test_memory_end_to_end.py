"""Whole GRPO runs with what makes a rank's memory less: adapters, offload, rows shared by ranks (docs/memory.md)."""

import subprocess
from pathlib import Path

import pytest

from rl.log import deterministic, read_metrics
from tests.commands import SHARPEN, finish, kill_and_resume, start_run
from tests.test_end_to_end import SMOKE, assert_same

pytestmark = pytest.mark.slow

ADAPTERS = ("learner.lora={rank: 4, alpha: 8}", "loss.kl={place: loss, estimator: k2, coefficient: 0.01}")
OFFLOAD = ("learner.zero_stage=3", "learner.offload=parameters")


@pytest.mark.parametrize("changes", [ADAPTERS, OFFLOAD], ids=["adapters", "offload"])
def test_a_run_killed_and_resumed_is_the_same_run(tmp_path, changes):
    finish(start_run(SMOKE, tmp_path, "num_steps=4", "log.name=whole", *changes))
    cut, whole = kill_and_resume(SMOKE, tmp_path, 2, 4, *changes), tmp_path / "whole"
    assert_same(cut, whole)
    rows = read_metrics(whole)[1:]
    assert all(row["optim/grad_norm"] > 0 for row in rows)
    assert all(row["loss/mismatch_kl"] < 1e-8 for row in rows), "engine and learner agree after every sync"
    if changes is ADAPTERS:
        assert rows[0]["loss/kl"] == 0, "the reference is the policy with its adapters off"
        assert rows[-1]["loss/kl"] > 0
        check_export(whole, tmp_path / "model")


def check_export(run: Path, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    subprocess.run([*SHARPEN, "export", str(run), str(folder)], check=True, timeout=120, cwd=Path(__file__).parents[1])
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert merged.num_parameters() > 1e5
    assert PeftModel.from_pretrained(merged, folder / "adapter").peft_config["default"].r == 4


def test_two_ranks_that_share_rows_make_the_run_of_one(tmp_path):
    """Samples are the same until float noise decides a token; the first step's are, and what is learned from them."""
    shared = ("learner.num_ranks=2", "learner.sequence_parallel_size=2")
    found = []
    for name, changes in (("one", ()), ("two", shared)):
        finish(start_run(SMOKE, tmp_path, "num_steps=2", f"log.name={name}", *changes))
        found.append([deterministic(row) for row in read_metrics(tmp_path / name)[1:]])
    one, two = found
    for name in ("reward/mean", "rollout/tokens", "loss/policy", "policy/entropy", "optim/grad_norm"):
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-4, abs=1e-7), name
    assert two[1]["policy/entropy"] == pytest.approx(one[1]["policy/entropy"], rel=1e-2), "of weights moved alike"
    assert all(row["loss/mismatch_kl"] < 1e-8 for row in two)


def test_engines_that_take_turns_with_the_learner_make_the_run_of_engines_of_their_own(tmp_path):
    colocated = ("ray.placement.layout=colocated", "learner.num_ranks=2", "engine.num_engines=2")
    finish(start_run(SMOKE, tmp_path, "num_steps=3", "log.name=apart", *colocated[1:]))
    finish(start_run(SMOKE, tmp_path, "num_steps=3", "log.name=together", *colocated))
    assert_same(tmp_path / "together", tmp_path / "apart")
