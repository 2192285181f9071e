"""Memory plans: published sizes exactly, activations against what autograd keeps, state as ZeRO shards it."""

import re

import pytest
import torch

from rl.architecture import QWEN3, Architecture, find_architecture
from rl.batch import PackingConfig
from rl.config import GRPOConfig, HardwareConfig, SFTConfig
from rl.config_file import find_config, load_config
from rl.curation.config import CurateConfig, FuseConfig, SelectConfig
from rl.doctor import examine_config
from rl.learner import LearnerConfig
from rl.lora import LoRAConfig, add_adapters
from rl.memory_plan import (
    GIB,
    adapter_bytes_per_token,
    layer_bytes_per_token,
    num_full_sequences,
    num_gpus,
    offloaded_gib,
    plan_memory,
    shortfalls,
    state_gib,
)
from rl.models import resolve_model
from rl.policy import checkpoint_activations
from rollout.engine import EngineConfig


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("0.6B", 596_049_920),
        ("1.7B", 1_720_574_976),
        ("4B", 4_022_468_096),
        ("8B", 8_190_735_360),
        ("14B", 14_768_307_200),
        ("32B", 32_762_123_264),
        ("30B-A3B", 30_532_122_624),
    ],
)
def test_published_sizes_are_exact(size, parameters):
    assert find_architecture(f"Qwen/Qwen3-{size}").num_parameters == parameters
    assert find_architecture(f"Qwen/Qwen3-{size}-Base") == QWEN3[size]


def test_of_a_mixture_of_experts_few_parameters_are_active():
    assert QWEN3["30B-A3B"].num_active_parameters == pytest.approx(3.3e9, rel=0.02)
    assert QWEN3["8B"].num_active_parameters == QWEN3["8B"].num_parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("Qwen/QwQ-32B", 32_763_876_352), ("Qwen/Qwen2.5-72B-Instruct", 72_706_203_648)]
)
def test_the_sizes_of_those_that_curation_asks_are_exact(name, parameters):
    assert find_architecture(name).num_parameters == parameters


def test_biases_of_queries_keys_and_values_are_counted():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    assert Architecture.from_config(config).num_parameters == Qwen2ForCausalLM(config).num_parameters()


@pytest.mark.parametrize("name", ["package:tiny-qwen3", "package:tiny-qwen3-untied"])
def test_any_folder_is_counted_as_transformers_counts_it(name):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(resolve_model(name))
    assert find_architecture(name).num_parameters == model.num_parameters()


def test_a_model_that_nobody_knows_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="no config of nobody/nothing"):
        find_architecture("nobody/nothing")


def make_model(shape: dict[str, int], num_layers: int, dtype: torch.dtype):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    planned_shape = Architecture(**shape, num_layers=num_layers, vocab=300, tied=True)
    config = Qwen3Config(
        vocab_size=300,
        hidden_size=shape["hidden"],
        intermediate_size=shape["intermediate"],
        num_hidden_layers=num_layers,
        num_attention_heads=shape["num_heads"],
        num_key_value_heads=shape["num_kv_heads"],
        head_dim=shape["head_dim"],
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    assert Architecture.from_config(config) == planned_shape
    return planned_shape, Qwen3ForCausalLM(config).to(dtype)


def saved_bytes(model, length: int) -> int:
    """All tensors that a forward pass of transformers saves, each storage once, without the weights and the mask."""
    mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), mask)}
    saved: dict[int, int] = {}
    kept = []  # else a storage's place is given to another

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept.append(tensor)
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.arange(length)[None], attention_mask=mask, use_cache=False)
    return sum(saved.values())


