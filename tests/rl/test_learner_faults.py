"""The real learner when a rank dies or hangs, and when a gradient is no number."""

import asyncio
import math
import os
import signal
from dataclasses import replace

import psutil
import pytest

from rl.faults import LearnerLost, RunStopped
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import resolve_model
from tests.rl.examples import batch_of
from tests.rl.test_deepspeed_learner import largest_gap, saved_weights

TWO_RANKS = LearnerConfig(dtype="float32", num_ranks=2, optimizer=OptimizerConfig(lr=1e-2), update_timeout_s=20)


def open_tiny(config: LearnerConfig):
    return open_learner(resolve_model("package:tiny-qwen3"), config, LossConfig(), seed=0)


async def process_of(worker) -> psutil.Process:
    return psutil.Process(await worker.__ray_call__.remote(lambda _: os.getpid()))


async def is_gone(process: psutil.Process, limit_s: float) -> bool:
    return await asyncio.to_thread(lambda: not psutil.wait_procs([process], timeout=limit_s)[1])


def poisoned(batch, rank: int):
    """The batch with one advantage of one rank that is no number."""
    (update,) = batch.updates
    ranks = [list(micro_batches) for micro_batches in update.micro_batches]
    advantages = ranks[rank][0].advantages_N.clone()
    advantages[0] = math.nan
    ranks[rank][0] = replace(ranks[rank][0], advantages_N=advantages)
    return replace(batch, updates=[replace(update, micro_batches=tuple(map(tuple, ranks)))])


@pytest.mark.slow
@pytest.mark.parametrize("call", ["update", "save"])
async def test_a_killed_rank_is_named(ray_cluster, tmp_path, call):
    async with open_tiny(TWO_RANKS) as learner:
        batch = batch_of(num_ranks=2)
        await learner.update(batch)
        os.kill((await process_of(learner.group.workers[1])).pid, signal.SIGKILL)
        what = learner.update(batch) if call == "update" else learner.save(tmp_path)
        with pytest.raises(LearnerLost, match=r"learner rank 1 is gone, in the learner's (update|checkpoint)"):
            await asyncio.wait_for(what, 15)  # below the limit of a hang


@pytest.mark.slow
async def test_a_rank_that_hangs_is_noticed_and_ended(ray_cluster):
    config = TWO_RANKS.model_copy(update={"update_timeout_s": 3})
    async with open_tiny(config) as learner:
        stopped = await process_of(learner.group.workers[1])
        stopped.suspend()
        with pytest.raises(LearnerLost, match=r"the learner's update did not answer within 3 s .learner.update_timeo"):
            await learner.update(batch_of(num_ranks=2))
    assert await is_gone(stopped, 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "dtype"),
    [(0, "float32"), (1, "float32"), (2, "float32"), (3, "float32"), (0, "bfloat16"), (1, "bfloat16")],
)
async def test_a_gradient_that_is_no_number_changes_nothing(ray_cluster, tmp_path, stage, dtype):
    config = TWO_RANKS.model_copy(update={"zero_stage": stage, "dtype": dtype})
    async with open_tiny(config) as learner:
        batch = batch_of(num_ranks=2, tokens_per_micro_batch=64)
        await learner.update(batch)
        await learner.save(tmp_path / "before")
        skipped = await learner.update(poisoned(batch, rank=1))
        assert skipped["optim/skipped"] == 1
        assert math.isnan(skipped["optim/grad_norm"])
        await learner.save(tmp_path / "after")
        clean = await learner.update(batch)
        await learner.save(tmp_path / "on")
        await learner.load(tmp_path / "before")
        await learner.update(batch)
        await learner.save(tmp_path / "without")
        for _ in range(2):
            await learner.update(poisoned(batch, rank=0))
        with pytest.raises(RunStopped, match=r"^3 updates in a row, up to number 5, .* not finite"):
            await learner.update(poisoned(batch, rank=0))
        await learner.save(tmp_path / "stopped")
    assert (clean["optim/skipped"], clean["optim/updates"]) == (0, 3)
    weights = {path.name: saved_weights(path) for path in tmp_path.iterdir()}
    assert largest_gap(weights["before"], weights["after"]) == 0
    assert largest_gap(weights["on"], weights["without"]) == 0, "the optimizer's moments are untouched, too"
    assert largest_gap(weights["without"], weights["stopped"]) == 0
    assert largest_gap(weights["before"], weights["on"]) > 0


async def test_one_rank_skips_it_too(learner, tmp_path):
    """The session's learner is left as it was found."""
    await learner.save(tmp_path / "before")
    skipped = await learner.update(poisoned(batch_of(num_ranks=1), rank=0))
    await learner.save(tmp_path / "after")
    await learner.load(tmp_path / "before")
    assert skipped["optim/skipped"] == 1
    assert largest_gap(saved_weights(tmp_path / "before"), saved_weights(tmp_path / "after")) == 0


def test_an_update_that_is_no_number_is_counted_in_no_mean():
    from rl.finite_updates import UpdateCounter

    counter = UpdateCounter()
    norms = [2.0, math.nan, math.inf, 4.0]
    for norm in norms:
        counter.count(norm)
    assert counter.metrics(norms) == {"optim/grad_norm": 3.0, "optim/updates": 4, "optim/skipped": 2}
    counter.count(math.nan)
    resumed = UpdateCounter()
    resumed.load(counter.state())
    resumed.count(math.nan)
    with pytest.raises(FloatingPointError, match="3 updates in a row, up to number 7"):
        resumed.count(math.nan)
