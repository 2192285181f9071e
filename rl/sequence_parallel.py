"""Ulysses sequence parallelism (2309.14509): the ranks of a group share each row's tokens, in attention its heads."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from rl.architecture import find_architecture
from rl.learner import LearnerConfig
from rl.losses import LossConfig
from rl.objectives import CrossEntropyConfig, ObjectiveConfig
from rl.policy import visibility

ATTENTION = "sharpen_ulysses"  # under this name transformers finds `SequenceGroup.attend`


def check_sequence_parallel(model: str, learner: LearnerConfig, objective: ObjectiveConfig) -> None:
    """ValueError where rows cannot be shared: this model, or this objective."""
    size = learner.sequence_parallel_size
    if size == 1:
        return
    if not isinstance(objective, LossConfig | CrossEntropyConfig):
        raise ValueError(
            f"learner.sequence_parallel_size is {size}, but only grpo and sft share rows: set it to 1 for rewards "
            "of pairs and for a teacher beside the learner"
        )
    shape = find_architecture(model)
    if shape.num_experts:
        raise ValueError(f"learner.sequence_parallel_size is {size}, but {model} has experts: set it to 1")
    if shape.num_heads % size or (shape.num_kv_heads % size and size % shape.num_kv_heads):
        raise ValueError(
            f"learner.sequence_parallel_size {size} does not divide the {shape.num_heads} heads and "
            f"{shape.num_kv_heads} key-value heads of {model}"
        )


class SequenceGroup:
    """This rank's group, of `size` neighbours that get the same micro-batches. Made on all ranks at once."""

    def __init__(self, size: int) -> None:
        rank = dist.get_rank()
        groups = [dist.new_group(range(first, first + size)) for first in range(0, dist.get_world_size(), size)]
        self.group, self.index, self.size = groups[rank // size], rank % size, size
        self._attentions: dict[tuple[int, ...], Any] = {}  # DeepSpeed's has one batch size and count of heads each

    def attach(self, model: Any) -> None:
        """Have the model's attention exchange tokens for heads and back; everything else is token by token."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        ALL_ATTENTION_FUNCTIONS.register(ATTENTION, self.attend)
        model.config._attn_implementation = ATTENTION

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, *others: Any, **settings: Any) -> Any:
        """transformers' attention function, over local tokens [B, heads, T / size, D] and the mask of whole rows."""
        shape = (query.shape[0], query.shape[1], key.shape[1], query.shape[3])
        if shape not in self._attentions:
            self._attentions[shape] = self._attention(*shape)
        return self._attentions[shape](module, query, key, *others, **settings)

    def _attention(self, batch: int, heads: int, kv_heads: int, head_dim: int) -> nn.Module:
        from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return UlyssesSPAttentionHF(
            sdpa_attention_forward,
            batch_size=batch,
            attn_head_count=heads,
            attn_head_size=head_dim,
            kv_head_count=kv_heads,
            num_hidden_layers=1,  # of its debugging mode alone
            process_group=self.group,
            seq_length_is_variable=True,
        )

    def log_probs(
        self, model: Any, rows: tuple[Tensor, ...], source_N: Tensor, target_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What `Policy` computes of its `rows`, [N] whole on every rank; the rank's own part alone has a gradient.

        So the ranks' gradients of one loss add up to that of the loss on one rank.
        """
        input_ids_BT, positions_BT, group_BT, segment_BT = rows
        length = input_ids_BT.shape[1]
        padding = (0, -length % self.size)
        share = (length + padding[1]) // self.size
        local = slice(self.index * share, (self.index + 1) * share)
        hidden_BTH = model.model(
            input_ids=F.pad(input_ids_BT, padding)[:, local],
            attention_mask=visibility(F.pad(group_BT, padding, value=-1), F.pad(segment_BT, padding)),
            position_ids=F.pad(positions_BT, padding)[:, local].contiguous(),
            use_cache=False,
        ).last_hidden_state
        row_N, column_N = source_N // length, source_N % length
        own = (column_N // share == self.index).nonzero().squeeze(-1)
        source = row_N[own] * share + column_N[own] - local.start
        parts = model.lm_head(hidden_BTH.flatten(0, 1).index_select(0, source), target_N[own])
        log_probs_N, entropy_N = (self._whole(part, own, len(source_N)) for part in parts)
        return log_probs_N, entropy_N

    def _whole(self, part: Tensor, own: Tensor, count: int) -> Tensor:
        whole_N = part.new_zeros(count)
        whole_N[own] = part.detach()
        dist.all_reduce(whole_N, group=self.group)
        return torch.index_put(whole_N, (own,), part)