SHAPES = [
    {"hidden": 64, "num_heads": 4, "num_kv_heads": 2, "head_dim": 32, "intermediate": 128},
    {"hidden": 512, "num_heads": 4, "num_kv_heads": 1, "head_dim": 128, "intermediate": 1536},  # 8B's, an eighth
    {"hidden": 640, "num_heads": 8, "num_kv_heads": 1, "head_dim": 128, "intermediate": 3200},  # 32B's, an eighth
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_activations_are_those_that_autograd_keeps(shape, dtype):
    planned_shape, model = make_model(shape, 2, dtype)
    saved = saved_bytes(model.model, 64)
    planned = 2 * layer_bytes_per_token(planned_shape, dtype.itemsize) * 64
    assert saved <= planned <= 1.15 * saved


@pytest.mark.parametrize("shape", SHAPES)
def test_adapters_keep_what_is_planned_for_them(shape):
    """Norms whose weights are frozen keep a little less than the plan, which leaves that room."""
    planned_shape, model = make_model(shape, 2, torch.bfloat16)
    learner = LearnerConfig(lora=LoRAConfig(rank=16, alpha=32))
    add_adapters(model, learner.lora)
    saved = saved_bytes(model.model, 64)
    planned = 2 * 64 * (layer_bytes_per_token(planned_shape, 2) + adapter_bytes_per_token(learner, 2))
    assert saved <= planned <= 1.3 * saved


def test_checkpointing_keeps_the_input_of_each_layer():
    lengths, depths = (64, 128), (2, 6)
    saved = {}
    for depth in depths:
        model = make_model(SHAPES[1], depth, torch.bfloat16)[1]
        checkpoint_activations(model)
        saved[depth] = [saved_bytes(model.model, length) for length in lengths]
    per_layer = [(deep - shallow) / 4 for shallow, deep in zip(*saved.values(), strict=True)]
    assert per_layer == [length * 512 * 2 for length in lengths]


def test_zero_shards_state_by_stage():
    shape = QWEN3["8B"]
    count = shape.num_parameters / GIB

    def state(stage: int) -> dict[str, float]:
        return state_gib(shape, LearnerConfig(num_ranks=4, zero_stage=stage), 2)

    assert state(0) == {"weights": 2 * count, "gradients": 2 * count, "masters": 4 * count, "moments": 8 * count}
    assert state(1) == {"weights": 2 * count, "gradients": 2 * count, "masters": count, "moments": 2 * count}
    assert state(2)["gradients"] == count / 2
    assert sum(state(3).values()) == 16 * count / 4
    assert state_gib(shape, LearnerConfig(), 4)["masters"] == 0


def test_adapters_alone_have_gradients_and_optimizer_state():
    shape, lora = QWEN3["8B"], LoRAConfig(rank=16, alpha=32)
    count = lora.num_parameters(shape) / GIB
    state = state_gib(shape, LearnerConfig(zero_stage=1, lora=lora), 2)
    assert state["weights"] == pytest.approx(2 * shape.num_parameters / GIB + 2 * count)
    assert [state[name] for name in ("gradients", "masters", "moments")] == [2 * count, 4 * count, 8 * count]


def test_the_host_has_what_a_gpu_no_longer_needs():
    def plan(**learner):
        kl = {"loss": {"kl": {"place": "loss", "estimator": "k2"}}}
        config = grpo("Qwen/Qwen3-8B", learner={"num_ranks": 4, "zero_stage": 3, **learner}, **kl)
        return plan_memory(config, on_gpu=True)[0], offloaded_gib(config)

    (whole, nothing), (half, state), (least, everything) = (
        plan(offload=offload) for offload in ("none", "optimizer", "parameters")
    )
    count = QWEN3["8B"].num_parameters / GIB
    assert nothing == 0
    assert whole.gib - half.gib == pytest.approx((2 + 4 + 8) * count / 4)
    assert half.gib - least.gib == pytest.approx((2 + 2) * count / 4), "policy and frozen copy"
    assert state == pytest.approx((2 + 4 + 4 + 8) * count)
    assert everything == pytest.approx(state + 4 * count)


def test_ranks_that_share_rows_share_activations():
    alone, shared = (
        plan_memory(grpo("Qwen/Qwen3-8B", learner={"num_ranks": 2, "sequence_parallel_size": size}), on_gpu=True)[0]
        for size in (1, 2)
    )
    assert shared.parts["activations"] == alone.parts["activations"] / 2
    assert shared.parts["mask"] == alone.parts["mask"]


FULL = ["learner.lora=null", "learner.sequence_parallel_size=1"]


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        ([], True),
        (["learner.sequence_parallel_size=1"], True),
        (["hardware.gpu_gib=44", "learner.sequence_parallel_size=4", "engine.tensor_parallel_size=1"], True),
        (FULL, True),
        ([*FULL, "learner.gradient_checkpointing=false"], False),
        ([*FULL, "learner.num_ranks=1", "learner.zero_stage=1"], False),
        ([*FULL, "learner.num_ranks=1", "learner.offload=parameters"], True),
        (["learner.num_ranks=1", "learner.sequence_parallel_size=1", "hardware.gpus=5"], True),
    ],
)
def test_8b_at_32k_tokens_fits_where_it_is_said_to(overrides, fits):
    """One GPU of 80 GB is enough with adapters or with everything offloaded; checkpointing is always needed."""
    config = load_config(find_config("configs/qwen3/long_rl_8b.yaml"), overrides)
    assert config.sampling.max_tokens == 32768
    needs = plan_memory(config, on_gpu=True)
    for need in needs:
        print(need.name, need.in_words())
    assert (list(shortfalls(config, needs)) == []) == fits


