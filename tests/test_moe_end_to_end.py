"""Runs of a mixture of experts as a user starts them: supervised with balance, and RL with replay."""

import pytest

from rl.log import read_metrics
from tests.commands import finish, start_run

pytestmark = pytest.mark.slow

MOE_METRICS = {"moe/load_balancing_loss", "moe/max_load", "moe/dead_experts_rate"}


def rows_of(folder) -> list[dict[str, float]]:
    return [row for row in read_metrics(folder) if row["step"] > 0]


def test_it_learns_and_balances(tmp_path):
    finish(
        start_run("configs/smoke/moe.yaml", tmp_path, "num_steps=6", "log.name=balanced", "learner.load_balancing=0.3")
    )
    finish(start_run("configs/smoke/moe.yaml", tmp_path, "num_steps=6", "log.name=free", "learner.load_balancing=0"))
    on, off = rows_of(tmp_path / "balanced"), rows_of(tmp_path / "free")
    assert all(row.keys() >= MOE_METRICS for row in on + off)
    assert on[-1]["loss/cross_entropy"] < 0.8 * on[0]["loss/cross_entropy"]
    name = "moe/load_balancing_loss"
    assert on[0][name] == pytest.approx(off[0][name], rel=1e-5), "the same weights and the same batch"
    assert on[-1][name] < off[-1][name]


def test_rl_samples_from_the_engine_and_replays(tmp_path):
    finish(start_run("configs/smoke/moe_grpo.yaml", tmp_path, "num_steps=3", "log.name=rl"))
    rows = rows_of(tmp_path / "rl")
    assert all(row.keys() >= MOE_METRICS for row in rows)
    # Engine and learner agree at every step, after each weight update too.
    assert all(row["loss/mismatch_kl"] < 1e-8 for row in rows)
    assert any(row["optim/grad_norm"] > 0 for row in rows)
