"""Parity with verl's own functions where both define the same thing."""

import importlib

import numpy as np
import pytest
import torch

from rl.advantages import make_advantage
from rl.correction import CorrectionConfig, correction_weights
from rl.divergence import estimate_kl
from rl.losses import LossConfig, LossInputs, make_policy_loss, metric_values
from rl.types import UpdateCounts
from tests.rl.golden import COUNTS, LENGTHS, inputs

core_algos = importlib.import_module("verl.trainer.ppo.core_algos")


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


def random_batch(seed: int):
    """Forty ragged sequences with ratios and gaps of all sizes; one advantage a sequence, as verl's GSPO assumes."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (40,), generator=generator)
    sequence, total = torch.repeat_interleave(torch.arange(40), lengths), int(lengths.sum())
    draw = lambda n, scale: torch.randn(n, generator=generator) * scale  # noqa: E731
    start = -draw(total, 1.0).abs()
    given = LossInputs(
        learner_logprobs_N=(start + draw(total, 0.4)).requires_grad_(),
        start_logprobs_N=start,
        sampler_logprobs_N=start - draw(total, 0.4),
        advantages_N=draw(40, 1.0)[sequence],
        sequence_N=sequence,
        length_S=lengths,
    )
    return given, UpdateCounts(num_tokens=total, num_sequences=40)


def rows(stream_N: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(torch.split(stream_N, lengths.tolist()), batch_first=True)


SETTINGS = [
    ("vanilla", {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28, "clip_ratio_c": 1.5}, {"dual_clip": 1.5}),
    ("gspo", {"clip_ratio_low": 0.1, "clip_ratio_high": 0.2}, {"name": "gspo", "clip_low": 0.1, "clip_high": 0.2}),
    ("cispo", {"clip_ratio_low": 10.0, "clip_ratio_high": 0.2}, {"name": "cispo", "clip_high": 0.2}),
]
MODES = [
    ("token-mean", {"aggregation": "token_mean"}),
    ("seq-mean-token-mean", {"aggregation": "sequence_mean"}),
    ("seq-mean-token-sum", {"aggregation": "sequence_sum"}),
    ("seq-mean-token-sum-norm", {"aggregation": "constant_length", "max_length": 16}),
]
# verl's rollout_is level and threshold against our correction; a "low_high" threshold is IcePop.
WEIGHTS = [
    ("token", 1.2, {"level": "token", "high": 1.2}),
    ("token", "0.7_1.5", {"level": "token", "kind": "mask", "low": 0.7, "high": 1.5}),
    ("sequence", 1.2, {"level": "sequence", "high": 1.2}),
    ("sequence", "0.5_2.0", {"level": "sequence", "kind": "mask", "low": 0.5, "high": 2.0}),
]


@pytest.mark.parametrize(("level", "threshold", "correction"), WEIGHTS)
@pytest.mark.parametrize(("mode", "aggregation"), MODES)
@pytest.mark.parametrize(("name", "theirs", "mine"), SETTINGS)
def test_gradients_with_importance_weights(name, theirs, mine, mode, aggregation, level, threshold, correction):
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights
    from verl.workers.config import ActorConfig

    given, counts = random_batch(1)
    loss, sums = make_policy_loss(LossConfig(correction=correction, **mine, **aggregation))(given, counts)
    (gradient,) = torch.autograd.grad(loss, given.learner_logprobs_N)

    lengths = given.length_S
    mask = rows(torch.ones(counts.num_tokens), lengths)
    own = rows(given.learner_logprobs_N.detach(), lengths).requires_grad_()
    start = rows(given.start_logprobs_N, lengths)
    gap = start - rows(given.sampler_logprobs_N, lengths)
    weights, metrics = compute_rollout_correction_weights(gap, mask, level, threshold)
    config = ActorConfig(
        strategy="fsdp", rollout_n=4, use_dynamic_bsz=True, global_batch_info={"loss_scale_factor": 16}, **theirs
    )
    expected, theirs_seen = core_algos.get_policy_loss_fn(name)(
        start, own, rows(given.advantages_N, lengths), mask, mode, config, weights
    )
    (wanted,) = torch.autograd.grad(expected, own)
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
    torch.testing.assert_close(rows(gradient, lengths), wanted * mask, atol=1e-7, rtol=1e-4)
    seen = metric_values({key: float(value) for key, value in sums.items()})
    assert seen["loss/clip_rate"] == pytest.approx(theirs_seen["actor/pg_clipfrac"], abs=1e-6)
    assert seen["correction/ess"] == pytest.approx(metrics["rollout_is_eff_sample_size"], rel=1e-4)
    if name == "vanilla":
        assert seen["loss/dual_clip_rate"] == pytest.approx(theirs_seen["actor/pg_clipfrac_lower"], abs=1e-6)
        assert seen["loss/dual_clip_rate"] > 0


@pytest.mark.parametrize(
    ("option", "level", "low", "high"),
    [("token_k1", "token", 0.7, 1.5), ("seq_sum_k1", "sequence", 0.5, 3.0), ("seq_mean_k1", "geometric", 0.9, 1.2)],
)
def test_rejection_masks(option, level, low, high):
    """verl's k1 is log sampler − log learner, so its band is the reciprocal of ours; seq_mean_k1 is Geo-RS."""
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_rejection_mask

    given, counts = random_batch(2)
    lengths = given.length_S
    gap = rows(given.start_logprobs_N - given.sampler_logprobs_N, lengths)
    mask = rows(torch.ones(counts.num_tokens), lengths)
    kept, _ = compute_rollout_rejection_mask(gap, mask, option, f"{1 / high}_{1 / low}")
    config = CorrectionConfig(level=level, kind="mask", low=low, high=high)
    rho_N, outside_N = correction_weights(
        given.start_logprobs_N, given.sampler_logprobs_N, given.sequence_N, lengths, config
    )
    assert torch.equal(rows((~outside_N).float(), lengths), kept)
    assert torch.equal(rho_N == 0, outside_N)
    assert 0 < float(kept.sum()) < counts.num_tokens


def test_mismatch_kl():
    from verl.trainer.ppo.rollout_corr_helper import compute_offpolicy_metrics

    given, counts = random_batch(3)
    streams = [
        rows(s, given.length_S)
        for s in (given.start_logprobs_N, given.sampler_logprobs_N, torch.ones(len(given.sequence_N)))
    ]
    _, sums = make_policy_loss(LossConfig())(given, counts)
    assert float(sums["loss/mismatch_kl"]) / counts.num_tokens == pytest.approx(
        compute_offpolicy_metrics(*streams)["k3_kl"], rel=1e-4
    )


@pytest.mark.parametrize("name", ["k2", "k3"])
def test_gradients_of_kl(name):
    left = torch.tensor([-1.0, -0.2, -3.0], requires_grad=True)
    right = torch.tensor([-1.5, -0.1, -2.0])
    mine = torch.autograd.grad(estimate_kl(left, right, name).sum(), left)[0]
    torch.testing.assert_close(mine, torch.autograd.grad(core_algos.kl_penalty(left, right, name).sum(), left)[0])
