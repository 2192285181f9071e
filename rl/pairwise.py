"""The Bradley-Terry loss of a preference reward model on pairs of conversations."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rl.types import Computed, MicroBatch, StepMetrics, UpdateCounts


class PairwiseConfig(BaseModel):
    """−log σ(s_chosen − s_rejected − margin) (Bradley and Terry; with a margin: Llama 2, 2307.09288 eq. 2).

    `centring` times (s_chosen + s_rejected)² keeps scores around 0 (Eisenstein et al., 2312.09244 §3); `use_margin`
    false leaves the margins of the data out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["pairwise"] = "pairwise"
    centring: float = Field(0.01, ge=0)
    use_margin: bool = True


class PairwiseObjective:
    """Its streams are scores: two sequences a pair, the chosen one first, one entry a sequence."""

    needs_start = needs_frozen = False

    def __init__(self, config: PairwiseConfig) -> None:
        self.config = config

    def __call__(self, micro: MicroBatch, computed: Computed, counts: UpdateCounts) -> tuple[Tensor, dict[str, Tensor]]:
        """The part of this micro-batch: a sum over its pairs, divided by all pairs of the update."""
        scores_N = computed.logprobs_N
        num_pairs = len(scores_N) // 2  # the dummy that keeps ranks in step may be a single sequence
        chosen_P, rejected_P = scores_N[: 2 * num_pairs].view(num_pairs, 2).unbind(1)
        assert micro.advantages_N is not None, "a pair has a margin"
        margin_P = micro.advantages_N[: 2 * num_pairs].view(num_pairs, 2)[:, 0] * self.config.use_margin
        gap_P = chosen_P - rejected_P
        loss_P = -F.logsigmoid(gap_P - margin_P) + self.config.centring * (chosen_P + rejected_P).square()
        loss = loss_P.sum() / (counts.num_sequences / 2) + scores_N.sum() * 0.0
        last_N = micro.positions_BT.flatten()[micro.source_N][: 2 * num_pairs].view(num_pairs, 2)
        longer_P = (last_N[:, 0] - last_N[:, 1]).to(gap_P.dtype)
        observed = {
            "num_pairs": torch.ones_like(gap_P),
            "loss/pairwise": loss_P,
            "reward_model/pair_accuracy": (gap_P > 0).to(gap_P.dtype),
            "reward_model/gap": gap_P,
            "reward_model/score": (chosen_P + rejected_P) / 2,
            "gap_square": gap_P.square(),
            "longer": longer_P,
            "longer_square": longer_P.square(),
            "gap_longer": gap_P * longer_P,
            "reward_model/longer_is_better": (longer_P > 0).to(gap_P.dtype) + 0.5 * (longer_P == 0),
        }
        return loss, {name: value_P.detach().double().sum() for name, value_P in observed.items()}

    def metrics(self, sums: Mapping[str, float], num_updates: int) -> StepMetrics:
        """Means over pairs, and Pearson's correlation of the difference in score with that in length (tokens)."""
        count = sums["num_pairs"] or float("nan")
        mean = {name: total / count for name, total in sums.items() if name != "num_pairs"}
        hidden = {name: mean.pop(name) for name in ("gap_square", "longer", "longer_square", "gap_longer")}
        covariance = hidden["gap_longer"] - mean["reward_model/gap"] * hidden["longer"]
        variances = (hidden["gap_square"] - mean["reward_model/gap"] ** 2) * (
            hidden["longer_square"] - hidden["longer"] ** 2
        )
        correlation = covariance / variances**0.5 if variances > 1e-12 else float("nan")
        return mean | {"reward_model/length_correlation": correlation}

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        pass
