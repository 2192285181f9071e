"""State in the host's memory: the learner's numbers stay what they are without."""

import pytest

from rl.deepspeed_config import deepspeed_config, frozen_config
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import resolve_model
from tests.rl.examples import batch_of
from tests.rl.test_deepspeed_learner import largest_gap, saved_weights

OPTIMIZER = OptimizerConfig(lr=1e-2, eps=1e-3, max_grad_norm=0.05)
WITH_KL = LossConfig(kl={"place": "loss", "estimator": "k3", "coefficient": 0.5})


def test_what_is_kept_where():
    def kept(offload: str, stage: int, settings=deepspeed_config) -> set[str]:
        zero = settings(LearnerConfig(zero_stage=stage, offload=offload), "bfloat16")["zero_optimization"]
        return {name for name in zero if name.startswith("offload")}

    assert kept("none", 3) == set()
    assert kept("optimizer", 1) == {"offload_optimizer"}
    assert kept("parameters", 3) == {"offload_optimizer", "offload_param"}
    assert kept("parameters", 3, frozen_config) == {"offload_param"}


@pytest.mark.parametrize(("offload", "stage", "needed"), [("optimizer", 0, 1), ("parameters", 2, 3)])
def test_a_stage_that_cannot_is_refused(offload, stage, needed):
    with pytest.raises(ValueError, match=f"offload {offload} needs zero_stage {needed} or above, not {stage}"):
        LearnerConfig(zero_stage=stage, offload=offload)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("offload", "stage", "changes"),
    [
        ("optimizer", 1, {}),
        ("optimizer", 3, {}),
        ("parameters", 3, {}),
        ("parameters", 3, {"lora": {"rank": 4, "alpha": 8}, "dtype": "bfloat16"}),
    ],
)
async def test_it_trains_as_without(ray_cluster, tmp_path, offload, stage, changes):
    rows = {}
    for place in ("none", offload):
        config = LearnerConfig(
            **{"dtype": "float32", "num_ranks": 2, "optimizer": OPTIMIZER} | changes, zero_stage=stage, offload=place
        )
        async with open_learner(resolve_model("package:tiny-qwen3"), config, WITH_KL, seed=0) as learner:
            batch = batch_of(num_ranks=2, tokens_per_micro_batch=64)
            rows[place] = [await learner.update(batch) for _ in range(3)]
            await learner.save(tmp_path / place)
    for plain, offloaded in zip(rows["none"], rows[offload], strict=True):
        assert offloaded == pytest.approx(plain, rel=1e-4, abs=1e-7)
    assert largest_gap(saved_weights(tmp_path / "none"), saved_weights(tmp_path / offload)) < 1e-6
