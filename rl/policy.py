"""The policy as the learner computes it: packed rows in, log-probs and entropies of trainable tokens out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rl.lora import LoRAConfig, add_adapters

if TYPE_CHECKING:
    from rl.sequence_parallel import SequenceGroup


def visibility(group_BT: Tensor, segment_BT: Tensor) -> Tensor:
    """The attention mask [B, 1, T, T], True where the query (dim 2) may see the key (dim 3).

    A response sees its group's prefix and itself; padding (group -1) sees only earlier padding and itself, so
    that no row of the mask is empty.
    """
    length = group_BT.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=group_BT.device).tril()
    same_group = group_BT[:, :, None] == group_BT[:, None, :]
    same_response = segment_BT[:, :, None] == segment_BT[:, None, :]
    prefix_key = (segment_BT == 0)[:, None, :]
    return (causal & same_group & (prefix_key | same_response))[:, None]


def source_hidden(
    body: Any, input_ids_BT: Tensor, positions_BT: Tensor, group_BT: Tensor, segment_BT: Tensor, source_N: Tensor
) -> Tensor:
    """Last hidden states [N, H] of packed rows at the source positions; `body` is the model without its head."""
    hidden_BTH = body(
        input_ids=input_ids_BT,
        attention_mask=visibility(group_BT, segment_BT),
        position_ids=positions_BT,
        use_cache=False,  # with a cache transformers takes packed rows for one sequence, without an error
    ).last_hidden_state
    return hidden_BTH.flatten(0, 1).index_select(0, source_N)


class ChunkedLogProbs(torch.autograd.Function):
    """log softmax(h W^T / temperature)[target] and its entropy, [N] each in float32, never [N, V] at once.

    The backward pass computes each chunk's logits again: a tenth of the memory at about the same speed.
    d log p_t / d z = onehot_t - p;  d H / d z = -p (log p + H).
    """

    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, target_N: Tensor, temperature: float, chunk: int):
        count = hidden_NH.shape[0]
        log_probs_N = hidden_NH.new_empty(count, dtype=torch.float32)
        entropy_N, sum_N = torch.empty_like(log_probs_N), torch.empty_like(log_probs_N)
        for rows in _chunks(count, chunk):
            logits = _centred_logits(hidden_NH[rows], weight_VH, temperature)
            log_probs_N[rows] = logits.gather(-1, target_N[rows, None]).squeeze(-1)
            exp = logits.exp()
            sum_N[rows] = exp.sum(-1)
            entropy_N[rows] = -torch.linalg.vecdot(exp, logits) / sum_N[rows]
        log_probs_N -= sum_N.log()
        entropy_N += sum_N.log()
        ctx.save_for_backward(hidden_NH, weight_VH, target_N, entropy_N, sum_N)
        ctx.temperature, ctx.chunk = temperature, chunk
        return log_probs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_log_probs_N: Tensor, grad_entropy_N: Tensor):
        hidden_NH, weight_VH, target_N, entropy_N, sum_N = ctx.saved_tensors
        grad_hidden_NH = torch.empty_like(hidden_NH)
        # Beside adapters the head is frozen, and its gradient would be the largest tensor of all.
        grad_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        with_entropy = bool(grad_entropy_N.any())
        grad_log_probs_N = grad_log_probs_N / ctx.temperature
        grad_entropy_N = grad_entropy_N / ctx.temperature
        for rows in _chunks(hidden_NH.shape[0], ctx.chunk):
            logits = _centred_logits(hidden_NH[rows], weight_VH, ctx.temperature)
            sums = sum_N[rows, None]
            if with_entropy:
                grad = logits.exp() / sums
                surprise = logits.sub_(sums.log()).add_(entropy_N[rows, None]).mul_(grad_entropy_N[rows, None])
                grad *= -surprise.add_(grad_log_probs_N[rows, None])
            else:
                grad = logits.exp_().mul_(-grad_log_probs_N[rows, None] / sums)
            grad.scatter_add_(-1, target_N[rows, None], grad_log_probs_N[rows, None])
            grad = grad.to(hidden_NH.dtype)
            grad_hidden_NH[rows] = grad @ weight_VH
            if grad_weight_VH is not None:
                grad_weight_VH += (grad.T @ hidden_NH[rows]).float()
        grad_weight = None if grad_weight_VH is None else grad_weight_VH.to(weight_VH.dtype)
        return grad_hidden_NH, grad_weight, None, None, None


def _chunks(count: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def _centred_logits(hidden_NH: Tensor, weight_VH: Tensor, temperature: float) -> Tensor:
    """Logits [N, V] over the temperature, less each row's greatest: sums of them stay sums of small numbers."""
    logits = F.linear(hidden_NH, weight_VH).float()
    if temperature != 1:
        logits /= temperature
    return logits.sub_(logits.amax(-1, keepdim=True))


