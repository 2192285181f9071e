"""The KL terms through the whole policy loss, by exact expectation over every sample that there is."""

import pytest
import torch

from rl.losses import LossConfig, LossInputs, make_policy_loss
from rl.types import UpdateCounts

ONE = UpdateCounts(num_tokens=1, num_sequences=1)
LOGITS = torch.tensor([0.3, -0.2, 1.1, 0.0, -0.7], dtype=torch.float64)
FROZEN = torch.tensor([0.0, 0.4, 0.2, -0.5, 0.1], dtype=torch.float64).log_softmax(0)
BEHAVIOUR = torch.tensor([-0.3, 0.5, 0.4, 0.2, 0.0], dtype=torch.float64).log_softmax(0)


def gradient_of(function) -> torch.Tensor:
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(function(logits.log_softmax(0)), logits)[0]


def reverse(policy: torch.Tensor) -> torch.Tensor:
    return (policy.exp() * (policy - FROZEN)).sum()


def forward(policy: torch.Tensor) -> torch.Tensor:
    return (FROZEN.exp() * (FROZEN - policy)).sum()


def expected_gradient(kl: dict, sampled_from: torch.Tensor | None, mode: str = "none") -> torch.Tensor:
    """Σ over tokens of their probability times the gradient of the loss on that one token, without advantage."""
    compute = make_policy_loss(LossConfig(kl={"coefficient": 1.0} | kl, correction={"mode": mode, "high": 1e9}))

    def mean_loss(policy: torch.Tensor) -> torch.Tensor:
        behaviour = policy.detach() if sampled_from is None else sampled_from
        total = torch.zeros((), dtype=torch.float64)
        for token in range(5):
            one = LossInputs(
                learner_logprobs_N=policy[token : token + 1],
                start_logprobs_N=policy[token : token + 1].detach() + 0.1
                if mode == "decoupled"
                else behaviour[[token]],
                sampler_logprobs_N=behaviour[[token]],
                advantages_N=torch.zeros(1, dtype=torch.float64),
                sequence_N=torch.tensor([0]),
                length_S=torch.tensor([1]),
                frozen_logprobs_N=FROZEN[[token]],
            )
            total = total + behaviour[token].exp() * compute(one, ONE)[0]
        return total

    return gradient_of(mean_loss)


@pytest.mark.parametrize(
    ("kl", "whose"),
    [
        ({"place": "reward"}, reverse),
        ({"place": "loss", "estimator": "k2"}, reverse),
        ({"place": "loss", "estimator": "k3"}, forward),
        ({"place": "loss", "estimator": "k2", "importance": True}, reverse),
        ({"place": "loss", "estimator": "k3", "importance": True}, reverse),
    ],
)
def test_on_policy(kl, whose):
    torch.testing.assert_close(expected_gradient(kl, None), gradient_of(whose), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
@pytest.mark.parametrize("mode", ["bypass", "none", "decoupled"])
def test_off_policy_with_importance_it_is_the_reverse_kl(estimator, mode):
    """Decoupled: ratio over a third policy, times the weight of that one over the sampler."""
    kl = {"place": "loss", "estimator": estimator, "importance": True}
    got = expected_gradient(kl, BEHAVIOUR, mode)
    torch.testing.assert_close(got, gradient_of(reverse), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize(("estimator", "whose"), [("k2", reverse), ("k3", forward)])
def test_off_policy_without_importance_it_is_no_kl_at_all(estimator, whose):
    got = expected_gradient({"place": "loss", "estimator": estimator}, BEHAVIOUR)
    assert not torch.allclose(got, gradient_of(whose), atol=1e-3)


class TwoSteps:
    """A policy over two tokens of three, the second of which depends on the first."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.parameters = [draw(3).requires_grad_(), draw(3, 3).requires_grad_()]
        self.frozen = [draw(3).log_softmax(0), draw(3, 3).log_softmax(1)]
        self.sequences = [(a, b) for a in range(3) for b in range(3)]

    def logprobs(self, a: int, b: int) -> torch.Tensor:
        first, second = self.parameters
        return torch.stack([first.log_softmax(0)[a], second.log_softmax(1)[a, b]])

    def frozen_logprobs(self, a: int, b: int) -> torch.Tensor:
        return torch.stack([self.frozen[0][a], self.frozen[1][a, b]])

    def gradient(self, value: torch.Tensor) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, self.parameters)])

    def loss_gradient(self, kl: dict) -> torch.Tensor:
        """The exact mean over all sequences of the gradient of the loss without advantages."""
        compute = make_policy_loss(
            LossConfig(aggregation="sequence_sum", correction={"mode": "none"}, kl={"coefficient": 1.0} | kl)
        )
        total = torch.zeros((), dtype=torch.float64)
        for a, b in self.sequences:
            own = self.logprobs(a, b)
            inputs = LossInputs(
                learner_logprobs_N=own,
                start_logprobs_N=own.detach(),
                sampler_logprobs_N=own.detach(),
                advantages_N=torch.zeros(2, dtype=torch.float64),
                sequence_N=torch.tensor([0, 0]),
                length_S=torch.tensor([2]),
                frozen_logprobs_N=self.frozen_logprobs(a, b),
            )
            total = total + own.sum().exp().detach() * compute(inputs, ONE)[0]
        return self.gradient(total)

    def kl(self, *, detach_prefix: bool) -> torch.Tensor:
        first, second = (p.log_softmax(-1) for p in self.parameters)
        prefix = first.exp().detach() if detach_prefix else first.exp()
        later = prefix @ (second.exp() * (second - self.frozen[1])).sum(1)
        return (first.exp() * (first - self.frozen[0])).sum() + later


def test_k1_in_the_reward_is_the_whole_sequence_gradient():
    model = TwoSteps()
    exact = model.gradient(model.kl(detach_prefix=False))
    torch.testing.assert_close(model.loss_gradient({"place": "reward"}), exact, atol=1e-9, rtol=1e-7)


def test_k2_in_the_loss_is_the_part_that_does_not_run_through_later_tokens():
    model = TwoSteps()
    got = model.loss_gradient({"place": "loss", "estimator": "k2"})
    torch.testing.assert_close(got, model.gradient(model.kl(detach_prefix=True)), atol=1e-9, rtol=1e-7)
    assert not torch.allclose(got, model.gradient(model.kl(detach_prefix=False)), atol=1e-3)
