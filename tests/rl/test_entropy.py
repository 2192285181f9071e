"""The entropy controller, its place in the loss, and what it refuses."""

import pytest
import torch
from pydantic import ValidationError

from rl.entropy import EntropyConfig, applied_entropy_coefficient, next_entropy_coefficient
from rl.losses import LossConfig, make_policy_loss
from tests.rl.golden import COUNTS, inputs

CONFIG = EntropyConfig(adaptive=True, target=0.2, delta=0.001, max=0.002)
ENTROPY = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], dtype=torch.float64)


def test_it_moves_by_delta_and_stays_between_zero_and_max():
    states = [0.0]
    for measured in (0.1, 0.2, 0.15, 0.3, 0.3, 0.3):
        states.append(next_entropy_coefficient(states[-1], measured, CONFIG))
    assert states == pytest.approx([0.0, 0.001, 0.002, 0.002, 0.001, 0.0, 0.0])


def test_it_applies_at_or_below_the_target_only():
    assert applied_entropy_coefficient(0.001, 0.2, CONFIG) == 0.001
    assert applied_entropy_coefficient(0.001, 0.1, CONFIG) == 0.001
    assert applied_entropy_coefficient(0.001, 0.2000001, CONFIG) == 0.0
    assert applied_entropy_coefficient(0.001, float("inf"), CONFIG) == 0.0
    assert applied_entropy_coefficient(0.001, float("nan"), CONFIG) == 0.0


def test_a_fixed_coefficient_never_moves():
    fixed = EntropyConfig(coefficient=0.01)
    assert next_entropy_coefficient(0.01, 0.0, fixed) == 0.01
    assert applied_entropy_coefficient(0.01, 99.0, fixed) == 0.01


def test_the_defaults_are_those_of_the_released_script():
    assert EntropyConfig().model_dump() == {
        "coefficient": 0.0,
        "adaptive": False,
        "target": 0.2,
        "delta": 1e-4,
        "max": 5e-3,
    }


def test_a_start_above_the_bound_is_refused():
    with pytest.raises(ValidationError, match=r"coefficient is 0.01, above loss.entropy.max 0.005"):
        EntropyConfig(adaptive=True, coefficient=0.01)


def loss_and_gradient(config: EntropyConfig, applied: float | None) -> tuple[float, torch.Tensor]:
    entropy = ENTROPY.clone().requires_grad_()
    compute = make_policy_loss(LossConfig(entropy=config, correction={"mode": "none"}))
    loss, sums = compute(inputs(entropy_N=entropy), COUNTS, entropy_coefficient=applied)
    assert float(sums["policy/entropy"]) == pytest.approx(5.5)
    (gradient,) = torch.autograd.grad(loss, entropy, allow_unused=True, materialize_grads=True)
    return float(loss.detach()), gradient


def test_the_loss_falls_by_the_applied_coefficient_times_the_mean_entropy():
    without, no_gradient = loss_and_gradient(CONFIG, 0.0)
    with_bonus, gradient = loss_and_gradient(CONFIG, 0.002)
    assert with_bonus - without == pytest.approx(-0.002 * 0.55, rel=1e-5)
    torch.testing.assert_close(gradient, torch.full_like(ENTROPY, -0.002 / 10))
    assert not no_gradient.any()
    fixed, gradient = loss_and_gradient(EntropyConfig(coefficient=0.002), None)
    assert fixed == with_bonus
    assert gradient.abs().sum() > 0


def test_an_adaptive_coefficient_is_never_forgotten():
    with pytest.raises(AssertionError, match="adaptive entropy coefficient is passed"):
        loss_and_gradient(CONFIG, None)
