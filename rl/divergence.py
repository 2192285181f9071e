"""The KL divergence from a frozen reference: estimators on sampled tokens, and the two places to put them.

With x = log π(y) − log π_frozen(y) of a sampled token (Schulman, "Approximating KL divergence"; 2506.09477;
2512.21852):

| estimator | value | its mean under y ~ π | mean gradient as a loss, y ~ π |
|---|---|---|---|
| k1 | x | KL(π ‖ frozen) | exactly 0 |
| k2 | ½ x² | biased | of the reverse KL(π ‖ frozen) |
| k3 | e^(−x) − 1 + x | KL(π ‖ frozen) | of the forward KL(frozen ‖ π) |

A loss on tokens gives only the part of a sequence's gradient that does not run through later tokens. k1 in the
reward, summed over the later tokens too, gives all of it.
"""

from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from rl.aggregation import sums_to_go
from rl.correction import log_ratio

Estimator = Literal["k1", "k2", "k3"]


class KLConfig(BaseModel):
    """Where the divergence from the frozen reference enters, and by which estimator.

    `place`: `reward` lowers each advantage by the k1 that is still to come, in units of an advantage; `loss` adds
    a differentiable estimate to each token's loss. `importance` corrects the loss for samples of another policy
    than the current one, see `kl_loss`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: Literal["none", "reward", "loss"] = "none"
    estimator: Estimator = "k1"
    coefficient: float = Field(default=1e-3, ge=0)
    importance: bool = False

    @model_validator(mode="after")
    def _check_estimator(self) -> Self:
        if self.place == "loss" and self.estimator == "k1":
            raise ValueError(
                "loss.kl.estimator k1 has an expected gradient of zero when it is a loss: "
                "use k2 (reverse KL) or k3 (forward KL), or kl.place reward"
            )
        if self.place == "reward" and self.estimator != "k1":
            raise ValueError(f"loss.kl.estimator {self.estimator} is biased in the reward: use k1, or kl.place loss")
        if self.place != "loss" and self.importance:
            raise ValueError("loss.kl.importance is for kl.place loss: the policy loss corrects the reward already")
        return self


def estimate_kl(logprobs_N: Tensor, frozen_logprobs_N: Tensor, estimator: Estimator) -> Tensor:
    """KL(π ‖ frozen) at each sampled token, [N] nats, differentiable in `logprobs_N`."""
    if estimator == "k1":
        return logprobs_N - frozen_logprobs_N
    if estimator == "k2":
        return 0.5 * (logprobs_N - frozen_logprobs_N).square()
    return excess_exp(log_ratio(frozen_logprobs_N, logprobs_N))


def excess_exp(log_ratio_N: Tensor) -> Tensor:
    """e^z − 1 − z: never negative, and without the cancellation of the plain form near 0."""
    return torch.expm1(log_ratio_N) - log_ratio_N


def kl_loss(logprobs_N: Tensor, frozen_logprobs_N: Tensor, log_ratio_N: Tensor, config: KLConfig) -> Tensor:
    """The estimate as a loss, [N], before its coefficient; `log_ratio_N` is current over behaviour policy.

    With `importance`, the token's ratio r multiplies the estimate, and the mean gradient under samples of the
    behaviour policy is the reverse KL's for both estimators: k2 takes r detached, since its gradient and not its
    value is right; k3 takes r with gradient, since its value is (DeepSeek-V3.2 eq. 7).
    """
    estimate_N = estimate_kl(logprobs_N, frozen_logprobs_N, config.estimator)
    if not config.importance:
        return estimate_N
    ratio_N = log_ratio_N.exp()
    return estimate_N * (ratio_N.detach() if config.estimator == "k2" else ratio_N)


def kl_to_go(start_logprobs_N: Tensor, frozen_logprobs_N: Tensor, sequence_N: Tensor, length_S: Tensor) -> Tensor:
    """Σ over a token and the later ones of its sequence of k1, [N], without gradient.

    Subtracted from advantages it makes the policy gradient that of −KL(π ‖ frozen) over whole sequences,
    unbiased: the earlier tokens' k1 do not depend on this token and only add noise. It is that of the policy at
    the start of the step, as rewards are, so it stays the same over the updates of a step.
    """
    k1_N = estimate_kl(start_logprobs_N, frozen_logprobs_N, "k1").detach()
    return sums_to_go(k1_N, sequence_N, length_S)
