"""Importance correction: weights on literal vectors, what a bound does, and what the modes mean for the loss."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from rl.correction import CorrectionConfig, correction_weights
from rl.losses import LossConfig, LossInputs, make_policy_loss, metric_values
from rl.types import UpdateCounts
from tests.rl.golden import COUNTS, LENGTHS, inputs

# exp of the gap between start and sampler: [.1, -.2], [.9, 0, -.05, .02], [-.8, .1, .05], [0]
RHO = [1.105171, 0.818731, 2.459603, 1.0, 0.951229, 1.020201, 0.449329, 1.105171, 1.051271, 1.0]


def weights(**config) -> tuple[list[float], list[bool]]:
    given = inputs(with_gap=True)
    rho_N, bounded_N = correction_weights(
        given.start_logprobs_N, given.sampler_logprobs_N, given.sequence_N, given.length_S, CorrectionConfig(**config)
    )
    return rho_N.tolist(), bounded_N.tolist()


def spread(values: list) -> list:
    return [value for value, length in zip(values, LENGTHS, strict=True) for _ in range(length)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"high": 10.0}, RHO),
        ({"high": 2.0}, [*RHO[:2], 2.0, *RHO[3:]]),
        ({"kind": "mask", "low": 0.5, "high": 2.0}, [*RHO[:2], 0.0, *RHO[3:6], 0.0, *RHO[7:]]),
        ({"level": "sequence", "high": 10.0}, spread([0.904837, 2.386911, 0.522046, 1.0])),
        ({"level": "sequence", "high": 2.0}, spread([0.904837, 2.0, 0.522046, 1.0])),
        ({"level": "sequence", "kind": "mask", "high": 2.0}, spread([0.904837, 0.0, 0.522046, 1.0])),
        ({"level": "geometric", "high": 10.0}, spread([0.951229, 1.242965, 0.805198, 1.0])),
        ({"level": "geometric", "high": 1.2}, spread([0.951229, 1.2, 0.805198, 1.0])),
        ({"level": "geometric", "kind": "mask", "low": 0.9, "high": 1.2}, spread([0.951229, 0.0, 0.0, 1.0])),
    ],
)
def test_weights(config, expected):
    rho, bounded = weights(**config)
    assert rho == pytest.approx(expected, abs=1e-6)
    free, _ = weights(level=config.get("level", "token"), high=1e9)
    assert bounded == [abs(now - before) > 1e-9 for now, before in zip(rho, free, strict=True)]


def test_bounds_are_inclusive():
    log_2 = torch.tensor([2.0]).log()
    one = torch.tensor([0]), torch.tensor([1])
    rho_N, bounded_N = correction_weights(log_2, torch.zeros(1), *one, CorrectionConfig(kind="mask", low=2, high=2))
    assert rho_N.tolist() == [2.0]
    assert bounded_N.tolist() == [False]


@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_no_gradient_runs_through_a_weight(level):
    start = torch.tensor([-1.0, -2.0], requires_grad=True)
    rho_N, _ = correction_weights(
        start, torch.zeros(2), torch.tensor([0, 0]), torch.tensor([2]), CorrectionConfig(level=level)
    )
    assert not rho_N.requires_grad


@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
@pytest.mark.parametrize("gap", [-1e4, 1e4, float("-inf"), float("inf")])
def test_a_monster_gap_is_a_finite_weight(level, gap):
    """A hundred tokens of it too: e^(100 · 20) is not a float32."""
    start, sampler = torch.full((100,), -1.0), torch.full((100,), -1.0 - gap)
    config = CorrectionConfig(level=level, high=float("inf"))
    rho_N, _ = correction_weights(start, sampler, torch.zeros(100, dtype=torch.long), torch.tensor([100]), config)
    assert torch.isfinite(rho_N).all()
    assert rho_N.dtype == torch.float32


def test_bypass_takes_the_ratio_against_the_sampler_and_no_weight():
    given = inputs(with_gap=True)
    bypass, sums = make_policy_loss(LossConfig(correction={"mode": "bypass"}))(given, COUNTS)
    as_start = replace(given, start_logprobs_N=given.sampler_logprobs_N)
    plain, _ = make_policy_loss(LossConfig(correction={"mode": "none"}))(as_start, COUNTS)
    assert float(bypass) == float(plain)
    assert not any(name.startswith("correction/") for name in sums)


def test_without_a_gap_the_modes_are_one_loss():
    losses = {float(make_policy_loss(LossConfig(correction={"mode": mode}))(inputs(), COUNTS)[0])
              for mode in ("decoupled", "bypass", "none")}  # fmt: skip
    assert len(losses) == 1


def test_a_masked_token_stays_in_the_denominator():
    """Two tokens, ratio 1, A = 1: the first is masked (ρ = 3), so the mean over two is half of the other's."""
    start = torch.tensor([-1.0, -1.0])
    given = LossInputs(
        learner_logprobs_N=start.clone().requires_grad_(),
        start_logprobs_N=start,
        sampler_logprobs_N=start - torch.tensor([3.0, 1.0]).log(),
        advantages_N=torch.ones(2),
        sequence_N=torch.tensor([0, 1]),
        length_S=torch.tensor([1, 1]),
    )
    config = LossConfig(correction={"kind": "mask", "low": 0.5})
    loss, _ = make_policy_loss(config)(given, UpdateCounts(num_tokens=2, num_sequences=2))
    (gradient,) = torch.autograd.grad(loss, given.learner_logprobs_N)
    assert float(loss) == -0.5
    assert gradient.tolist() == [0.0, -0.5]


def test_all_tokens_masked_is_a_zero_and_not_a_nan():
    given = inputs(with_gap=True)
    loss, sums = make_policy_loss(LossConfig(correction={"kind": "mask", "low": 50, "high": 60}))(given, COUNTS)
    values = metric_values({name: float(value) for name, value in sums.items()})
    assert float(loss.detach()) == 0
    assert values["correction/mask_rate"] == 1
    assert values["correction/ess"] == 0
    assert not torch.autograd.grad(loss, given.learner_logprobs_N)[0].any()


def test_metrics_of_the_gap():
    _, sums = make_policy_loss(LossConfig())(inputs(with_gap=True), COUNTS)
    values = metric_values({name: float(value) for name, value in sums.items()})
    applied = [*RHO[:2], 2.0, *RHO[3:]]
    assert values["correction/weight_mean"] == pytest.approx(sum(applied) / 10, abs=1e-6)
    assert values["correction/truncate_rate"] == pytest.approx(0.1)
    assert values["correction/ess"] == pytest.approx(sum(applied) ** 2 / (10 * sum(r * r for r in applied)), abs=1e-6)
    # k3 of KL(sampler ‖ start) is the mean of ρ − 1 − ln ρ, of the unbounded ρ: the gaps add up to 0.12.
    assert values["loss/mismatch_kl"] == pytest.approx((sum(RHO) - 10 - 0.12) / 10, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"low": 3.0, "high": 2.0, "kind": "mask"}, "above correction.high"),
        ({"low": 0.5}, "truncation has no lower bound"),
        ({"hihg": 2.0}, "Extra inputs"),
    ],
)
def test_a_config_that_means_nothing_is_refused(config, complaint):
    with pytest.raises(ValidationError, match=complaint):
        CorrectionConfig(**config)
