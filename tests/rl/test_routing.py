"""Routers watched and replayed inside a real Qwen3-MoE, against what transformers itself reports."""

import functools

import pytest
import torch
from transformers import AutoModelForCausalLM

from rl.batch import PackingConfig, pack
from rl.load_balancing import load_balancing_loss
from rl.models import resolve_model
from rl.policy import load_policy
from rl.routing import ExpertRouting
from tests.rl.examples import examples

MOE = "package:tiny-qwen3-moe"
LAYOUTS = [
    {"share_prefix": True},
    {"share_prefix": False},
    {"share_prefix": True, "tokens_per_row": 150, "tokens_per_micro_batch": 150},
    {"share_prefix": False, "tokens_per_micro_batch": 60},
]


def micro_batches(**packing):
    (update,) = pack(examples(), PackingConfig(**packing), num_ranks=1).updates
    return update.micro_batches[0]


def balance(policy, routing: ExpertRouting, micros) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one update that learns nothing but balance."""
    policy.zero_grad()
    with torch.no_grad():
        for micro in micros:
            with routing.watch(micro, 1.0, final=False):
                policy(*micro.model_inputs)
    routing.fix_counts(len(micros))
    total = 0.0
    for micro in micros:
        with routing.watch(micro, 1.0):
            policy(*micro.model_inputs)
        loss = routing.loss()
        loss.backward()
        total += float(loss)
    routing.end_update()
    return total, {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


@functools.cache
def reference() -> tuple[float, dict[str, torch.Tensor]]:
    """The same from transformers' own router logits, one sequence at a time, with its plain experts."""
    model = AutoModelForCausalLM.from_pretrained(
        resolve_model(MOE), dtype=torch.float32, experts_implementation="eager"
    )
    logits: list[list[torch.Tensor]] = [[], []]
    for example in examples():
        output = model(torch.tensor([example.token_ids]), output_router_logits=True, use_cache=False)
        for layer, rows in enumerate(output.router_logits):
            logits[layer].append(rows[example.prefix_length - 1 : -1])
    probs_LTE = torch.stack([torch.cat(rows) for rows in logits]).softmax(-1)
    chosen = probs_LTE.topk(2).indices
    counts = torch.stack([torch.bincount(c.flatten(), minlength=8) for c in chosen]).double()
    loss = load_balancing_loss(counts, probs_LTE.sum(1), 2)
    loss.backward()
    return float(loss), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_balance_of_packed_rows_is_that_of_single_sequences(layout, gradient_checkpointing):
    policy = load_policy(resolve_model(MOE), dtype=torch.float32, gradient_checkpointing=gradient_checkpointing)
    routing = ExpertRouting(policy, load_balancing=1.0)
    loss, gradients = balance(policy, routing, micro_batches(**layout))
    assert loss == pytest.approx(reference()[0], rel=1e-5)
    assert routing.metrics()["moe/load_balancing_loss"] == pytest.approx(loss, rel=1e-5)
    for name, expected in reference()[1].items():
        torch.testing.assert_close(gradients[name], expected, atol=1e-6, rtol=1e-4)
    assert reference()[1]["model.layers.1.mlp.gate.weight"].abs().max() > 1e-3
    assert {name for name, g in gradients.items() if g.any()} == {n for n, g in reference()[1].items() if g.any()}


def test_a_dummy_counts_for_nothing():
    policy = load_policy(resolve_model(MOE), dtype=torch.float32)
    routing = ExpertRouting(policy, load_balancing=1.0)
    (micro,) = micro_batches()
    rows = []
    for weights in ((1.0,), (1.0, 0.0)):
        for weight in weights:
            with routing.watch(micro, weight):
                policy(*micro.model_inputs)
        routing.end_update()
        rows.append(routing.metrics())
    assert rows[0] == rows[1]


def test_replay_chooses_the_recorded_experts_with_the_weights_of_now():
    policy = load_policy(resolve_model(MOE), dtype=torch.float32)
    routing = ExpertRouting(policy, replay=True)
    first, second = micro_batches(tokens_per_micro_batch=100, share_prefix=False)[:2]

    def forward(micro):
        with routing.watch(micro, 1.0):
            outputs = policy(*micro.model_inputs)[0]
        return outputs, [experts.clone() for experts in routing._experts]

    with routing.recording(), torch.no_grad():
        before = [forward(micro) for micro in (first, second)]
    with torch.no_grad():
        for router in routing.routers:
            router.weight.add_(0.3 * torch.randn(router.weight.shape, generator=torch.Generator().manual_seed(3)))
    replayed = [forward(micro) for micro in (first, second)]
    free = [forward(micro) for micro in (first, second)]
    for was, again, now in zip(before, replayed, free, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(was[1], again[1], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(was[1], now[1], strict=True)), "else nothing was forced"
        assert (was[0] - again[0]).abs().max() > 1e-3, "the gates are those of the new router"
    gradient = torch.autograd.grad(replayed[0][0].sum(), routing.routers[0].weight)[0]
    assert gradient.abs().max() > 1e-3


def test_replay_of_unchanged_weights_changes_nothing():
    for gradient_checkpointing in (False, True):
        policy = load_policy(resolve_model(MOE), dtype=torch.float32, gradient_checkpointing=gradient_checkpointing)
        routing = ExpertRouting(policy, replay=True)
        (micro,) = micro_batches()
        results = []
        for context in (routing.recording, torch.enable_grad):
            policy.zero_grad()
            with context(), routing.watch(micro, 1.0):
                outputs = policy(*micro.model_inputs)[0]
            outputs.sum().backward()
            results.append([outputs.detach(), *(p.grad.clone() for p in policy.parameters())])
        for left, right in zip(*results, strict=True):
            torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-6)


def test_a_dense_model_has_nothing_to_watch():
    policy = load_policy(resolve_model("package:tiny-qwen3"), dtype=torch.float32)
    routing = ExpertRouting(policy, load_balancing=1.0)
    (micro,) = micro_batches()
    with routing.watch(micro, 1.0):
        policy(*micro.model_inputs)
    routing.fix_counts(1)
    routing.end_update()
    assert (routing.needs_count, routing.loss(), routing.metrics()) == (False, 0.0, {})
