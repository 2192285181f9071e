"""Policy losses: clipped policy gradients by name, with importance correction, KL and entropy terms.

Everything is flat over the trainable tokens of one micro-batch, in the axes of `rl.aggregation`. A policy loss
returns this micro-batch's part of the update's loss: the parts of all micro-batches and ranks are simply added.

Its metrics are sums as well, without gradient and under the same names in every micro-batch, so that they are
added as they are; `metric_values` then turns the totals into what is logged. `loss/policy` is the part of the
loss, `num_tokens` the number of tokens that were computed, and each other entry a sum over those tokens.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from rl.aggregation import Aggregation, sequence_means, token_weights
from rl.correction import CorrectionConfig, correction_weights, log_ratio
from rl.divergence import KLConfig, estimate_kl, excess_exp, kl_loss, kl_to_go
from rl.entropy import EntropyConfig
from rl.plugins import check_name, find_function
from rl.types import StepMetrics, UpdateCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """The streams of one micro-batch that a policy loss may need; log-probs and entropies are in nats.

    `learner_logprobs_N` is the current policy, with gradient. `start_logprobs_N` is the learner's own before the
    first update of the step, `sampler_logprobs_N` the engine's as it sampled, both without gradient.
    `entropy_N` has a gradient when there is an entropy term, `frozen_logprobs_N` is there when there is a KL term.
    """

    learner_logprobs_N: Tensor
    start_logprobs_N: Tensor
    sampler_logprobs_N: Tensor
    advantages_N: Tensor
    sequence_N: Tensor
    length_S: Tensor
    entropy_N: Tensor | None = None
    frozen_logprobs_N: Tensor | None = None


# What a loss has where the config does not say: GSPO 2507.18071 §5.1; DAPO 2503.14476; ScaleRL's cap for CISPO.
DEFAULTS: dict[str, dict[str, Any]] = {
    "grpo": {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0, "aggregation": "token_mean"},
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4, "dual_clip": None, "aggregation": "sequence_mean"},
    "cispo": {"clip_low": 1.0, "clip_high": 4.0, "dual_clip": None, "aggregation": "token_mean"},
}


class LossConfig(BaseModel):
    """A policy loss by name (grpo, gspo, cispo or `module:function`) and its terms.

    Ratios are clipped to [1 − clip_low, 1 + clip_high]. Their defaults depend on the loss, as do those of
    `dual_clip` and `aggregation`: see DEFAULTS; one from outside the tree has those of grpo. `max_length`
    (tokens) is the constant of the aggregation `constant_length`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "grpo"
    clip_low: float = Field(default=0.2, ge=0, le=1)
    clip_high: float = Field(default=0.28, ge=0)
    dual_clip: float | None = Field(default=3.0, gt=1)
    aggregation: Aggregation = "token_mean"
    max_length: int | None = Field(default=None, gt=0)
    correction: CorrectionConfig = CorrectionConfig()
    kl: KLConfig = KLConfig()
    entropy: EntropyConfig = EntropyConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return DEFAULTS.get(str(values.get("name", "grpo")), DEFAULTS["grpo"]) | values

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name, POLICY_LOSSES, "policy loss")

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        if self.name in ("gspo", "cispo") and self.dual_clip is not None:
            raise ValueError(f"loss.dual_clip is {self.dual_clip}, but {self.name} has none: leave it out")
        if (self.aggregation == "constant_length") != (self.max_length is not None):
            raise ValueError("loss.max_length and loss.aggregation constant_length go together: set both or neither")
        return self

    @property
    def needs_frozen_logprobs(self) -> bool:
        return self.kl.place != "none"


def needs_every_token(config: LossConfig) -> bool:
    """Whether tokens without advantage have a gradient too (KL, entropy): if not, they need not be computed."""
    has_kl = config.kl.place != "none" and config.kl.coefficient > 0
    return has_kl or config.entropy.is_used


# From the inputs, the clamped log-ratio [N] of the current over the behaviour policy and the config to the loss
# of each token [N] and metrics of each token [N]. Weights, KL and entropy are not its business.
TokenLoss = Callable[[LossInputs, Tensor, LossConfig], tuple[Tensor, dict[str, Tensor]]]

POLICY_LOSSES: dict[str, TokenLoss] = {}


def policy_loss(name: str) -> Callable[[TokenLoss], TokenLoss]:
    """Registers the loss of each token under a name."""

    def register(function: TokenLoss) -> TokenLoss:
        POLICY_LOSSES[name] = function
        return function

    return register


