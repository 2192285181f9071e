"""Adapters: without effect at first, alone in learning, merged into what engines and checkpoints get."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from rl.architecture import QWEN3, find_architecture
from rl.checkpoint import MANIFEST
from rl.cluster import open_sampler
from rl.export import export_model
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.lora import (
    LoRAConfig,
    adapted_layers,
    adapter_parameters,
    adapters_off,
    add_adapters,
    merged,
    stored_parameters,
)
from rl.losses import LossConfig
from rl.models import resolve_model, stop_token_ids
from rl.objectives import Computed, make_objective
from rl.policy import Policy, load_policy
from rl.weight_sync import publish_weights
from rollout.types import SamplingParams
from tests.real_parts import ENGINE
from tests.rl.examples import batch_of
from tests.rl.test_deepspeed_learner import largest_gap, saved_weights
from tests.rollout.test_engine import assert_logprobs_agree, plain_logprobs, prompt

TINY = "package:tiny-qwen3"
LORA = LoRAConfig(rank=4, alpha=8)
WITH_KL = LossConfig(correction={"mode": "none"}, kl={"place": "loss", "estimator": "k3", "coefficient": 0.5})
# A large eps keeps AdamW from blowing float noise up where a gradient is nearly zero.
OPTIMIZER = OptimizerConfig(lr=1e-2, eps=1e-3, max_grad_norm=0.0)


def fill(model: torch.nn.Module) -> None:
    """Adapters as if they had learned something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.normal_(std=0.1)


def one_micro_batch(num_ranks: int = 1):
    (update,) = batch_of(num_ranks=num_ranks, tokens_per_micro_batch=10**6).updates
    return update.micro_batches[0][0], update.counts


def test_adapters_change_nothing_until_they_have_learned_and_can_be_switched_off():
    inputs = one_micro_batch()[0].model_inputs
    with torch.no_grad():
        plain = load_policy(resolve_model(TINY), dtype=torch.float32)(*inputs)[0]
        policy = load_policy(resolve_model(TINY), dtype=torch.float32, lora=LORA)
        assert torch.equal(policy(*inputs)[0], plain)
        fill(policy.model)
        assert (policy(*inputs)[0] - plain).abs().max() > 1e-2
        with adapters_off(policy.model):
            assert torch.equal(policy(*inputs)[0], plain)
    trained = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    assert len(trained) == len(adapter_parameters(policy.model)) == 2 * len(adapted_layers(policy.model))


@pytest.mark.parametrize("name", ["package:tiny-qwen3", "package:tiny-qwen3-untied", "package:tiny-qwen3-moe"])
def test_adapters_are_counted(name):
    for modules in (("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")):
        config = LORA.model_copy(update={"target_modules": modules})
        model = AutoModelForCausalLM.from_pretrained(resolve_model(name))
        add_adapters(model, config)
        held = sum(parameter.numel() for parameter in adapter_parameters(model).values())
        assert config.num_parameters(find_architecture(name)) == held
    assert LoRAConfig(rank=16, alpha=32).num_parameters(QWEN3["8B"]) == 43_646_976  # what peft counts for this shape


def test_merging_is_what_peft_does_and_leaves_the_model_alone():
    model = AutoModelForCausalLM.from_pretrained(resolve_model(TINY), dtype=torch.float32)
    plain = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    add_adapters(model, LORA)
    fill(model)
    layers = adapted_layers(model)
    ours = {name: merged(parameter.detach(), layers.get(name)) for name, parameter in stored_parameters(model)}
    assert largest_gap(dict(stored_parameters(model)), plain) == 0
    for layer in layers.values():
        layer.merge()
    assert largest_gap(ours, {name: parameter.detach() for name, parameter in stored_parameters(model)}) < 1e-6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dropout": 0.1}, "dropout must be 0: the sampler has none"),
        ({"target_modules": ["lm_head"]}, "names lm_head, which takes no adapter: choose from q_proj"),
    ],
)
def test_what_cannot_be_adapted_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        LoRAConfig(**values)


def test_a_layer_that_the_model_does_not_have_is_named():
    model = AutoModelForCausalLM.from_pretrained(resolve_model("package:tiny-qwen3-moe"))
    with pytest.raises(ValueError, match="Qwen3MoeForCausalLM has no linear layer gate_proj"):
        add_adapters(model, LORA.model_copy(update={"target_modules": ("q_proj", "gate_proj")}))


def test_an_export_has_the_merged_model_and_the_adapter_apart(tmp_path):
    step = tmp_path / "run" / "checkpoints" / "step-3"
    for name in ("model/config.json", "adapter/adapter_config.json", MANIFEST):
        (step / name).parent.mkdir(parents=True, exist_ok=True)
        (step / name).write_text("{}")
    assert export_model(tmp_path / "run", tmp_path / "out") == 3
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.json")}
    assert files == {"config.json", "adapter/adapter_config.json"}


