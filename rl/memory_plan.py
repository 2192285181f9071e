"""What a config needs in memory, process by process, from the model's shape: an estimate before anything starts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rl.architecture import Architecture, find_architecture
from rl.config import EvaluateConfig, GRPOConfig, RecipeConfig, SFTConfig
from rl.curation.config import CurateConfig, FuseConfig, SelectConfig
from rl.distill_config import DistillConfig
from rl.learner import LearnerConfig
from rl.objectives import CrossEntropyConfig
from rollout.engine import EngineConfig
from rollout.precision import Precision, resolve_precision

GIB = 2**30
SIZES = {"bfloat16": 2, "float32": 4}
# Not counted one by one: context, communication buckets and gathered layers of ZeRO, fragmentation.
LEARNER_MARGIN_GIB = 6.0
PROMPT_TOKENS = 2048  # of a prompt, beside the longest response
ENGINE_MARGIN_GIB = 3.0  # context, activations of a prefill, sampler
SLEEPING_GIB = 1.5  # of an engine that sleeps: its context, and what vLLM cannot free
WHILE_IT_WORKS = ("activations", "mask", "output head")  # parts of a rank that are gone when its update is done


Trained = GRPOConfig | SFTConfig | DistillConfig


@dataclass(frozen=True, slots=True)
class Need:
    """One kind of process: how many there are, on how many GPUs each, and its parts in GiB a GPU (or a process)."""

    name: str
    num_processes: int
    gpus_each: int
    parts: dict[str, float]
    share: float = 1.0  # of a GPU's memory that it may fill
    takes_turns: bool = False  # it is never there beside another one that does
    is_colocated: bool = False  # on the learner's GPUs

    @property
    def gib(self) -> float:
        return sum(self.parts.values())

    def in_words(self) -> str:
        inside = " + ".join(f"{gib:.1f} {part}" for part, gib in self.parts.items() if gib >= 0.05)
        return f"{self.gib:.1f} GiB a GPU or process = {inside}"


def plan_memory(config: RecipeConfig, *, on_gpu: bool) -> list[Need]:
    """The learner's ranks and the engines of a config; nothing for a recipe that starts neither."""
    needs = []
    if isinstance(config, Trained):
        needs.append(learner_need(config, find_architecture(config.model), on_gpu=on_gpu))
    for name, (engine, model) in planned_engines(config).items():
        need = engine_need(engine, find_architecture(model), on_gpu=on_gpu)
        takes_turns = isinstance(config, CurateConfig | SelectConfig | FuseConfig)
        is_colocated = name == "engine" and config.ray.placement.shares("engine")
        needs.append(replace(need, name=name, takes_turns=takes_turns, is_colocated=is_colocated))
    if isinstance(config, Trained) and config.learner.weight_transfer == "broadcast":
        bucket = bucket_gib(config.learner, find_architecture(config.model), _size(config.learner.dtype, on_gpu))
        takes_part = ("learner", "engine")
        needs = [
            replace(need, parts=need.parts | {"weight bucket": bucket}) if need.name in takes_part else need
            for need in needs
        ]
    return needs


def bucket_gib(learner: LearnerConfig, model: Architecture, size: int) -> float:
    """What a broadcast of weights holds on each device: a bucket, or the largest weight, which is never split."""
    return max(learner.bucket_mib / 1024, model.vocab * model.hidden * size / GIB)


def planned_engines(config: RecipeConfig) -> dict[str, tuple[EngineConfig, str]]:
    """The engines that a config starts and their models, by what they are for."""
    if isinstance(config, CurateConfig | SelectConfig | FuseConfig):
        return {
            f"engine of {name}": (each.engine, each.model) for name, each in config.respondents.items() if each.model
        }
    found = {}
    if isinstance(config, GRPOConfig | DistillConfig | EvaluateConfig) or (
        isinstance(config, SFTConfig) and config.evals
    ):
        found["engine"] = config.engine, config.model
    if isinstance(config, DistillConfig) and config.mode == "sampled_token":
        found["engine of teacher"] = config.teacher.engine, config.teacher.model
    return found


def at_once(needs: list[Need], amount: Callable[[Need], float]) -> float:
    """The sum over all needs; of those that take turns only the largest counts."""
    turns = [amount(need) for need in needs if need.takes_turns]
    return sum(amount(need) for need in needs if not need.takes_turns) + max(turns, default=0)


def num_gpus(needs: list[Need]) -> int:
    return int(at_once(needs, lambda need: 0 if need.is_colocated else need.num_processes * need.gpus_each))


