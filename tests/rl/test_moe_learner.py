"""A mixture of experts in the DeepSpeed learner: balanced, replayed, saved, and served with new weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import resolve_model
from rl.objectives import Computed, make_objective
from rl.policy import load_policy
from rl.routing import ExpertRouting
from tests.rl.examples import batch_of

MOE = "package:tiny-qwen3-moe"
NO_CORRECTION = LossConfig(correction={"mode": "none"})
# A large eps keeps AdamW from blowing float noise up where a gradient is nearly zero.
OPTIMIZER = OptimizerConfig(lr=1e-2, eps=1e-3, max_grad_norm=0.0)
COEFFICIENT = 0.1


def plain_training(num_updates: int) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Updates in plain torch: one process, one micro-batch, no DeepSpeed."""
    policy = load_policy(resolve_model(MOE), dtype=torch.float32)
    routing = ExpertRouting(policy, load_balancing=COEFFICIENT)
    objective = make_objective(NO_CORRECTION)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.0)
    (update,) = batch_of(num_ranks=1, tokens_per_micro_batch=10**6, share_prefix=False).updates
    ((micro,),) = update.micro_batches
    metrics = []
    for _ in range(num_updates):
        for final in (False, True):
            with routing.watch(micro, 1.0, final=final):
                logprobs_N, entropy_N = policy(*micro.model_inputs)
            if not final:
                routing.fix_counts(1)
        loss, _ = objective(micro, Computed(logprobs_N=logprobs_N, entropy_N=entropy_N), update.counts)
        optimizer.zero_grad()
        (loss + routing.loss()).backward()
        optimizer.step()
        routing.end_update()
        metrics.append(routing.metrics())
    return {name: p.detach() for name, p in policy.model.named_parameters()}, metrics


@pytest.mark.parametrize(
    ("stage", "ranks"),
    [
        (1, 1),
        pytest.param(3, 2, marks=pytest.mark.slow),
        pytest.param(1, 2, marks=pytest.mark.slow),
        pytest.param(2, 2, marks=pytest.mark.slow),
        pytest.param(0, 2, marks=pytest.mark.slow),
    ],
)
async def test_it_trains_as_plain_torch_does(ray_cluster, tmp_path, stage, ranks):
    expected, rows = plain_training(num_updates=2)
    config = LearnerConfig(
        dtype="float32",
        zero_stage=stage,
        num_ranks=ranks,
        optimizer=OPTIMIZER,
        bucket_mib=1,
        load_balancing=COEFFICIENT,
    )
    batch = batch_of(num_ranks=ranks, tokens_per_micro_batch=64)
    assert len(batch.updates[0].micro_batches[0]) > 1, "accumulation must take part"
    async with open_learner(resolve_model(MOE), config, NO_CORRECTION, temperature=1.0, seed=0) as learner:
        learned = [await learner.update(batch) for _ in rows]
        await learner.save(tmp_path)
    for metrics, row in zip(learned, rows, strict=True):
        assert {name: metrics[name] for name in row} == pytest.approx(row, rel=1e-4)
    saved = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).named_parameters())
    assert saved.keys() == expected.keys()
    assert max(float((saved[name] - expected[name]).abs().max()) for name in saved) < 5e-6


async def test_replay_in_the_updates_of_a_step(ray_cluster):
    """The counts of a replayed update are those of its start, of a free one those of the moved weights."""
    loads = {}
    for replay in ("none", "start"):
        config = LearnerConfig(
            dtype="float32",
            updates_per_step=2,
            optimizer=OptimizerConfig(lr=5e-2),
            load_balancing=0.01,
            routing_replay=replay,
        )
        # The same update twice: at the second one only the weights differ.
        batch = batch_of(num_ranks=1, tokens_per_micro_batch=64)
        batch = type(batch)(updates=batch.updates * 2, packing=batch.packing)
        async with open_learner(resolve_model(MOE), config, LossConfig(), temperature=1.0, seed=0) as learner:
            loads[replay] = (await learner.update(batch))["moe/max_load"]
    _, rows = plain_training(num_updates=1)
    assert loads["start"] == pytest.approx(rows[0]["moe/max_load"])
    assert loads["none"] != pytest.approx(rows[0]["moe/max_load"], rel=1e-3)
