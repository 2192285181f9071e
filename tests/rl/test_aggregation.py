"""Weights of tokens and sums over sequences of a flat stream."""

import pytest
import torch

from rl.aggregation import sequence_means, sequence_sums, sums_to_go, token_weights
from rl.types import UpdateCounts

SEQUENCE, LENGTH = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([2, 0, 3])  # the middle sequence has no tokens
VALUES = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("token_mean", [1 / 20] * 5),
        ("sequence_mean", [1 / 16, 1 / 16, 1 / 24, 1 / 24, 1 / 24]),
        ("sequence_sum", [1 / 8] * 5),
        ("constant_length", [1 / 80] * 5),
    ],
)
def test_weights_come_from_the_counts_of_the_update(aggregation, expected):
    counts = UpdateCounts(num_tokens=20, num_sequences=8)
    max_length = 10 if aggregation == "constant_length" else None
    weights_N = token_weights(aggregation, SEQUENCE, LENGTH, counts, max_length)
    assert weights_N.tolist() == pytest.approx(expected)
    assert weights_N.dtype == torch.float32


def test_sums_and_means_of_sequences():
    assert sequence_sums(VALUES, SEQUENCE, LENGTH).tolist() == [3, 0, 28]
    assert sequence_means(VALUES, SEQUENCE, LENGTH).tolist() == pytest.approx([1.5, 0, 28 / 3])


def test_sums_to_go():
    assert sums_to_go(VALUES, SEQUENCE, LENGTH).tolist() == [3, 2, 28, 24, 16]


def test_sums_to_go_need_no_order_of_the_sequences():
    assert sums_to_go(VALUES, torch.tensor([1, 1, 0, 0, 0]), torch.tensor([3, 2])).tolist() == [3, 2, 28, 24, 16]


def test_sums_to_go_of_nothing():
    assert sums_to_go(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_sums_to_go_keep_small_values_beside_large_ones():
    """A stream whose running sum passes 1e9: in float32 its steps are 64, and the last sequence would be lost."""
    values = torch.cat([torch.full((1000,), 1e6), torch.tensor([0.25, 0.5])])
    sequence = torch.cat([torch.zeros(1000, dtype=torch.long), torch.ones(2, dtype=torch.long)])
    assert sums_to_go(values, sequence, torch.tensor([1000, 2]))[-2:].tolist() == [0.75, 0.5]
