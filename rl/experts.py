"""What a mixture of experts asks of a config: which settings fit the model, and which are dangerous."""

import logging
from typing import Any

from rl.learner import LearnerConfig
from rl.losses import LossConfig
from rl.objectives import CrossEntropyConfig, ObjectiveConfig

logger = logging.getLogger(__name__)

SUPPORTED = "qwen3_moe"  # its routers are known to rl/routing.py
COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")  # what configs of transformers call it
SUPERVISED_COEFFICIENT = 1e-3  # ours: the paper pre-trains with 8e-3; transformers' default, at another scale, is 1e-3


def load_balancing_coefficient(learner: LearnerConfig, objective: ObjectiveConfig) -> float:
    """The coefficient of the global-batch loss; where the config is silent, on in supervised fine-tuning alone."""
    if learner.load_balancing is not None:
        return learner.load_balancing
    return SUPERVISED_COEFFICIENT if isinstance(objective, CrossEntropyConfig) else 0.0


def has_experts(config: Any) -> bool:
    """Whether the model of this transformers config is a mixture of experts."""
    return any((getattr(config, name, None) or 0) > 1 for name in COUNTS)


def check_experts(model: str, learner: LearnerConfig, objective: ObjectiveConfig) -> None:
    """ValueError where a setting for experts does not fit the model; a warning for token ratios without replay."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    wanted = {"load_balancing": bool(learner.load_balancing), "routing_replay": learner.routing_replay != "none"}
    for name in (name for name, is_set in wanted.items() if is_set):
        if config.model_type != SUPPORTED:
            kind = "is another mixture of experts" if has_experts(config) else "has no experts"
            raise ValueError(
                f"learner.{name} is {getattr(learner, name)}, but {model} ({config.model_type}) {kind}: leave it out, "
                f"or name a model of type {SUPPORTED}"
            )
    if learner.routing_replay == "start" and not isinstance(objective, LossConfig):
        raise ValueError("learner.routing_replay is start, but supervised training has no ratios: set it to none")
    if (
        has_experts(config)
        and isinstance(objective, LossConfig)
        and objective.name != "gspo"
        and learner.updates_per_step > 1
        and learner.routing_replay == "none"
    ):
        logger.warning(
            "%s is a mixture of experts, and loss.name is %s with %d updates a step: its experts change from update "
            "to update, and ratios of single tokens with them. Set loss.name to gspo, or learner.routing_replay to "
            "start (docs/moe.md)",
            model,
            objective.name,
            learner.updates_per_step,
        )