COLOCATED = [*FULL, "ray.placement.layout=colocated", "max_staleness=0", "learner.num_ranks=8", "hardware.gpus=8"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["engine.gpu_memory_share=0.6"], None),
        ([], r"engine.gpu_memory_share is 0.9: a rank keeps 2\d.\d GiB of 79 .* leaves a share of 0.7\d"),
        (["engine.gpu_memory_share=0.5", "hardware.gpu_gib=47.5"], r"learner: 46.\d GiB and 1.5 GiB of an engine that"),
    ],
)
def test_engines_that_share_the_learners_gpus_get_what_it_leaves_them(overrides, problem):
    config = load_config(find_config("configs/qwen3/long_rl_8b.yaml"), [*COLOCATED, *overrides])
    needs = plan_memory(config, on_gpu=True)
    assert num_gpus(needs) == 8, "the engines want none of their own"
    found = list(shortfalls(config, needs))
    assert len(found) == (problem is not None), found
    if problem is not None:
        assert re.search(problem, found[0]), found


def test_a_broadcast_of_weights_takes_a_bucket_on_both_sides():
    for bucket_mib, gib in ((64, 151_936 * 4096 * 2 / GIB), (2048, 2.0)):
        learner = {"weight_transfer": "broadcast", "bucket_mib": bucket_mib}
        needs = plan_memory(grpo("Qwen/Qwen3-8B", learner=learner), on_gpu=True)
        assert [need.parts["weight bucket"] for need in needs] == [pytest.approx(gib)] * 2
    assert "weight bucket" not in plan_memory(grpo("Qwen/Qwen3-8B"), on_gpu=True)[0].parts


def grpo(model: str, **changes) -> GRPOConfig:
    prompts = {"sources": [{"generator": "rl.arithmetic:problem"}]}
    required = {"num_steps": 1, "groups_per_step": 1, "samples_per_prompt": 2, "prompts": prompts}
    return GRPOConfig.model_validate({"model": model, **required, **changes})


def test_a_frozen_copy_and_checkpointing_show():
    (plain, _), (with_kl, _), (checkpointed, _) = (
        plan_memory(grpo("Qwen/Qwen3-8B", **changes), on_gpu=True)
        for changes in ({}, {"loss": {"kl": {"place": "loss", "estimator": "k2"}}}, {"learner": CHECKPOINTED})
    )
    assert with_kl.gib - plain.gib == pytest.approx(plain.parts["weights"])
    assert checkpointed.parts["activations"] < 0.1 * plain.parts["activations"]


CHECKPOINTED = {"gradient_checkpointing": True}


def test_a_config_that_does_not_fit_says_what_to_change():
    config = grpo("Qwen/Qwen3-32B", hardware={"gpus": 1, "gpu_gib": 80})
    needs = plan_memory(config, on_gpu=True)
    assert num_gpus(needs) == 2
    gpus, learner = (text for text in shortfalls(config, needs) if "engine" not in text)
    assert gpus == "2 GPUs are wanted, hardware.gpus is 1"
    assert "zero_stage 3" in learner
    (together,) = [found for found in examine_config(config) if found.name == "together"]
    assert gpus in together.problem
    (host,) = [found for found in examine_config(config) if found.name == "host memory"]
    assert host.value.startswith("61 GiB")


def test_the_cache_is_counted_by_heads_and_shards():
    shape = QWEN3["32B"]
    assert shape.kv_bytes_per_token(2) == 256 * 1024
    engine = EngineConfig(tensor_parallel_size=2, max_context_tokens=32768, gpu_memory_share=0.9)
    room = 0.9 * 80 - shape.num_parameters * 2 / 2 / GIB - 3
    assert num_full_sequences(engine, shape, 80) == int(room / 4)
    assert num_full_sequences(EngineConfig(max_context_tokens=4096, kv_cache_gib=1, dtype="float32"), shape, None) == 0


