"""The load-balancing loss of experts over the global batch (Demons in the Detail, 2501.11873 eq. 4-6).

In the form for token counts that differ between micro-batches: with c the counts of the choices of a whole update
and s^m the sums of router probabilities in micro-batch m, its part is (E / K) · Σ_i (c_i / T) · (s_i^m / T), a mean
over layers. The parts of all micro-batches and ranks are simply added; perfect balance gives 1. The gradient flows
through s alone. Axes: `L` layer with experts, `E` expert, `K` experts a token, T tokens of the update.
"""

import torch
from torch import Tensor


def num_tokens(counts_LE: Tensor, top_k: int) -> Tensor:
    """T by layer, [L]: each token makes K choices. At least 1, for an update without tokens."""
    return (counts_LE.sum(-1) / top_k).clamp(min=1)


def load_balancing_loss(counts_LE: Tensor, sums_LE: Tensor, top_k: int) -> Tensor:
    """The part of the loss whose probabilities are `sums_LE`; `counts_LE` are those of the whole update."""
    tokens_L = num_tokens(counts_LE, top_k)
    shares_LE = counts_LE / tokens_L[:, None]
    parts_L = (shares_LE.to(sums_LE.dtype) * sums_LE).sum(-1) / tokens_L.to(sums_LE.dtype)
    return counts_LE.shape[-1] / top_k * parts_L.mean()


def load_metrics(counts_LE: Tensor, sums_LE: Tensor, top_k: int) -> dict[str, float]:
    """Balance of one update from global counts and sums; the largest load is that of any layer's expert."""
    shares_LE = counts_LE / counts_LE.sum(-1, keepdim=True).clamp(min=1)
    return {
        "moe/load_balancing_loss": float(load_balancing_loss(counts_LE, sums_LE, top_k)),
        "moe/max_load": float(shares_LE.max()) * counts_LE.shape[-1],
        "moe/dead_experts_rate": float((counts_LE == 0).to(torch.float64).mean()),
    }