def plain_training(folder, num_updates: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same updates with peft and torch alone, from the adapters in a folder; adapters and merged weights."""
    load = lambda: AutoModelForCausalLM.from_pretrained(  # noqa: E731
        resolve_model(TINY), dtype=torch.float32, attn_implementation="sdpa"
    )
    frozen = Policy(load())
    model = PeftModel.from_pretrained(load(), folder, is_trainable=True)
    policy = Policy(model.get_base_model())
    objective = make_objective(WITH_KL)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.0)
    micro, counts = one_micro_batch()
    for _ in range(num_updates):
        with torch.no_grad():
            frozen_N = frozen(*micro.model_inputs)[0]
        logprobs_N, entropy_N = policy(*micro.model_inputs)
        computed = Computed(logprobs_N=logprobs_N, entropy_N=entropy_N, frozen_logprobs_N=frozen_N)
        optimizer.zero_grad()
        objective(micro, computed, counts)[0].backward()
        optimizer.step()
    adapters = {name: p.detach() for name, p in adapter_parameters(model.get_base_model()).items()}
    return adapters, {name: p.detach() for name, p in model.merge_and_unload().named_parameters()}


@pytest.mark.parametrize(
    ("stage", "ranks"),
    [(3, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((0, 1), (1, 2), (2, 2)))],
)
async def test_it_trains_as_peft_and_torch_do(ray_cluster, tmp_path, stage, ranks):
    config = LearnerConfig(
        dtype="float32", zero_stage=stage, num_ranks=ranks, optimizer=OPTIMIZER, bucket_mib=1, lora=LORA
    )
    batch = batch_of(num_ranks=ranks, tokens_per_micro_batch=64)
    assert len(batch.updates[0].micro_batches[0]) > 1, "accumulation must take part"
    async with open_learner(resolve_model(TINY), config, WITH_KL, temperature=1.0, seed=0) as learner:
        await learner.save(tmp_path / "start")
        rows = [await learner.update(batch) for _ in range(3)]
        await learner.save(tmp_path / "end")
    assert rows[0]["loss/kl"] == 0.0, "policy and reference are the same to the bit"
    assert rows[2]["loss/kl"] > 1e-4
    adapters, weights = plain_training(tmp_path / "start" / "adapter", num_updates=3)
    assert largest_gap(load_file(tmp_path / "end" / "adapter" / "adapter_model.safetensors"), adapters) < 2e-6
    start, end = saved_weights(tmp_path / "start"), saved_weights(tmp_path / "end")
    assert largest_gap(end, {name: weights[name] for name in end}) < 2e-6
    plain = AutoModelForCausalLM.from_pretrained(resolve_model(TINY), dtype=torch.float32).state_dict()
    assert largest_gap(start, {name: plain[name] for name in start}) == 0
    moved = {name for name in end if not torch.equal(end[name], start[name])}
    assert moved == {name for name in end if any(f"{target}." in name for target in LORA.target_modules)}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
async def test_a_loaded_learner_goes_on_to_the_bit(ray_cluster, tmp_path, stage):
    config = LearnerConfig(zero_stage=stage, optimizer=OptimizerConfig(lr=1e-3), lora=LORA)
    batch, model = batch_of(num_ranks=1), resolve_model(TINY)
    async with open_learner(model, config, WITH_KL, temperature=1.0, seed=0) as learner:
        await learner.update(batch)
        await learner.save(tmp_path / "half")
        whole = await learner.update(batch)
        await learner.save(tmp_path / "whole")
    async with open_learner(model, config, WITH_KL, temperature=1.0, seed=5) as learner:
        await learner.load(tmp_path / "half")
        assert await learner.update(batch) == whole
        await learner.save(tmp_path / "resumed")
    assert largest_gap(saved_weights(tmp_path / "whole"), saved_weights(tmp_path / "resumed")) == 0
    held = sum(path.stat().st_size for path in (tmp_path / "half" / "learner").iterdir())
    weights = sum(path.stat().st_size for path in (tmp_path / "half" / "model").glob("*.safetensors"))
    assert held < weights, "the frozen weights are no part of the learner's state"


@pytest.mark.slow
async def test_after_an_update_engine_and_learner_agree(ray_cluster, tmp_path):
    """The engine has merged weights, the reference here is peft's model with its adapters beside them."""
    folder, params = resolve_model(TINY), SamplingParams(max_tokens=24)
    config = LearnerConfig(dtype="float32", zero_stage=3, optimizer=OptimizerConfig(lr=5e-2), bucket_mib=1, lora=LORA)
    async with (
        open_sampler(folder, ENGINE, stop_token_ids(folder), 0) as sampler,
        open_learner(folder, config, LossConfig(), temperature=1.0, seed=0) as learner,
    ):
        for version in (1, 2, 3):  # a second sync starts from the same weights as the first
            await learner.update(batch_of(num_ranks=1))
            await publish_weights(learner, sampler, version=version)
        group = await sampler.sample(prompt("What is 2 + 2?"), params=params, num_samples=4, seed=3)
        await learner.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = plain_logprobs(plain, group)[0]
    adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter")
    assert_logprobs_agree(adapted, group)
    assert (plain_logprobs(adapted, group)[0] - before).abs().max() > 1e-2, "the updates must change what is compared"