def learner_need(config: Trained, model: Architecture, *, on_gpu: bool) -> Need:
    """A rank of the learner: state sharded as the ZeRO stage says (1910.02054, section 3), and one micro-batch."""
    learner, longest = config.learner, longest_row(config)
    size = _size(learner.dtype, on_gpu)
    parts = state_gib(model, learner, size)
    parts = {name: gib for name, gib in parts.items() if not (on_gpu and name in offloaded_parts(learner))}
    if has_frozen_copy(config):
        parts["frozen copy"] = parts.get("weights", 0.0)  # else it is offloaded with the policy's
    if isinstance(config, DistillConfig) and config.mode == "full_vocabulary":
        shards = learner.num_ranks if learner.zero_stage == 3 else 1
        teacher, width = find_architecture(config.teacher.model), _size(config.teacher.dtype, on_gpu)
        parts["teacher"] = teacher.num_parameters * width / shards / GIB
    micro_batch = max(config.packing.tokens_per_micro_batch, longest)  # one sequence is never split
    held = micro_batch / learner.sequence_parallel_size  # attention has all tokens, of as many heads fewer
    tokens = held * size * model.num_layers * model.hidden / GIB
    layer = held * (layer_bytes_per_token(model, size) + adapter_bytes_per_token(learner, size)) / GIB
    checkpointed = learner.gradient_checkpointing
    parts["activations"] = tokens + layer if checkpointed else layer * model.num_layers
    parts["mask"] = micro_batch * longest * (1 + size) / GIB  # boolean, and as the kernel's bias
    parts["output head"] = head_bytes(model, learner.logits_chunk, size, trained=learner.lora is None) / GIB
    return Need("learner", learner.num_ranks, 1, parts | {"margin": LEARNER_MARGIN_GIB if on_gpu else 0.0})


def state_gib(model: Architecture, learner: LearnerConfig, size: int) -> dict[str, float]:
    """A rank's weights, gradients, and the optimizer's: float32 masters where the weights are shorter, and Adam's
    moments, of all that is trained; wherever they are kept."""
    ranks, stage = learner.num_ranks, learner.zero_stage
    adapters = learner.lora.num_parameters(model) if learner.lora else 0
    count = (model.num_parameters + adapters) / GIB
    trained = adapters / GIB if learner.lora else count
    return {
        "weights": count * size / (ranks if stage == 3 else 1),
        "gradients": trained * size / (ranks if stage >= 2 else 1),
        "masters": trained * (4 if size == 2 else 0) / (ranks if stage >= 1 else 1),
        "moments": trained * 8 / (ranks if stage >= 1 else 1),
    }


def offloaded_parts(learner: LearnerConfig) -> set[str]:
    """What of the state is in the host's memory; gradients follow the optimizer where they are sharded like it."""
    optimizer = {"masters", "moments"} | ({"gradients"} if learner.zero_stage >= 2 else set())
    return {"none": set(), "optimizer": optimizer, "parameters": optimizer | {"weights"}}[learner.offload]


def has_frozen_copy(config: Trained) -> bool:
    """Whether a second model stands beside the policy; without its adapters the policy is its own reference."""
    return (
        config.learner.lora is None
        and not isinstance(config.loss, CrossEntropyConfig)
        and config.loss.needs_frozen_logprobs
    )


def offloaded_gib(config: Trained) -> float:
    """Memory of the host for what all ranks keep there while they learn, gradients as the optimizer's float32 too."""
    learner, model = config.learner, find_architecture(config.model)
    state = state_gib(model, learner, _size(learner.dtype, on_gpu=True))
    kept = {name: state[name] for name in offloaded_parts(learner)}
    if has_frozen_copy(config):
        kept["frozen copy"] = kept.get("weights", 0.0)
    return learner.num_ranks * (sum(kept.values()) + kept.get("moments", 0.0) / 2)


def loading_gib(config: Trained) -> float:
    """Memory of the host while the learner starts: every rank has read the whole model before it is sharded."""
    size = _size(config.learner.dtype, on_gpu=True)
    return config.learner.num_ranks * find_architecture(config.model).num_parameters * size / GIB


def longest_row(config: Trained) -> int:
    """Tokens of the longest row that is computed at once: a sequence, or what packing joins."""
    if isinstance(config, SFTConfig):
        longest = config.max_tokens
    else:  # evaluations may want a longer context than training fills
        longest = min(config.engine.max_context_tokens, config.sampling.max_tokens + PROMPT_TOKENS)
    return max(longest, config.packing.tokens_per_row)


def layer_bytes_per_token(model: Architecture, size: int) -> int:
    """What one layer of transformers' Qwen3 keeps for its backward pass, without attention scores.

    Counted as in Korthikanti et al. (2205.05198, section 4.1), but for RMS norms (computed in float32), norms of
    queries and keys, rotary embedding, keys and values repeated for their groups, and a gated feed-forward layer.
    """
    queries, keys = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    norms = 2 * (4 + 2 * size) * model.hidden
    attention = (4 + 6 * size) * queries + (4 + 4 * size) * keys
    width = model.intermediate * max(1, model.experts_per_token)
    routed = 2 * size * model.hidden * model.experts_per_token
    return norms + attention + 4 * size * width + routed


