"""Importance correction: the sampler's probabilities differ from the learner's for the same weights.

The engine computes in other kernels and precision than the learner, so its samples are off-policy even before
the first update: ρ_t = π_start(y_t) / π_sampler(y_t) says by how much (2512.01374; verl `rollout_corr_math`).
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from rl.aggregation import sequence_sums

MAX_LOG_RATIO = 20.0


class CorrectionConfig(BaseModel):
    """How the gap between sampler and learner is corrected.

    `mode`: `decoupled` takes the ratio of the policy loss against the learner's own log-probs at the start of
    the step and multiplies the loss by a weight made of ρ (2505.24298); `bypass` takes the ratio against the
    sampler's log-probs and needs no weight; `none` takes it against the start and ignores the gap.
    `level`: ρ of each token (biased, low variance), their product over the sequence (unbiased, but it grows
    with the length), or their geometric mean (independent of the length).
    `kind`: `truncate` is min(ρ, high) (TIS); `mask` is ρ where low ≤ ρ ≤ high and 0 elsewhere (IcePop at token
    level, 2510.18855). A masked token stays in every denominator. `low` of 0 is no lower bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["decoupled", "bypass", "none"] = "decoupled"
    level: Literal["token", "sequence", "geometric"] = "token"
    kind: Literal["truncate", "mask"] = "truncate"
    low: float = Field(default=0.0, ge=0)
    high: float = Field(default=2.0, gt=0)

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"correction.low is {self.low}, above correction.high {self.high}: swap them")
        if self.kind == "truncate" and self.low > 0:
            raise ValueError(
                f"correction.low is {self.low}, but truncation has no lower bound: use kind mask, or low 0"
            )
        return self


def log_ratio(numerator_N: Tensor, denominator_N: Tensor) -> Tensor:
    """The difference of two log-probs, clamped to ±20 nats so that its exponential stays finite."""
    return (numerator_N - denominator_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def correction_weights(
    start_logprobs_N: Tensor, sampler_logprobs_N: Tensor, sequence_N: Tensor, length_S: Tensor, config: CorrectionConfig
) -> tuple[Tensor, Tensor]:
    """The weight of each token and whether a bound changed it, both [N] and without gradient.

    A weight changes the measure under which the loss is an expectation and is no part of the objective: it
    must not be differentiated.
    """
    log_rho_N = log_ratio(start_logprobs_N.detach(), sampler_logprobs_N.detach())
    if config.level != "token":
        log_rho_S = sequence_sums(log_rho_N, sequence_N, length_S)
        if config.level == "geometric":
            log_rho_S = log_rho_S / length_S.clamp(min=1)
        log_rho_N = log_rho_S.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)[sequence_N]
    rho_N = log_rho_N.exp()
    if config.kind == "truncate":
        return rho_N.clamp(max=config.high), rho_N > config.high
    outside_N = (rho_N < config.low) | (rho_N > config.high)
    return rho_N.masked_fill(outside_N, 0.0), outside_N