# Of hidden states [N, H], the head's weight [V, H] and target ids [N]: what a forward pass gives in place of log-probs.
HeadFunction = Callable[[Tensor, Tensor, Tensor], Any]


class LogProbHead(nn.Linear):
    """The model's output head, which answers with log-probs instead of logits, or with what `compute` makes.

    One call a forward pass: under ZeRO-3 ranks with different numbers of calls would wait for each other.
    """

    temperature: float
    chunk: int

    def forward(self, hidden_NH: Tensor, target_N: Tensor, compute: HeadFunction | None = None) -> Any:  # type: ignore[override]
        if compute is not None:
            return compute(hidden_NH, self.weight, target_N)
        return ChunkedLogProbs.apply(hidden_NH, self.weight, target_N, self.temperature, self.chunk)


def check_architecture(config: Any) -> None:
    """ValueError for a model that a 4D mask or a bare output head would compute wrongly, without an error."""
    layers = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) if layers is None else set(layers) != {"full_attention"}
    if windowed:
        raise ValueError("model: packed rows need full attention in every layer, this one has windows or other kinds")
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier"):
        if getattr(config, name, None) not in (None, 1):
            raise ValueError(f"model: it changes its logits by {name}, which the learner's output head does not")


class Policy(nn.Module):
    """A causal language model of transformers with a `LogProbHead`."""

    def __init__(
        self, model: nn.Module, *, temperature: float = 1.0, chunk: int = 512, sequence: "SequenceGroup | None" = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.sequence = sequence
        if sequence is not None:
            sequence.attach(model)
        check_architecture(model.config)
        head = self.model.lm_head
        if type(head) is not nn.Linear or head.bias is not None:
            raise ValueError(f"model: {type(model).__name__} has an output head that the learner cannot chunk")
        head.__class__ = LogProbHead
        head.temperature, head.chunk = temperature, chunk

    def forward(
        self,
        input_ids_BT: Tensor,
        positions_BT: Tensor,
        group_BT: Tensor,
        segment_BT: Tensor,
        source_N: Tensor,
        target_N: Tensor,
        compute: HeadFunction | None = None,
    ) -> Any:
        """Log-probs and entropies [N] (float32, nats) of the trainable tokens; see `MicroBatch` for the axes.

        `compute` makes something else of the hidden states, inside this forward pass as ZeRO-3 wants it.
        """
        if self.sequence is not None:
            rows = (input_ids_BT, positions_BT, group_BT, segment_BT)
            return self.sequence.log_probs(self.model, rows, source_N, target_N)
        hidden_NH = source_hidden(self.model.model, input_ids_BT, positions_BT, group_BT, segment_BT, source_N)
        return self.model.lm_head(hidden_NH, target_N, compute)


def load_policy(
    folder: str,
    *,
    dtype: torch.dtype,
    temperature: float = 1.0,
    chunk: int = 512,
    gradient_checkpointing: bool = False,
    lora: LoRAConfig | None = None,
    sequence: "SequenceGroup | None" = None,
) -> Policy:
    """The model of a folder or hub id as a `Policy`, without dropout: the sampler has none either."""
    from transformers import AutoModelForCausalLM

    # sdpa takes the boolean mask as it is; eager would add it to the scores, silently wrong.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    if lora is not None:
        add_adapters(model, lora)
    if gradient_checkpointing:
        checkpoint_activations(model)
    return Policy(model, temperature=temperature, chunk=chunk, sequence=sequence)


def checkpoint_activations(model: Any) -> None:
    """Compute each layer's activations again in the backward pass, without turning dropout on."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for module in model.modules():
        # A layer in evaluation mode keeps all activations, without a word; what is inside it has the dropout.
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
