"""What a learner minimises, by the config that asks for it: it turns what the model computed into a loss.

An objective gives this micro-batch's part of the update's loss, and sums for metrics: both are simply added over
micro-batches and ranks. Whatever steers itself from step to step (the entropy coefficient) is its state.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from rl.aggregation import Aggregation, token_weights
from rl.correction import log_ratio
from rl.divergence import excess_exp
from rl.entropy import applied_entropy_coefficient, next_entropy_coefficient
from rl.losses import LossConfig, LossInputs, make_policy_loss, metric_values
from rl.pairwise import PairwiseConfig, PairwiseObjective
from rl.teacher import AlignmentConfig
from rl.types import Computed, MicroBatch, StepMetrics, UpdateCounts


class CrossEntropyConfig(BaseModel):
    """Supervised fine-tuning: minus the log-prob of each trained token, a mean over the tokens or the conversations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["cross_entropy"] = "cross_entropy"
    aggregation: Literal["token_mean", "sequence_mean"] = "token_mean"


ObjectiveConfig = LossConfig | CrossEntropyConfig | PairwiseConfig | AlignmentConfig


class Objective(Protocol):
    """A loss with what it needs and remembers. `metrics` makes a step's metrics of its global sums, and may steer by
    them."""

    needs_start: bool  # several updates a step compare with the log-probs before the first
    needs_frozen: bool

    def __call__(
        self, micro: MicroBatch, computed: Computed, counts: UpdateCounts
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def metrics(self, sums: Mapping[str, float], num_updates: int) -> StepMetrics: ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: Mapping[str, Any]) -> None: ...


class PolicyObjective:
    """A policy gradient with its terms (rl/losses.py)."""

    needs_start = True

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self.needs_frozen = config.needs_frozen_logprobs
        self.loss = make_policy_loss(config)
        self.entropy_coefficient = config.entropy.coefficient
        self.measured_entropy = float("inf")

    def __call__(self, micro: MicroBatch, computed: Computed, counts: UpdateCounts) -> tuple[Tensor, dict[str, Tensor]]:
        assert micro.advantages_N is not None, "a policy loss needs advantages"
        assert micro.sampler_logprobs_N is not None, "a policy loss needs the sampler's log-probs"
        start_N = computed.start_logprobs_N
        inputs = LossInputs(
            learner_logprobs_N=computed.logprobs_N,
            start_logprobs_N=computed.logprobs_N.detach() if start_N is None else start_N,
            sampler_logprobs_N=micro.sampler_logprobs_N,
            advantages_N=micro.advantages_N,
            sequence_N=micro.sequence_N,
            length_S=micro.length_S,
            entropy_N=computed.entropy_N,
            frozen_logprobs_N=computed.frozen_logprobs_N,
        )
        applied = applied_entropy_coefficient(self.entropy_coefficient, self.measured_entropy, self.config.entropy)
        return self.loss(inputs, counts, entropy_coefficient=applied)

    def metrics(self, sums: Mapping[str, float], num_updates: int) -> StepMetrics:
        """The step's means; they steer the entropy coefficient of the next step."""
        metrics = metric_values(sums, num_updates)
        measured = metrics.get("policy/entropy", float("inf"))
        if not math.isnan(measured):  # as it is where all updates were skipped
            self.measured_entropy = measured
            self.entropy_coefficient = next_entropy_coefficient(self.entropy_coefficient, measured, self.config.entropy)
        if self.config.entropy.is_used:
            metrics["optim/entropy_coefficient"] = self.entropy_coefficient
        return metrics

    def state(self) -> dict[str, Any]:
        return {"entropy_coefficient": self.entropy_coefficient, "measured_entropy": self.measured_entropy}

    def load(self, state: Mapping[str, Any]) -> None:
        self.entropy_coefficient, self.measured_entropy = state["entropy_coefficient"], state["measured_entropy"]


# The loss of each token [N], and streams whose means over the tokens are logged under their names.
TokenStreams = Callable[[MicroBatch, Computed], tuple[Tensor, dict[str, Tensor]]]


def cross_entropy(_: MicroBatch, computed: Computed) -> tuple[Tensor, dict[str, Tensor]]:
    """−log π(y_t | y_<t)."""
    loss_N = -computed.logprobs_N
    return loss_N, {"loss/cross_entropy": loss_N}


def alignment(micro: MicroBatch, computed: Computed) -> tuple[Tensor, dict[str, Tensor]]:
    """The divergence of student and teacher at each sampled token."""
    aligned = computed.alignment
    assert aligned is not None, "a learner with a teacher computes the alignment"
    assert micro.sampler_logprobs_N is not None, "what is aligned was sampled"
    return aligned.divergence_N, {
        "loss/distill": aligned.divergence_N,
        "loss/mismatch_kl": excess_exp(log_ratio(computed.logprobs_N, micro.sampler_logprobs_N)),
        "distill/forward_kl": aligned.forward_kl_N,
        "distill/reverse_kl": aligned.reverse_kl_N,
        "distill/teacher_entropy": aligned.teacher_entropy_N,
        "distill/top1_agreement": aligned.agreement_N,
    }


class TokenObjective:
    """Σ w_t · ℓ_t over the trained tokens, with the weights w of the aggregation. It remembers nothing."""

    needs_start = needs_frozen = False

    def __init__(self, aggregation: Aggregation, streams: TokenStreams) -> None:
        self.aggregation, self.streams = aggregation, streams

    def __call__(self, micro: MicroBatch, computed: Computed, counts: UpdateCounts) -> tuple[Tensor, dict[str, Tensor]]:
        loss_N, observed = self.streams(micro, computed)
        weights_N = token_weights(self.aggregation, micro.sequence_N, micro.length_S, counts, None)
        observed |= {"policy/entropy": computed.entropy_N, "num_tokens": torch.ones_like(loss_N)}
        return (weights_N * loss_N).sum(), {name: value_N.detach().sum() for name, value_N in observed.items()}

    def metrics(self, sums: Mapping[str, float], num_updates: int) -> StepMetrics:
        return metric_values(sums, num_updates)

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        pass


def make_objective(config: ObjectiveConfig) -> Objective:
    """The objective that a config asks for."""
    if isinstance(config, PairwiseConfig):
        return PairwiseObjective(config)
    if isinstance(config, AlignmentConfig):
        return TokenObjective(config.divergence.aggregation, alignment)
    if isinstance(config, CrossEntropyConfig):
        return TokenObjective(config.aggregation, cross_entropy)
    return PolicyObjective(config)
