"""The DeepSpeed learner against plain torch, over ZeRO stages, ranks, packing and a resume."""

import pytest
import torch
from safetensors.torch import load_file

from rl.batch import PackingConfig, pack
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.losses import LossConfig, LossInputs, make_policy_loss
from rl.models import resolve_model
from rl.policy import load_policy
from tests.rl.examples import batch_of, examples

NO_CORRECTION = LossConfig(correction={"mode": "none"})
# A large eps keeps AdamW from blowing float noise up where a gradient is nearly zero.
OPTIMIZER = OptimizerConfig(lr=1e-2, eps=1e-3, max_grad_norm=0.05)


def plain_training(model: str, num_updates: int) -> tuple[dict[str, torch.Tensor], float]:
    """The same updates in plain torch: one process, one batch, no DeepSpeed."""
    policy = load_policy(resolve_model(model), dtype=torch.float32)
    loss_function = make_policy_loss(NO_CORRECTION)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.0)
    batch = pack(examples(), PackingConfig(share_prefix=False, tokens_per_micro_batch=10**6), num_ranks=1)
    (update,) = batch.updates
    ((micro,),) = update.micro_batches
    for _ in range(num_updates):
        log_probs, entropy = policy(*micro.model_inputs)
        inputs = LossInputs(
            learner_logprobs_N=log_probs,
            start_logprobs_N=log_probs.detach(),
            sampler_logprobs_N=micro.sampler_logprobs_N,
            advantages_N=micro.advantages_N,
            sequence_N=micro.sequence_N,
            length_S=micro.length_S,
            entropy_N=entropy,
        )
        optimizer.zero_grad()
        loss_function(inputs, update.counts)[0].backward()
        norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.05))
        optimizer.step()
    return {name: p.detach() for name, p in policy.model.named_parameters()}, norm


def saved_weights(folder) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for file in sorted((folder / "model").glob("*.safetensors")):
        weights |= load_file(file)
    return weights


def largest_gap(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.parametrize(
    ("stage", "ranks", "model"),
    [
        (1, 2, "package:tiny-qwen3"),
        (3, 2, "package:tiny-qwen3"),
        pytest.param(0, 2, "package:tiny-qwen3", marks=pytest.mark.slow),
        pytest.param(2, 2, "package:tiny-qwen3", marks=pytest.mark.slow),
        pytest.param(0, 1, "package:tiny-qwen3", marks=pytest.mark.slow),
        pytest.param(3, 2, "package:tiny-qwen3-untied", marks=pytest.mark.slow),
    ],
)
async def test_every_stage_trains_as_plain_torch_does(ray_cluster, tmp_path, stage, ranks, model):
    expected, norm = plain_training(model, num_updates=2)
    config = LearnerConfig(dtype="float32", zero_stage=stage, num_ranks=ranks, optimizer=OPTIMIZER, bucket_mib=1)
    async with open_learner(resolve_model(model), config, NO_CORRECTION, temperature=1.0, seed=0) as learner:
        batch = batch_of(num_ranks=ranks, tokens_per_micro_batch=64)
        assert len(batch.updates[0].micro_batches[0]) > 1, "accumulation must take part"
        await learner.update(batch)
        metrics = await learner.update(batch)
        await learner.save(tmp_path)
    assert metrics["optim/grad_norm"] == pytest.approx(norm, rel=1e-3)
    assert largest_gap(saved_weights(tmp_path), expected) < 2e-6


async def test_a_loaded_learner_goes_on_to_the_bit(ray_cluster, tmp_path):
    config = LearnerConfig(zero_stage=1, num_ranks=1, updates_per_step=2, optimizer=OptimizerConfig(lr=1e-3))
    batch = batch_of(num_ranks=1, num_updates=2)
    model = resolve_model("package:tiny-qwen3")
    async with open_learner(model, config, LossConfig(), temperature=1.0, seed=0) as learner:
        await learner.update(batch)
        await learner.save(tmp_path / "half")
        whole = await learner.update(batch)
        await learner.save(tmp_path / "whole")
    async with open_learner(model, config, LossConfig(), temperature=1.0, seed=0) as learner:
        await learner.load(tmp_path / "half")
        assert await learner.update(batch) == whole
        await learner.save(tmp_path / "resumed")
    assert largest_gap(saved_weights(tmp_path / "whole"), saved_weights(tmp_path / "resumed")) == 0
    assert whole["optim/updates"] == 4
    assert whole["loss/ratio_mean"] != 1.0, "the second update of a step must be off-policy"


async def test_packing_ranks_and_skipping_change_nothing(learner, ray_cluster):
    """The same gradient norm and metrics from the same weights, however the batch is laid out."""
    flat = examples(num_groups=6)
    flat = [e if e.prefix_id != "2" else _without_signal(e) for e in flat]
    rows = []
    layouts = [
        {"share_prefix": True},
        {"share_prefix": False},
        {"share_prefix": True, "tokens_per_row": 200},
        {"share_prefix": False, "tokens_per_row": 60},
    ]
    for packing in layouts:
        for budget in (90, 4096):
            config = PackingConfig(tokens_per_micro_batch=budget, **packing)
            rows.append(await _norm_without_step(learner, pack(flat, config, num_ranks=1)))
            rows.append(await _norm_without_step(learner, pack(flat, config, num_ranks=1, skip_flat=True)))
            rows.append(await _norm_without_step(learner, pack(flat[::-1], config, num_ranks=1)))
    assert rows == pytest.approx([rows[0]] * len(rows), rel=1e-4)
    assert rows[0] > 1e-3


def _without_signal(example):
    from dataclasses import replace

    return replace(example, advantages=(0.0,) * len(example.token_ids))


async def _norm_without_step(learner, batch) -> float:
    """The gradient norm; the weights are put back by loading what was saved before."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        await learner.save(Path(folder))
        metrics = await learner.update(batch)
        await learner.load(Path(folder))
    return metrics["optim/grad_norm"]