def adapter_bytes_per_token(learner: LearnerConfig, size: int) -> int:
    """What the adapters of one layer keep beside it: their inputs are the layer's, and A·x has their rank."""
    return size * learner.lora.rank * len(learner.lora.target_modules) if learner.lora else 0


def head_bytes(model: Architecture, chunk: int, size: int, *, trained: bool = True) -> int:
    """The output head's weight and its float32 gradient, and one chunk of float32 logits with two of its size."""
    return model.vocab * (model.hidden * (size + 4 * trained) + 3 * 4 * chunk)


def engine_need(config: EngineConfig, model: Architecture, *, on_gpu: bool) -> Need:
    """A GPU of an engine: its shard of the weights, and the cache of one sequence of full length, the least it needs.

    vLLM fills what its share of the memory leaves with more of the cache; see `num_full_sequences`.
    """
    size = _size(config.dtype, on_gpu)
    weights = model.num_parameters * size / config.tensor_parallel_size / GIB
    parts = {"weights": weights, "cache": sequence_gib(config, model, on_gpu=on_gpu)}
    if not on_gpu:
        parts["cache"] = float(config.kv_cache_gib)
    margin = ENGINE_MARGIN_GIB if on_gpu else 0.0
    count, size = config.num_engines, config.tensor_parallel_size
    return Need("engine", count, size, parts | {"margin": margin}, config.gpu_memory_share if on_gpu else 1.0)


def sequence_gib(config: EngineConfig, model: Architecture, *, on_gpu: bool) -> float:
    """Cache of a sequence of full length on each GPU of an engine; a key-value head is on one GPU or on several."""
    size = _size(config.dtype, on_gpu)
    shards = min(config.tensor_parallel_size, model.num_kv_heads)
    return config.max_context_tokens * model.kv_bytes_per_token(size) / shards / GIB


def num_full_sequences(config: EngineConfig, model: Architecture, gpu_gib: float | None) -> int:
    """Sequences of full length that an engine holds at once; more wait, or are computed again.

    `gpu_gib` None is a CPU, where the config says how large the cache is.
    """
    on_gpu = gpu_gib is not None
    room = float(config.kv_cache_gib)
    if gpu_gib is not None:
        weights = engine_need(config, model, on_gpu=True).parts["weights"]
        room = config.gpu_memory_share * gpu_gib - weights - ENGINE_MARGIN_GIB
    return int(room / sequence_gib(config, model, on_gpu=on_gpu))


def shortfalls(config: RecipeConfig, needs: list[Need]) -> Iterator[str]:
    """Why a config does not fit the hardware that it names; nothing where it does."""
    hardware = config.hardware
    assert hardware is not None, "asked of configs that name their hardware"
    if num_gpus(needs) > hardware.gpus:
        yield f"{num_gpus(needs)} GPUs are wanted, hardware.gpus is {hardware.gpus}"
    for need in needs:
        share = need.share
        if need.gib > share * hardware.gpu_gib:
            remedy = (
                "more ranks, zero_stage 3, gradient_checkpointing, smaller micro-batches, lora, offload or "
                "sequence_parallel_size"
                if need.name == "learner"
                else "a larger tensor_parallel_size or a shorter context"
            )
            yield f"{need.name}: {need.gib:.1f} GiB a GPU of {share * hardware.gpu_gib:.1f}: {remedy}"
        if need.is_colocated:
            yield from _shared_shortfalls(needs[0], need, hardware.gpu_gib)


def _shared_shortfalls(learner: Need, engine: Need, gpu_gib: float) -> Iterator[str]:
    """Where a GPU has too little memory for the learner and an engine that take turns on it."""
    kept = sum(gib for part, gib in learner.parts.items() if part not in WHILE_IT_WORKS)
    if kept + engine.share * gpu_gib > gpu_gib:
        yield (
            f"engine.gpu_memory_share is {engine.share:g}: a rank keeps {kept:.1f} GiB of {gpu_gib:g} between its "
            f"updates, which leaves a share of {max(0.0, 1 - kept / gpu_gib):.2f}: lower it, or more ranks, zero_stage "
            "3 or offload"
        )
    if learner.gib <= gpu_gib < learner.gib + SLEEPING_GIB:
        yield f"learner: {learner.gib:.1f} GiB and {SLEEPING_GIB} GiB of an engine that sleeps, of {gpu_gib:g}"


def _size(dtype: Precision, on_gpu: bool) -> int:
    """Bytes a number; `auto` is bfloat16 on any GPU, whatever computes the plan."""
    return SIZES["bfloat16" if dtype == "auto" and on_gpu else resolve_precision(dtype)]
