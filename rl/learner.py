"""What a recipe asks of a learner, whatever library computes it."""

import math
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.lora import LoRAConfig
from rl.types import StepMetrics, TrainBatch
from rollout.sampler import EngineHandle

Bucket = dict[str, Any]  # one bucket of weights: see rollout/weight_receiver.py


class ScheduleConfig(BaseModel):
    """The learning rate over updates: linear warm-up, then constant, or falling to `final_share` at the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["constant", "linear", "cosine"] = "constant"
    warmup_updates: int = Field(0, ge=0)
    total_updates: int | None = Field(None, gt=0)
    final_share: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check_span(self) -> Self:
        if self.name != "constant" and self.total_updates is None:
            raise ValueError(f"schedule {self.name} needs total_updates: num_steps x updates_per_step for a whole run")
        if self.total_updates is not None and self.total_updates <= self.warmup_updates:
            raise ValueError(f"total_updates {self.total_updates} must be above warmup_updates {self.warmup_updates}")
        return self


class OptimizerConfig(BaseModel):
    """AdamW. `max_grad_norm` 0 turns clipping off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float = Field(1e-6, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)
    schedule: ScheduleConfig = ScheduleConfig()


class LearnerConfig(BaseModel):
    """How the policy is trained. `num_ranks` processes; `threads` CPU threads each (0: share the cores);
    `cores` are the CPU cores of all ranks, written as `engine.cores`, by default all.

    `auto` is bfloat16, with float32 master weights, where the hardware computes in it, and float32 elsewhere.
    For memory (docs/memory.md): `lora` trains adapters alone; `offload` keeps the optimizer's state, or the
    parameters too, in the host's memory; `sequence_parallel_size` neighbouring ranks share the tokens of each row.
    Two are for mixtures of experts (docs/moe.md): `load_balancing` is the coefficient of the global-batch
    loss (None: 1e-3 in supervised fine-tuning, 0 elsewhere); with `routing_replay: start` the updates of a step
    choose the experts that its start chose.
    New weights go to engines by `weight_transfer` (docs/cluster.md): host, through files in shared memory and Ray's
    object store; broadcast, from device to device through NCCL (on CPUs gloo).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_ranks: int = Field(1, ge=1)
    zero_stage: Literal[0, 1, 2, 3] = 1
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    updates_per_step: int = Field(1, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    gradient_checkpointing: bool = False
    logits_chunk: int = Field(512, gt=0)
    bucket_mib: int = Field(64, gt=0)
    threads: int = Field(0, ge=0)
    cores: str | None = None
    start_timeout_s: float = Field(600, gt=0)
    update_timeout_s: float = Field(3600, gt=0)
    load_balancing: float | None = Field(None, ge=0)
    routing_replay: Literal["none", "start"] = "none"
    lora: LoRAConfig | None = None
    offload: Literal["none", "optimizer", "parameters"] = "none"
    sequence_parallel_size: int = Field(1, ge=1)
    weight_transfer: Literal["host", "broadcast"] = "host"

    @property
    def num_data_ranks(self) -> int:
        """Among how many a batch is divided."""
        return self.num_ranks // self.sequence_parallel_size

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        needed = {"none": 0, "optimizer": 1, "parameters": 3}[self.offload]
        if self.zero_stage < needed:
            raise ValueError(f"offload {self.offload} needs zero_stage {needed} or above, not {self.zero_stage}")
        if self.num_ranks % self.sequence_parallel_size:
            raise ValueError(
                f"num_ranks {self.num_ranks} must be a multiple of sequence_parallel_size {self.sequence_parallel_size}"
            )
        return self

    @model_validator(mode="after")
    def _check_replay(self) -> Self:
        if self.routing_replay == "start" and self.updates_per_step == 1:
            raise ValueError(
                "routing_replay is start, but updates_per_step is 1: there is no later update to replay experts in; "
                "set updates_per_step above 1 or routing_replay to none"
            )
        return self


class Learner(Protocol):
    """The whole boundary: an algorithm is a batch and a loss by name, never a method here."""

    num_ranks: int
    updates_per_step: int
    broadcasts: bool  # its weights, so that a lost engine spoils those of the others

    async def update(self, batch: TrainBatch) -> StepMetrics: ...

    async def evaluate(self, batch: TrainBatch) -> StepMetrics: ...

    def weights(self, engines: Sequence[EngineHandle]) -> AsyncGenerator[Bucket, None]: ...

    async def save(self, folder: Path) -> None: ...

    async def load(self, folder: Path) -> None: ...


def scheduled_lr(config: OptimizerConfig, update: int) -> float:
    """The learning rate of update 0, 1, ...: a function of the count alone, so that a resume needs no state."""
    schedule = config.schedule
    if update < schedule.warmup_updates:
        return config.lr * (update + 1) / schedule.warmup_updates
    if schedule.name == "constant":
        return config.lr
    assert schedule.total_updates is not None, "checked when the config was read"
    done = min(1.0, (update - schedule.warmup_updates) / (schedule.total_updates - schedule.warmup_updates))
    falling = 1 - done if schedule.name == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (schedule.final_share + (1 - schedule.final_share) * falling)
