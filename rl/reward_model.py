"""A preference reward model as the learner computes it: packed rows in, one score a conversation out."""

from typing import Any

import torch
from torch import Tensor, nn

from rl.policy import check_architecture, checkpoint_activations, source_hidden


class RewardModel(nn.Module):
    """A sequence classifier of transformers with one label, on packed rows: the score [N] at each source position."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        check_architecture(model.config)

    def forward(
        self,
        input_ids_BT: Tensor,
        positions_BT: Tensor,
        group_BT: Tensor,
        segment_BT: Tensor,
        source_N: Tensor,
        target_N: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Scores [N] (float32) where a policy has log-probs, zeros for entropies. See `MicroBatch` for the axes."""
        hidden_NH = source_hidden(self.model.model, input_ids_BT, positions_BT, group_BT, segment_BT, source_N)
        scores_N = self.model.score(hidden_NH).squeeze(-1).float()
        return scores_N, torch.zeros_like(scores_N)


def load_reward_model(folder: str, *, dtype: torch.dtype, gradient_checkpointing: bool = False) -> RewardModel:
    """The model of a folder or hub id with one label. A language model gets a new head, drawn from torch's seed."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=dtype, attn_implementation="sdpa"
    )
    model.config.pad_token_id = AutoTokenizer.from_pretrained(folder).pad_token_id
    model.config.architectures = [type(model).__name__]  # else the folder would be loaded as what it was
    if gradient_checkpointing:
        checkpoint_activations(model)
    return RewardModel(model)
