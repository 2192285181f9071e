"""Parity with verl's own functions where both define the same thing."""

import numpy as np
import pytest
import torch

from rl.advantages import make_advantage
from rl.divergence import estimate_kl
from rl.losses import LossConfig, make_policy_loss
from tests.rl.golden import COUNTS, LENGTHS, inputs

core_algos = pytest.importorskip("verl.trainer.ppo.core_algos")


def padded(stream_N: torch.Tensor) -> torch.Tensor:
    rows = torch.split(stream_N.detach(), LENGTHS)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def verl_loss(name: str, mode: str, **settings) -> float:
    from verl.workers.config import ActorConfig

    config = ActorConfig(strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=4, use_dynamic_bsz=True, **settings)
    given = inputs(dtype=torch.float32)
    mask = padded(torch.ones(10))
    loss, _ = core_algos.get_policy_loss_fn(name)(
        old_log_prob=padded(given.start_logprobs_N),
        log_prob=padded(given.learner_logprobs_N),
        advantages=padded(given.advantages_N),
        response_mask=mask,
        loss_agg_mode=mode,
        config=config,
    )
    return float(loss)


def ours(**settings) -> float:
    config = LossConfig(correction={"mode": "none"}, **settings)
    return float(make_policy_loss(config)(inputs(dtype=torch.float32), COUNTS)[0])


@pytest.mark.parametrize(
    ("mode", "aggregation"),
    [("token-mean", "token_mean"), ("seq-mean-token-mean", "sequence_mean"), ("seq-mean-token-sum", "sequence_sum")],
)
def test_clipped_loss(mode, aggregation):
    expected = verl_loss("vanilla", mode, clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.28, clip_ratio_c=3.0)
    assert ours(aggregation=aggregation) == pytest.approx(expected, abs=1e-6)


def test_gspo():
    expected = verl_loss("gspo", "seq-mean-token-mean", clip_ratio_low=3e-4, clip_ratio_high=4e-4)
    assert ours(name="gspo") == pytest.approx(expected, abs=1e-6)


def test_cispo():
    expected = verl_loss("cispo", "token-mean", clip_ratio_low=1.0, clip_ratio_high=0.2)
    assert ours(name="cispo", clip_high=0.2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "estimator"), [("kl", "k1"), ("mse", "k2"), ("low_var_kl", "k3")])
def test_kl(name, estimator):
    left, right = torch.tensor([-1.0, -0.2, -3.0]), torch.tensor([-1.5, -0.1, -2.0])
    torch.testing.assert_close(estimate_kl(left, right, estimator), core_algos.kl_penalty(left, right, name))


@pytest.mark.parametrize(
    ("name", "function"),
    [("grpo", "compute_grpo_outcome_advantage"), ("rloo", "compute_rloo_outcome_advantage")],
)
def test_advantages(name, function):
    scores = [[1.0, 0.0, 0.0, 1.0], [0.2, 0.9, 0.4, 0.1]]
    rewards = torch.zeros(8, 3)
    rewards[:, -1] = torch.tensor(scores).flatten()
    index = np.array([0] * 4 + [1] * 4, dtype=object)
    expected, _ = getattr(core_algos, function)(rewards, torch.ones(8, 3), index)
    got = [value for group in make_advantage(name)(scores) for value in group]
    assert got == pytest.approx(expected[:, 0].tolist(), abs=1e-5)


def test_importance_weights():
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights

    from rl.correction import CorrectionConfig, correction_weights

    given = inputs(with_gap=True, dtype=torch.float32)
    log_ratio = padded(given.start_logprobs_N - given.sampler_logprobs_N)
    mask = padded(torch.ones(10))
    for level in ("token", "sequence"):
        expected, _ = compute_rollout_correction_weights(log_ratio, mask, level, 2.0)
        config = CorrectionConfig(level=level)
        got, _ = correction_weights(
            given.start_logprobs_N, given.sampler_logprobs_N, given.sequence_N, given.length_S, config
        )
        torch.testing.assert_close(padded(got), expected * mask)
