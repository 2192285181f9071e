"""The teacher of on-policy distillation: its configuration, and its frozen weights beside the learner."""

from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rl.divergence_head import AlignmentSettings, ChunkedDivergence, DivergenceConfig
from rl.policy import HeadFunction
from rl.types import MicroBatch
from rollout.engine import EngineConfig
from rollout.precision import Precision


class TeacherConfig(BaseModel):
    """Who teaches: a model with the student's vocabulary.

    Beside the learner it computes in `dtype`, and is sharded where the student is (`learner.zero_stage` 3). In mode
    `sampled_token` it is served by engines of its own instead, as `engine` says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    dtype: Precision = "auto"
    engine: EngineConfig = EngineConfig(max_context_tokens=2049)


class AlignmentConfig(BaseModel):
    """What a learner with a teacher beside it minimises; the teacher's `model` is a folder or a hub id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: TeacherConfig
    divergence: DivergenceConfig = DivergenceConfig()
    vocabulary_size: int = Field(gt=0)

    def settings(self, sampling_temperature: float, chunk: int) -> AlignmentSettings:
        return AlignmentSettings(
            divergence=self.divergence,
            sampling_temperature=sampling_temperature,
            vocabulary_size=self.vocabulary_size,
            chunk=chunk,
        )


class FrozenTeacher:
    """A policy without gradient, and its output head [V, H], which never changes and so is gathered only once."""

    def __init__(self, policy: Callable[..., Any], head_VH: Tensor, settings: AlignmentSettings) -> None:
        self.policy, self.head_VH, self.settings = policy, head_VH, settings

    @torch.no_grad()
    def comparison(self, micro: MicroBatch) -> HeadFunction:
        """What the student's head is to compute: log-probs, entropies and the fields of an `Alignment`."""
        teacher_hidden_NH = self.policy(*micro.model_inputs, lambda hidden_NH, weight_VH, target_N: hidden_NH)

        def compare(hidden_NH: Tensor, weight_VH: Tensor, target_N: Tensor) -> tuple[Tensor, ...]:
            return ChunkedDivergence.apply(
                hidden_NH, weight_VH, target_N, teacher_hidden_NH, self.head_VH, self.settings
            )

        return compare