def test_the_smoke_configs_have_a_plan_without_gpus():
    for name in ("grpo", "sft"):
        found = {each.name: each for each in examine_config(load_config(find_config(f"configs/smoke/{name}.yaml")))}
        assert not found["together"].problem
    pipeline = examine_config(load_config(find_config("configs/smoke/pipeline.yaml")))
    names = {found.name for found in pipeline}
    assert {"cold_start: learner", "reasoning: learner", "reasoning: engine", "measure: engine"} <= names


SOURCES = [{"path": "queries.jsonl", "task": "math"}]


def fuse(thinking: dict, without: dict | None = None, **changes) -> FuseConfig:
    fields = {"queries": SOURCES, "thinking": thinking, "without_thinking": without or thinking, **changes}
    return FuseConfig.model_validate(fields)


def respondent(model: str, **engine) -> dict:
    return {"model": model, "engine": {"max_context_tokens": 8192, **engine}}


def test_engines_of_respondents_take_turns():
    small = respondent("Qwen/Qwen3-8B", tensor_parallel_size=2, num_engines=3)
    large = respondent("Qwen/Qwen3-32B", tensor_parallel_size=4, gpu_memory_share=0.5)
    config = fuse(small, large, hardware={"gpus": 6, "gpu_gib": 36})
    needs = plan_memory(config, on_gpu=True)
    assert [need.name for need in needs] == ["engine of thinking", "engine of without_thinking"]
    assert [need.parts["weights"] for need in needs] == pytest.approx(
        [QWEN3["8B"].num_parameters * 2 / 2 / GIB, QWEN3["32B"].num_parameters * 2 / 4 / GIB]
    )
    assert num_gpus(needs) == 6, "of the larger need alone"
    (text,) = shortfalls(config, needs)
    assert text.startswith("engine of without_thinking: ")
    assert "GiB a GPU of 18.0: a larger tensor_parallel_size or a shorter context" in text
    roomy = config.model_copy(update={"hardware": HardwareConfig(gpus=6, gpu_gib=80)})
    assert list(shortfalls(roomy, needs)) == []
    found = {each.name: each for each in examine_config(roomy)}
    assert found["together"].value == "6 of 6 GPUs"
    assert found["cache of thinking"].value.endswith("at once at 8192 tokens each")


def test_only_respondents_that_are_models_need_engines():
    pairs = {"pairs": respondent("Qwen/Qwen3-4B"), "queries": SOURCES}
    generator = {"generator": "rl.schoolwork:teacher"}
    curate = CurateConfig.model_validate(
        {**pairs, "candidates": generator, "query_filters": {"without_thinking": respondent("Qwen/QwQ-32B")}}
    )
    names = ["engine of without_thinking", "engine of pairs"]
    assert [need.name for need in plan_memory(curate, on_gpu=True)] == names
    (need,) = plan_memory(SelectConfig.model_validate(pairs), on_gpu=True)
    assert (need.name, need.num_processes) == ("engine of pairs", 1)
    assert plan_memory(fuse(generator), on_gpu=True) == []
    assert [need.parts["cache"] for need in plan_memory(curate, on_gpu=False)] == [2, 2]


def test_stages_that_ask_a_model_of_an_earlier_one_have_its_shape():
    (found,) = [
        found
        for found in examine_config(load_config(find_config("configs/qwen3/all.yaml")))
        if found.name == "fuse: engine of thinking"
    ]
    assert f"{QWEN3['32B'].num_parameters * 2 / 4 / GIB:.1f} weights" in found.value


def test_a_row_is_as_long_as_what_is_packed_into_it():
    source = [{"generator": "rl.arithmetic:conversation"}]
    common = {"model": "Qwen/Qwen3-0.6B", "num_steps": 1, "conversations_per_step": 1, "sources": source}
    config = SFTConfig.model_validate({**common, "max_tokens": 4096, "hardware": HardwareConfig(gpus=1, gpu_gib=80)})
    longer = config.model_copy(update={"packing": PackingConfig(tokens_per_row=16384, tokens_per_micro_batch=16384)})
    (short,), (long,) = plan_memory(config, on_gpu=True), plan_memory(longer, on_gpu=True)
    assert long.parts["mask"] == pytest.approx(8 * short.parts["mask"])


def test_an_architecture_needs_the_usual_names():
    with pytest.raises(ValueError, match="no memory plan for a object"):
        Architecture.from_config(object())
