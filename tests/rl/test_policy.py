"""The learner's forward pass against transformers' own, and the chunked head against plain torch."""

import functools
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rl.batch import PackingConfig, pack
from rl.models import resolve_model
from rl.policy import ChunkedLogProbs, Policy, load_policy, visibility
from rl.types import MicroBatch
from tests.rl.examples import examples

MODELS = ["package:tiny-qwen3", "package:tiny-qwen3-untied", "package:tiny-qwen3-moe", "package:tiny-qwen3-moe-untied"]
# Shared prefixes; one sequence a row, padded; packed rows of single sequences; packed rows of shared groups.
LAYOUTS = [
    {"share_prefix": True},
    {"share_prefix": False},
    {"share_prefix": False, "tokens_per_row": 60},
    {"share_prefix": True, "tokens_per_row": 100},
]


def signals(token_ids: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """What a response's log-probs and entropies are multiplied by: any numbers that differ from token to token."""
    place = torch.arange(len(token_ids), dtype=torch.float32)
    return torch.sin(place + token_ids[0]), 0.3 * torch.cos(2 * place + token_ids[-1])


@functools.cache
def plain(model: str, temperature: float):
    """Log-probs and entropies by response, and gradients by name: one sequence at a time, with full logits."""
    module = AutoModelForCausalLM.from_pretrained(resolve_model(model), dtype=torch.float32)
    streams, loss = {}, torch.zeros(())
    for example in examples():
        ids, prefix = torch.tensor([example.token_ids]), example.prefix_length
        log_probs = (module(ids).logits[0, prefix - 1 : -1] / temperature).log_softmax(-1)
        own = log_probs.gather(-1, ids[0, prefix:, None]).squeeze(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        response = example.token_ids[prefix:]
        left, right = signals(response)
        loss = loss + (left * own).sum() + (right * entropy).sum()
        streams[response] = (own.detach(), entropy.detach())
    loss.backward()
    return streams, {name: p.grad for name, p in module.named_parameters()}


def run(policy: Policy, micro: MicroBatch):
    return policy(*micro.model_inputs)


def packed(policy: Policy, **layout):
    """The same from packed micro-batches."""
    config = PackingConfig(tokens_per_micro_batch=300, **layout)
    (update,) = pack(examples(), config, num_ranks=1).updates
    streams = {}
    for micro in update.micro_batches[0]:
        log_probs_N, entropy_N = run(policy, micro)
        lengths = micro.length_S.tolist()
        responses = [tuple(part.tolist()) for part in micro.target_N.split(lengths)]
        left, right = (torch.cat(parts) for parts in zip(*map(signals, responses), strict=True))
        ((left * log_probs_N).sum() + (right * entropy_N).sum()).backward()
        parts = zip(log_probs_N.detach().split(lengths), entropy_N.detach().split(lengths), strict=True)
        streams |= dict(zip(responses, parts, strict=True))
    return streams, {name: p.grad for name, p in policy.model.named_parameters()}


def check(got, expected) -> None:
    assert got[0].keys() == expected[0].keys()
    for response, streams in expected[0].items():
        torch.testing.assert_close(got[0][response], streams, atol=1e-5, rtol=0)
    assert got[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert gradient.abs().max() > 1e-3, f"{name} has no gradient to compare"
        torch.testing.assert_close(got[1][name], gradient, atol=1e-5 * float(gradient.abs().max().clamp(min=1)), rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_packed_rows_equal_single_sequences(model, layout):
    policy = load_policy(resolve_model(model), dtype=torch.float32, chunk=7)
    check(packed(policy, **layout), plain(model, 1.0))


def test_the_temperature_divides_logits():
    policy = load_policy(resolve_model(MODELS[0]), dtype=torch.float32, temperature=0.6)
    check(packed(policy, share_prefix=True), plain(MODELS[0], 0.6))


def test_gradient_checkpointing_computes_layers_again_and_changes_nothing():
    policy = load_policy(resolve_model(MODELS[0]), dtype=torch.float32, gradient_checkpointing=True)
    calls = []
    policy.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    (update,) = pack(examples(), PackingConfig(), num_ranks=1).updates
    log_probs_N, _ = run(policy, update.micro_batches[0][0])
    log_probs_N.sum().backward()
    assert len(calls) == 2, "the layer runs again in the backward pass"
    policy.zero_grad()
    check(packed(policy, share_prefix=True), plain(MODELS[0], 1.0))


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_dropout_is_off(tmp_path, gradient_checkpointing):
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, attention_dropout=0.5)).save_pretrained(tmp_path)
    policy = load_policy(str(tmp_path), dtype=torch.float32, gradient_checkpointing=gradient_checkpointing)
    (update,) = pack(examples(num_groups=1, vocabulary=32), PackingConfig(), num_ranks=1).updates
    first, second = (run(policy, update.micro_batches[0][0])[0] for _ in range(2))
    assert torch.equal(first, second)


def test_visibility():
    # Prefix 2, responses of 1 and 2 tokens, a second group of prefix 1 and response 1, one of padding.
    groups = torch.tensor([[0, 0, 0, 0, 0, 1, 1, -1, -1]])
    segments = torch.tensor([[0, 0, 1, 2, 2, 0, 1, 0, 0]])
    mask = visibility(groups, segments)
    assert mask.shape == (1, 1, 9, 9)
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("chunk", [1, 4, 11, 512])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("outputs", ["log-probs", "entropy", "both"])
def test_the_chunked_head_equals_plain_torch(outputs, temperature, chunk):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 8, generator=generator).requires_grad_()
    weight = torch.randn(23, 8, generator=generator).requires_grad_()
    target = torch.randint(23, (11,), generator=generator)
    scale = torch.randn(2, 11, generator=generator)
    scale[0] *= outputs != "entropy"
    scale[1] *= outputs != "log-probs"
    log_probs = (hidden @ weight.T / temperature).log_softmax(-1)
    expected = log_probs.gather(-1, target[:, None]).squeeze(-1), -(log_probs.exp() * log_probs).sum(-1)
    got = ChunkedLogProbs.apply(hidden, weight, target, temperature, chunk)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    gradients = [
        torch.autograd.grad((scale[0] * pair[0]).sum() + (scale[1] * pair[1]).sum(), (hidden, weight))
        for pair in (got, expected)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)
    assert all(gradient.abs().max() > 0.01 for gradient in gradients[0])


def test_the_chunked_head_takes_no_tokens_and_certain_ones():
    weight = torch.eye(3).requires_grad_()
    log_probs, entropy = ChunkedLogProbs.apply(torch.zeros(0, 3), weight, torch.zeros(0, dtype=torch.long), 1.0, 4)
    assert log_probs.shape == entropy.shape == (0,)
    (log_probs.sum() + entropy.sum()).backward()
    assert not weight.grad.any()
    hidden = torch.tensor([[1000.0, 999.0, -1000.0]])
    _, entropy = ChunkedLogProbs.apply(hidden, weight, torch.tensor([0]), 1.0, 4)
    assert entropy.item() == pytest.approx(0.582203, abs=1e-6)
    hidden = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    log_probs, entropy = ChunkedLogProbs.apply(hidden, weight, torch.tensor([0]), 1.0, 4)
    assert (log_probs.item(), entropy.item()) == (0.0, 0.0)
    (log_probs.sum() + entropy.sum()).backward()
    assert torch.isfinite(hidden.grad).all()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"]}, "full attention in every layer"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "full attention in every layer"),
        ({"sliding_window": 4096}, "full attention in every layer"),
        ({"final_logit_softcapping": 30.0}, "changes its logits by final_logit_softcapping"),
        ({"logits_scaling": 8.0}, "changes its logits by logits_scaling"),
    ],
)
def test_a_model_that_would_be_computed_wrongly_is_refused(config, complaint):
    model = torch.nn.Module()
    model.config = SimpleNamespace(**config)
    model.lm_head = torch.nn.Linear(2, 3, bias=False)
    with pytest.raises(ValueError, match=complaint):
        Policy(model)


def test_a_head_with_a_bias_is_refused():
    model = torch.nn.Module()
    model.config = SimpleNamespace(logits_scaling=1.0, sliding_window=None)
    model.lm_head = torch.nn.Linear(2, 3)
    with pytest.raises(ValueError, match="output head that the learner cannot chunk"):
        Policy(model)