@policy_loss("grpo")
def clipped_loss(inputs: LossInputs, log_ratio_N: Tensor, config: LossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped surrogate with its own upper bound (1707.06347 eq. 7; clip-higher: DAPO 2503.14476 eq. 10).

    With `dual_clip` c the loss of a token with A < 0 is at most −c·A (1912.09729 eq. 5), beyond which a ratio
    that exploded has no gradient.
    """
    ratio_N, advantages_N = log_ratio_N.exp(), inputs.advantages_N
    loss_N, clipped_N = _clip(ratio_N, advantages_N, config)
    metrics = {"loss/clip_rate": clipped_N, "loss/ratio_mean": ratio_N}
    if config.dual_clip is not None:
        bound_N = -config.dual_clip * advantages_N
        bounded_N = (advantages_N < 0) & (loss_N > bound_N)
        loss_N = torch.where(bounded_N, bound_N, loss_N)
        metrics["loss/dual_clip_rate"] = bounded_N
    return loss_N, metrics


@policy_loss("gspo")
def sequence_loss(inputs: LossInputs, log_ratio_N: Tensor, config: LossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """GSPO: the clipped surrogate on s_i, the geometric mean of a sequence's ratios (2507.18071 eq. 5–7).

    In the form of GSPO-token (eq. 13–14), sg[s_i] · π / sg[π]: the same value and gradient where the sequence has
    one advantage, and still right where a token-level reward gives each token its own.
    """
    mean_S = sequence_means(log_ratio_N.detach(), inputs.sequence_N, inputs.length_S)
    own_N = inputs.learner_logprobs_N
    ratio_N = (mean_S[inputs.sequence_N] + own_N - own_N.detach()).exp()
    loss_N, clipped_N = _clip(ratio_N, inputs.advantages_N, config)
    return loss_N, {"loss/clip_rate": clipped_N, "loss/ratio_mean": ratio_N}


@policy_loss("cispo")
def reinforce_loss(inputs: LossInputs, log_ratio_N: Tensor, config: LossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """CISPO: REINFORCE with the clipped ratio as a constant weight (MiniMax-M1, 2506.13585 eq. 4–5).

    Every token keeps a gradient. M1 has no lower bound (`clip_low` 1) and does not publish the upper one; the cap
    is 1 + clip_high, 5.0 by default. TRL's `epsilon_high` is the cap itself.
    """
    ratio_N = log_ratio_N.detach().exp()
    capped_N = ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss_N = -capped_N * inputs.advantages_N * inputs.learner_logprobs_N
    return loss_N, {"loss/clip_rate": ratio_N != capped_N, "loss/ratio_mean": ratio_N}


def _clip(ratio_N: Tensor, advantages_N: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    free_N = -ratio_N * advantages_N
    bound_N = -ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high) * advantages_N
    return torch.maximum(free_N, bound_N), bound_N > free_N


class PolicyLoss(Protocol):
    """What `make_policy_loss` makes. `entropy_coefficient` is the applied one, required when it is adaptive."""

    def __call__(
        self, inputs: LossInputs, counts: UpdateCounts, *, entropy_coefficient: float | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]: ...


def make_policy_loss(config: LossConfig) -> PolicyLoss:
    """The loss of a micro-batch: Σ_t w_t · (ρ_t · token loss + β · KL_t − α · H_t), a scalar with gradient.

    w_t are the weights of the aggregation, ρ_t those of the correction. No tokens at all give a zero that is
    still connected to the graph.
    """
    token_loss = find_function(config.name, POLICY_LOSSES, "policy loss")

    def compute(
        inputs: LossInputs, counts: UpdateCounts, *, entropy_coefficient: float | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = _prepare(inputs, config.kl)
        behaviour_N = inputs.sampler_logprobs_N if config.correction.mode == "bypass" else inputs.start_logprobs_N
        log_ratio_N = log_ratio(inputs.learner_logprobs_N, behaviour_N)
        rho_N, metrics = _correct(inputs, config.correction)
        policy_N, own_metrics = token_loss(inputs, log_ratio_N, config)
        policy_N = policy_N * rho_N
        total_N = policy_N + _kl_term(inputs, log_ratio_N, rho_N, config.kl)
        total_N = total_N - _entropy_term(inputs, config.entropy, entropy_coefficient)

        weights_N = token_weights(config.aggregation, inputs.sequence_N, inputs.length_S, counts, config.max_length)
        metrics |= own_metrics | _observe(inputs, config.kl)
        sums = {name: value_N.detach().to(torch.float32).sum() for name, value_N in metrics.items()}
        return (weights_N * total_N).sum(), sums | {"loss/policy": (weights_N * policy_N).detach().sum()}

    return compute


def metric_values(sums: Mapping[str, float], num_updates: int = 1) -> StepMetrics:
    """What is logged, from metrics added over the micro-batches and ranks of `num_updates` optimizer updates.

    `loss/policy` becomes the mean over updates, everything else the mean over computed tokens. The effective
    sample size `correction/ess` is (Σρ)² / (N Σρ²), 1 when all weights are equal (Kish).
    """
    num_tokens = sums["num_tokens"] or float("nan")  # nothing was computed: the means do not exist
    values = {name: total / num_tokens for name, total in sums.items() if name != "num_tokens"}
    if "loss/policy" in sums:
        values["loss/policy"] = sums["loss/policy"] / num_updates
    square = values.pop("correction/weight_square_mean", 0.0)
    if "correction/weight_mean" in values:
        values["correction/ess"] = values["correction/weight_mean"] ** 2 / square if square != 0 else 0.0
    return values


def _prepare(inputs: LossInputs, kl: KLConfig) -> LossInputs:
    """The inputs in float32 or better, with gradient where it is meant alone, and advantages that hold the KL."""

    def upcast(stream_N: Tensor) -> Tensor:
        return stream_N.to(torch.promote_types(stream_N.dtype, torch.float32))

    start_N, advantages_N = upcast(inputs.start_logprobs_N).detach(), upcast(inputs.advantages_N).detach()
    frozen_N = None if inputs.frozen_logprobs_N is None else upcast(inputs.frozen_logprobs_N).detach()
    if kl.place == "reward":
        assert frozen_N is not None, "a KL term has frozen_logprobs_N"
        to_go_N = kl_to_go(start_N, frozen_N, inputs.sequence_N, inputs.length_S)
        advantages_N = advantages_N - kl.coefficient * to_go_N
    return replace(
        inputs,
        learner_logprobs_N=upcast(inputs.learner_logprobs_N),
        start_logprobs_N=start_N,
        sampler_logprobs_N=upcast(inputs.sampler_logprobs_N).detach(),
        advantages_N=advantages_N,
        entropy_N=None if inputs.entropy_N is None else upcast(inputs.entropy_N),
        frozen_logprobs_N=frozen_N,
    )


def _correct(inputs: LossInputs, config: CorrectionConfig) -> tuple[Tensor, dict[str, Tensor]]:
    if config.mode != "decoupled":
        return torch.ones_like(inputs.start_logprobs_N), {}
    rho_N, bounded_N = correction_weights(
        inputs.start_logprobs_N, inputs.sampler_logprobs_N, inputs.sequence_N, inputs.length_S, config
    )
    return rho_N, {
        "correction/weight_mean": rho_N,
        "correction/weight_square_mean": rho_N.square(),
        f"correction/{config.kind}_rate": bounded_N,
    }


def _kl_term(inputs: LossInputs, log_ratio_N: Tensor, rho_N: Tensor, config: KLConfig) -> Tensor | float:
    if config.place != "loss":
        return 0.0
    assert inputs.frozen_logprobs_N is not None, "a KL term has frozen_logprobs_N"
    kl_N = kl_loss(inputs.learner_logprobs_N, inputs.frozen_logprobs_N, log_ratio_N, config)
    return config.coefficient * (kl_N * rho_N if config.importance else kl_N)


def _entropy_term(inputs: LossInputs, config: EntropyConfig, applied: float | None) -> Tensor | float:
    assert not config.adaptive or applied is not None, "an adaptive entropy coefficient is passed to the loss"
    coefficient = config.coefficient if applied is None else applied
    if coefficient == 0:
        return 0.0
    assert inputs.entropy_N is not None, "an entropy term has entropy_N"
    return coefficient * inputs.entropy_N


def _observe(inputs: LossInputs, kl: KLConfig) -> dict[str, Tensor]:
    """Metrics of each token that no loss needs: the gap to the sampler by k3, KL to the frozen reference, entropy."""
    gap_N = excess_exp(log_ratio(inputs.start_logprobs_N, inputs.sampler_logprobs_N))
    metrics = {"num_tokens": torch.ones_like(gap_N), "loss/mismatch_kl": gap_N}
    if inputs.frozen_logprobs_N is not None:
        learner_N = inputs.learner_logprobs_N.detach()
        metrics["loss/kl"] = estimate_kl(learner_N, inputs.frozen_logprobs_N, kl.estimator)
    if inputs.entropy_N is not None:
        metrics["policy/entropy"] = inputs.entropy_N
    return metrics
