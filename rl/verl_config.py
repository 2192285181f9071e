"""verl's configs as ours, and what our engine cannot do refused by name before anything is loaded."""

from dataclasses import dataclass
from typing import Any

from verl.workers.config import FSDPEngineConfig
from verl.workers.config.engine import EngineConfig

from rl.learner import LearnerConfig, OptimizerConfig

DTYPES = {"bfloat16": "bfloat16", "bf16": "bfloat16", "float32": "float32", "fp32": "float32"}
# Not supported: name of a field, and the value that it must keep.
ENGINE = {
    "param_offload": False,
    "optimizer_offload": False,
    "offload_policy": False,
    "ulysses_sequence_parallel_size": 1,
    "qat.enable": False,
    "router_replay.mode": "disabled",
}
MODEL = {
    "lora_rank": 0,
    "lora_adapter_path": None,
    "enable_activation_offload": False,
    "trust_remote_code": False,
    "mtp.enable": False,
    "tiled_mlp.enabled": False,
}
OPTIMIZER = {"optimizer": "AdamW", "optimizer_impl": "torch.optim"}


@dataclass
class DeepSpeedEngineConfig(FSDPEngineConfig):
    """verl's FSDP config with DeepSpeed's stage: `_target_: rl.verl_config.DeepSpeedEngineConfig`.

    `logits_chunk`: tokens whose logits exist at once; `bucket_mib`: weights that are gathered at once.
    """

    strategy: str = "deepspeed"
    zero_stage: int = 3
    logits_chunk: int = 512
    bucket_mib: int = 64

    def __post_init__(self) -> None:
        EngineConfig.__post_init__(self)  # FSDP's own knows no other strategy than FSDP


def zero_stage(config: Any) -> int:
    """That of DeepSpeedEngineConfig; a plain FSDP config means what it says of FSDP: shard all, or all but weights."""
    return getattr(config, "zero_stage", 3 if config.reshard_after_forward else 2)


def learner_config(model: Any, engine: Any, optimizer: Any, num_ranks: int) -> LearnerConfig:
    """What verl's configs say, for our learner. ValueError for what they say and it cannot do."""
    _check(engine, ENGINE, "engine")
    _check(model, MODEL, "model")
    if engine.fsdp_size not in (-1, num_ranks):
        raise ValueError(f"engine.fsdp_size is {engine.fsdp_size}: DeepSpeed shards over all {num_ranks} ranks, set -1")
    kept = set(model.override_config) - {"attn_implementation"}
    if kept:
        raise ValueError(f"model.override_config has {sorted(kept)}: edit config.json in the model's folder instead")
    precision = (engine.mixed_precision or {}).get("param_dtype", engine.dtype)
    if precision not in DTYPES:
        raise ValueError(f"engine.dtype is {precision}: set one of {', '.join(DTYPES)}")
    return LearnerConfig.model_validate(
        {
            "num_ranks": num_ranks,
            "zero_stage": zero_stage(engine),
            "dtype": DTYPES[precision],
            "optimizer": OptimizerConfig() if engine.forward_only else optimizer_config(optimizer),
            "gradient_checkpointing": model.enable_gradient_checkpointing and not engine.forward_only,
            "logits_chunk": getattr(engine, "logits_chunk", 512),
            "bucket_mib": getattr(engine, "bucket_mib", 64),
        }
    )


def optimizer_config(config: Any) -> OptimizerConfig:
    """verl's AdamW as ours; its schedule is verl's own."""
    _check(config, OPTIMIZER, "optim")
    options = dict(getattr(config, "override_optimizer_config", None) or {})
    known = {"betas": config.betas, "eps": options.pop("eps", 1e-8), "weight_decay": config.weight_decay}
    if options:
        raise ValueError(f"optim.override_optimizer_config has {sorted(options)}: eps alone can be set")
    return OptimizerConfig(lr=config.lr, max_grad_norm=config.clip_grad, **known)


def _check(config: Any, supported: dict[str, Any], where: str) -> None:
    for path, wanted in supported.items():
        value = config
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        if value is not None and value != wanted:
            raise ValueError(f"{where}.{path} is {value}, which strategy deepspeed does not support: set {wanted}")
