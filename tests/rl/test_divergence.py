"""What each KL estimator's gradient is, by exact expectation over a small categorical policy."""

import pytest
import torch
from pydantic import ValidationError

from rl.divergence import KLConfig, estimate_kl, kl_to_go

LOGITS = torch.tensor([0.3, -0.2, 1.1, 0.0, -0.7], dtype=torch.float64)
FROZEN = torch.tensor([0.0, 0.4, 0.2, -0.5, 0.1], dtype=torch.float64).log_softmax(0)


@pytest.mark.parametrize(("estimator", "value"), [("k1", 0.5), ("k2", 0.125), ("k3", 0.106531)])
def test_golden(estimator, value):
    logprob, frozen = torch.tensor([-1.0]), torch.tensor([-1.5])
    assert float(estimate_kl(logprob, frozen, estimator)) == pytest.approx(value, abs=1e-6)


def gradient_of(function) -> torch.Tensor:
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(function(logits.log_softmax(0)), logits)[0]


def reverse(policy):
    return (policy.exp() * (policy - FROZEN)).sum()


def forward(policy):
    return (FROZEN.exp() * (FROZEN - policy)).sum()


@pytest.mark.parametrize(
    ("estimator", "whose"), [("k1", lambda policy: policy.sum() * 0), ("k2", reverse), ("k3", forward)]
)
def test_mean_gradient_as_a_loss(estimator, whose):
    sampled = gradient_of(lambda policy: (policy.exp().detach() * estimate_kl(policy, FROZEN, estimator)).sum())
    torch.testing.assert_close(sampled, gradient_of(whose), atol=1e-12, rtol=1e-9)


def test_k1_in_the_reward_gives_the_sequence_gradient_of_the_reverse_kl():
    """Two steps, the second distribution depends on the first token: exact over all nine sequences."""
    torch.manual_seed(0)
    first, second = torch.randn(3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    frozen_first = torch.randn(3, dtype=torch.float64).log_softmax(0)
    frozen_second = torch.randn(3, 3, dtype=torch.float64).log_softmax(1)
    parameters = [first.requires_grad_(), second.requires_grad_()]

    def log_probs(a: int, b: int) -> torch.Tensor:
        return torch.stack([first.log_softmax(0)[a], second.log_softmax(1)[a, b]])

    exact = score_function = torch.zeros((), dtype=torch.float64)
    for a in range(3):
        for b in range(3):
            policy, frozen = log_probs(a, b), torch.stack([frozen_first[a], frozen_second[a, b]])
            exact = exact + policy.sum().exp() * (policy.sum() - frozen.sum())
            to_go = kl_to_go(policy.detach(), frozen, torch.tensor([0, 0]), torch.tensor([2]))
            score_function = score_function + policy.sum().exp().detach() * (to_go * policy).sum()
    wanted = torch.autograd.grad(exact, parameters, retain_graph=True)
    got = torch.autograd.grad(score_function, parameters)
    for left, right in zip(got, wanted, strict=True):
        torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-9)


def test_k1_as_a_loss_is_refused():
    with pytest.raises(ValidationError, match="expected gradient of zero"):
        KLConfig(place="loss", estimator="k1")
