"""Sums over flat token streams: within a sequence, and over the whole update.

Axes: `N` trainable tokens of a micro-batch, `S` its sequences. The tokens of a sequence lie together and in
order. `sequence_N` (int) is the sequence of a token, `length_S` (int) how many trainable tokens a sequence has.
"""

from typing import Literal

import torch
from torch import Tensor

from rl.types import UpdateCounts

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum", "constant_length"]


def token_weights(
    aggregation: Aggregation, sequence_N: Tensor, length_S: Tensor, counts: UpdateCounts, max_length: int | None = None
) -> Tensor:
    """What each token's loss is multiplied by, [N] float32, so that plain sums give the loss of the update.

    The divisors are those of the whole update, over all ranks and micro-batches, and a token that is masked
    stays in them; so neither packing nor sharding changes a weight.
    - token_mean: 1 / tokens (DAPO, 2503.14476, over the batch and not inside a group, as verl and TRL do)
    - sequence_mean: 1 / (sequences · L_i), the mean over sequences of their token means (GRPO, 2402.03300 eq. 3)
    - sequence_sum: 1 / sequences
    - constant_length: 1 / (sequences · max_length) (Dr.GRPO, 2503.20783)
    """
    num_tokens, num_sequences = max(1, counts.num_tokens), max(1, counts.num_sequences)
    if aggregation == "sequence_mean":
        return 1 / (num_sequences * length_S.to(torch.float32)[sequence_N])
    if aggregation == "token_mean":
        weight = 1 / num_tokens
    elif aggregation == "sequence_sum":
        weight = 1 / num_sequences
    else:
        assert aggregation == "constant_length", f"aggregation {aggregation!r} is known"
        assert max_length is not None, "constant_length has a max_length"
        weight = 1 / (num_sequences * max_length)
    return torch.full(sequence_N.shape, weight, dtype=torch.float32, device=sequence_N.device)


def sequence_sums(values_N: Tensor, sequence_N: Tensor, length_S: Tensor) -> Tensor:
    """The sum over the tokens of each sequence, [S]; 0 for a sequence without tokens."""
    zeros_S = torch.zeros(length_S.shape, dtype=values_N.dtype, device=values_N.device)
    return zeros_S.index_add(0, sequence_N, values_N)


def sequence_means(values_N: Tensor, sequence_N: Tensor, length_S: Tensor) -> Tensor:
    """The mean over the tokens of each sequence, [S]; 0 for a sequence without tokens."""
    return sequence_sums(values_N, sequence_N, length_S) / length_S.clamp(min=1)


def sums_to_go(values_N: Tensor, sequence_N: Tensor, length_S: Tensor) -> Tensor:
    """For each token the sum over itself and the later tokens of its sequence, [N].

    One running sum over the whole stream, in float64: the difference of two float32 sums over a million tokens
    would have lost the digits of a single one.
    """
    running_N = values_N.to(torch.float64).cumsum(0)
    place_N = torch.arange(len(values_N), device=values_N.device)
    last_S = torch.zeros_like(length_S, dtype=torch.int64).scatter_reduce(0, sequence_N, place_N, "amax")
    return (running_N[last_S[sequence_N]] - running_N + values_N).to(values_N.dtype)
