"""The objectives against what torch and plain arithmetic say."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rl.batch import PackingConfig, pack
from rl.models import resolve_model
from rl.objectives import Computed, CrossEntropyConfig, make_objective
from rl.policy import load_policy
from rl.types import UpdateCounts
from tests.rl.examples import examples


@pytest.mark.parametrize(("aggregation", "expected"), [("token_mean", 4 / 4), ("sequence_mean", (2.5 / 3 + 1.5) / 2)])
def test_cross_entropy_by_hand(aggregation, expected):
    """Two sequences with losses (1.5, 0.5, 0.5) and (1.5)."""
    objective = make_objective(CrossEntropyConfig(aggregation=aggregation))
    (update,) = pack(examples(1, 2), PackingConfig(share_prefix=False), num_ranks=1).updates
    ((micro,),) = update.micro_batches
    losses_N = torch.tensor([1.5, 0.5, 0.5, 1.5])
    micro = replace(micro, sequence_N=torch.tensor([0, 0, 0, 1]), length_S=torch.tensor([3, 1]))
    computed = Computed(logprobs_N=-losses_N, entropy_N=torch.zeros(4))
    loss, sums = objective(micro, computed, UpdateCounts(num_tokens=4, num_sequences=2))
    assert loss.item() == pytest.approx(expected)
    metrics = objective.metrics({name: float(value) for name, value in sums.items()}, 1)
    assert metrics == {"loss/cross_entropy": 1.0, "policy/entropy": 0.0}


def test_cross_entropy_of_packed_rows_is_that_of_transformers():
    """Value and gradient, of conversations packed together, against the library's own loss on each alone."""
    made = examples(3, 1)
    policy = load_policy(resolve_model("package:tiny-qwen3"), dtype=torch.float32)
    batch = pack(made, PackingConfig(share_prefix=False, tokens_per_row=512), num_ranks=1)
    (update,) = batch.updates
    ((micro,),) = update.micro_batches
    logprobs_N, entropy_N = policy(*micro.model_inputs)
    objective = make_objective(CrossEntropyConfig())
    loss, _ = objective(micro, Computed(logprobs_N=logprobs_N, entropy_N=entropy_N), update.counts)
    (gradient,) = torch.autograd.grad(loss, policy.model.model.embed_tokens.weight)

    total = torch.zeros(())
    for example in made:
        ids = torch.tensor([example.token_ids])
        hidden = policy.model.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = F.linear(hidden, policy.model.lm_head.weight)[0, :-1]
        trained = torch.tensor(example.trainable[1:])
        total = total + F.cross_entropy(logits[trained], ids[0, 1:][trained], reduction="sum")
    plain = total / sum(example.num_trainable for example in made)
    (expected,) = torch.autograd.grad(plain, policy.model.model.embed_tokens.weight)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
