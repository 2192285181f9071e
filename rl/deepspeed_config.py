"""What DeepSpeed is told: ZeRO, precision, optimizer, and what lives in the host's memory."""

from typing import Any

import torch

from rl.learner import LearnerConfig


def deepspeed_config(config: LearnerConfig, precision: str) -> dict[str, Any]:
    """DeepSpeed's settings of a learner that scales its loss and sets its learning rate itself."""
    o = config.optimizer
    # A missing gradient_clipping means 1.0 to DeepSpeed, so it is always said.
    clip = 0.0 if config.zero_stage == 0 else o.max_grad_norm
    adamw = {"lr": o.lr, "betas": list(o.betas), "eps": o.eps, "weight_decay": o.weight_decay}
    adamw |= {"torch_adam": True, "fused": True}
    return {
        "train_batch_size": config.num_ranks,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": clip,
        "optimizer": {"type": "AdamW", "params": adamw},
        "zero_optimization": {"stage": config.zero_stage, "overlap_comm": False} | _offload(config),
        # The same torch optimizer wherever its state lives: its fused step is vectorised on a CPU too.
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": precision == "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }


def frozen_config(config: LearnerConfig, precision: str) -> dict[str, Any]:
    """The same for a model that is only computed with."""
    settings = deepspeed_config(config, precision)
    del settings["optimizer"]
    settings["zero_optimization"].pop("offload_optimizer", None)
    return settings


def _offload(config: LearnerConfig) -> dict[str, Any]:
    """ZeRO-Offload (2101.06840): the optimizer's state in the host's memory, or the parameters too."""
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    names = {"none": (), "optimizer": ("offload_optimizer",), "parameters": ("offload_optimizer", "offload_param")}
    return {name: dict(place) for name in names[config.offload]}
