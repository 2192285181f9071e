"""Supervised runs as a user starts them: learning by heart, and the same run after a kill and a resume."""

import pytest

from rl.log import deterministic, read_metrics
from tests.commands import finish, kill_and_resume, start_run

SMOKE = "configs/smoke/sft.yaml"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six steps in one go."""
    folder = tmp_path_factory.mktemp("runs")
    finish(start_run(SMOKE, folder, "num_steps=6", "log.name=whole"))
    return folder / "whole"


def test_it_learns(whole):
    rows = read_metrics(whole)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert rows[6]["loss/cross_entropy"] < 0.8 * rows[1]["loss/cross_entropy"]
    assert (whole / "report.html").is_file()


def test_a_run_killed_and_resumed_is_the_same_run(whole, tmp_path):
    cut = kill_and_resume(SMOKE, tmp_path, 3, 6)
    assert list(map(deterministic, read_metrics(cut))) == list(map(deterministic, read_metrics(whole)))


@pytest.mark.slow
def test_it_evaluates_with_the_weights_it_has_learned(tmp_path):
    evals = "evals=[{suite: arithmetic, limit: 8, samples_per_prompt: 1, every_steps: 2, sampling: {max_tokens: 16}}]"
    changes = ["engine={dtype: float32, max_context_tokens: 256, kv_cache_gib: 1}", evals]
    finish(start_run(SMOKE, tmp_path, "num_steps=4", "learner.num_ranks=2", "log.name=judged", *changes))
    rows = read_metrics(tmp_path / "judged")
    assert [row["step"] for row in rows if "eval/arithmetic/avg@1" in row] == [0, 2, 4]
    assert len({row["eval/arithmetic/response_length"] for row in rows if "eval/arithmetic/response_length" in row})
