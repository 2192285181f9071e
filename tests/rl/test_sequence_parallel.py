"""Rows shared by two ranks: the same losses, gradients and weights as one rank computes."""

import pytest

from rl.batch import PackingConfig, pack
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import resolve_model
from rl.objectives import CrossEntropyConfig
from rl.pairwise import PairwiseConfig
from rl.sequence_parallel import check_sequence_parallel
from tests.rl.examples import examples
from tests.rl.test_deepspeed_learner import largest_gap, saved_weights

TINY = "package:tiny-qwen3"
# A large eps keeps AdamW from blowing float noise up where a gradient is nearly zero.
OPTIMIZER = OptimizerConfig(lr=1e-2, eps=1e-3, max_grad_norm=0.05)
WITH_KL = LossConfig(kl={"place": "loss", "estimator": "k3", "coefficient": 0.5})


async def train(folder, loss: LossConfig, **changes) -> list[dict[str, float]]:
    """Two steps of two updates on the same examples, whoever shares them."""
    config = LearnerConfig(dtype="float32", updates_per_step=2, optimizer=OPTIMIZER, bucket_mib=1, **changes)
    async with open_learner(resolve_model(TINY), config, loss, temperature=1.0, seed=0) as learner:
        # Two rows at once where there is room, and lengths that two ranks do not divide.
        packing = PackingConfig(tokens_per_row=61, tokens_per_micro_batch=130)
        batch = pack(examples(seed=3), packing, num_ranks=learner.num_ranks, num_updates=2)
        assert {m.input_ids_BT.shape[1] % 2 for u in batch.updates for r in u.micro_batches for m in r} == {0, 1}
        rows = [await learner.update(batch) for _ in range(2)]
        await learner.save(folder)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "changes"),
    [
        (WITH_KL, {"num_ranks": 2, "zero_stage": 1}),
        (WITH_KL, {"num_ranks": 2, "zero_stage": 3, "gradient_checkpointing": True}),
        (WITH_KL, {"num_ranks": 4, "zero_stage": 3, "lora": {"rank": 4, "alpha": 8}}),
    ],
)
async def test_two_ranks_share_rows_and_train_as_one(ray_cluster, tmp_path, loss, changes):
    alone = await train(tmp_path / "one", loss, lora=changes.get("lora"))
    shared = await train(tmp_path / "two", loss, sequence_parallel_size=2, **changes)
    for one, two in zip(alone, shared, strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-6)
    assert largest_gap(saved_weights(tmp_path / "one"), saved_weights(tmp_path / "two")) < 5e-6


@pytest.mark.parametrize(
    ("model", "size", "objective", "message"),
    [
        (TINY, 3, LossConfig(), "3 does not divide the 4 heads"),
        ("package:tiny-qwen3-moe", 2, LossConfig(), "has experts"),
        (TINY, 2, PairwiseConfig(), "only grpo and sft share rows"),
    ],
)
def test_what_cannot_be_shared_is_refused(model, size, objective, message):
    learner = LearnerConfig(num_ranks=size, sequence_parallel_size=size)
    with pytest.raises(ValueError, match=message):
        check_sequence_parallel(resolve_model(model), learner, objective)
    check_sequence_parallel(resolve_model(model), LearnerConfig(), objective)
    check_sequence_parallel(
        resolve_model(TINY), LearnerConfig(num_ranks=2, sequence_parallel_size=2), CrossEntropyConfig()
    )


def test_ranks_make_whole_groups():
    with pytest.raises(ValueError, match="num_ranks 3 must be a multiple of sequence_parallel_size 2"):
        LearnerConfig(num_ranks=3, sequence_parallel_size=2)
    assert LearnerConfig(num_ranks=6, sequence_parallel_size=2).num_data_ranks == 3
