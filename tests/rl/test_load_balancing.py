"""The load-balancing loss: golden numbers, and what must not change it."""

import pytest
import torch

from rl.load_balancing import load_balancing_loss, load_metrics


def one_layer(probs_TE: torch.Tensor, top_k: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts [1, E] and probability sums [1, E] of a layer whose routers give these probabilities."""
    num_experts = probs_TE.shape[-1]
    counts = torch.bincount(probs_TE.topk(top_k).indices.flatten(), minlength=num_experts)
    return counts.double()[None], probs_TE.sum(0)[None]


def test_two_micro_batches_with_disjoint_halves_of_the_experts():
    """Each is as unbalanced as it can be for itself, and the two together are balanced (methods: 1.8627, 1, 1, 2)."""
    high, low = 0.465675, 0.034325
    left = torch.tensor([[high, high, low, low]]).expand(5, -1)
    right = left.flip(-1)
    (counts_a, sums_a), (counts_b, sums_b) = one_layer(left), one_layer(right)
    alone = [float(load_balancing_loss(c, s, 2)) for c, s in ((counts_a, sums_a), (counts_b, sums_b))]
    assert alone == pytest.approx([1.8627, 1.8627])
    together = counts_a + counts_b
    assert float(load_balancing_loss(together, sums_a + sums_b, 2)) == pytest.approx(1.0)
    parts = [float(load_balancing_loss(together, s, 2)) for s in (sums_a, sums_b)]
    assert sum(parts) == pytest.approx(1.0)
    # The scale of transformers has no 1 / K: E times the sum of shares and mean probabilities.
    shares, means = together / 10, (sums_a + sums_b) / 10
    assert float(4 * (shares * means).sum()) == pytest.approx(2.0)


def random_probs(num_tokens: int = 24, num_experts: int = 8, num_layers: int = 3) -> torch.Tensor:
    logits = 2 * torch.randn(num_layers, num_tokens, num_experts, generator=torch.Generator().manual_seed(0))
    return logits.double().softmax(-1)


def counted(probs_LTE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    counts, sums = zip(*map(one_layer, probs_LTE), strict=True)
    return torch.cat(counts), torch.cat(sums)


@pytest.mark.parametrize("sizes", [[24], [1, 23], [5, 0, 7, 12], [8, 8, 8]], ids=str)
def test_micro_batches_and_ranks_change_nothing(sizes):
    whole = counted(random_probs())
    parts = [counted(part) for part in random_probs().split(sizes, dim=1)]
    global_counts = torch.stack([c for c, _ in parts]).sum(0)
    assert torch.equal(global_counts, whole[0])
    total = sum(load_balancing_loss(global_counts, s, 2) for _, s in parts)
    torch.testing.assert_close(total, load_balancing_loss(*whole, 2))
    # Written out once more, layer by layer.
    by_hand = [8 / 2 * sum(c[i] / 24 * s[i] / 24 for i in range(8)) for c, s in zip(*whole, strict=True)]
    torch.testing.assert_close(total, torch.stack(by_hand).mean())


def test_layers_do_not_make_up_for_each_other():
    """Layer one loves the experts that layer two shuns: pooled over layers that would look balanced."""
    left = torch.tensor([[0.4, 0.4, 0.1, 0.1]]).expand(4, -1)
    assert float(load_balancing_loss(*counted(torch.stack([left, left.flip(-1)])), 2)) == pytest.approx(1.6)


def test_the_gradient_flows_through_probabilities_alone():
    counts, _ = counted(random_probs())
    logits = torch.randn(3, 24, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def loss(values):
        return load_balancing_loss(counts, values.softmax(-1).sum(1), 2)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_an_update_without_tokens_has_no_loss():
    zeros = torch.zeros(2, 4, dtype=torch.float64)
    assert float(load_balancing_loss(zeros, zeros, 2)) == 0


def test_load_by_hand():
    counts = torch.tensor([[4.0, 4, 0, 0], [1, 2, 2, 3]], dtype=torch.float64)
    metrics = load_metrics(counts, torch.ones(2, 4, dtype=torch.float64), 2)
    assert metrics == {
        "moe/load_balancing_loss": pytest.approx(1.0),
        "moe/max_load": pytest.approx(2.0),
        "moe/dead_experts_rate": pytest.approx(2 / 8),
    }
