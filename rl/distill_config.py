"""The config of on-policy distillation."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from rewards.scorer import ScorerConfig
from rl.batch import PackingConfig
from rl.budget_curve import check_engine
from rl.checkpoint import CheckpointConfig
from rl.config import RecipeConfig, check_training_sampling, updates_in_words
from rl.divergence_head import DivergenceConfig
from rl.evals import EvalConfig
from rl.layout import check_colocated
from rl.learner import LearnerConfig
from rl.losses import LossConfig
from rl.prompts import PromptsConfig
from rl.teacher import TeacherConfig
from rollout.engine import EngineConfig
from rollout.types import SamplingParams

Mode = Literal["full_vocabulary", "sampled_token"]


class DistillConfig(RecipeConfig):
    """On-policy distillation: the student samples, and is aligned to its teacher at each token that it sampled.

    `mode` full_vocabulary: the teacher computes beside the learner, and `divergence` compares whole distributions.
    sampled_token: engines serve the teacher, and the policy gradient of `loss` has log π_T − log π_S of the sampled
    token as its advantage. Nothing is judged but in `evals`.
    """

    may_be_colocated: ClassVar[bool] = True

    recipe: Literal["distill"] = "distill"
    model: str
    teacher: TeacherConfig
    mode: Mode = "full_vocabulary"
    num_steps: int = Field(gt=0)
    groups_per_step: int = Field(gt=0)
    samples_per_prompt: int = Field(1, gt=0)
    max_staleness: int = Field(0, ge=0)
    look_ahead: int = Field(0, ge=0)
    collect_timeout_s: float = Field(1800, gt=0)
    prompts: PromptsConfig
    sampling: SamplingParams = SamplingParams()
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    divergence: DivergenceConfig = DivergenceConfig()
    loss: LossConfig = LossConfig()
    packing: PackingConfig = PackingConfig()
    learner: LearnerConfig = LearnerConfig()
    evals: list[EvalConfig] = Field([])
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_engine(self.engine.thinking_budget, self.prompts.sources, self.evals)
        check_training_sampling(self.sampling, self.engine)
        if self.ray.placement.layout == "colocated":
            check_colocated(self.engine, self.learner, self.max_staleness)
        served = self.mode == "sampled_token"
        # Values, not what was given: the config of a run folder gives every field.
        idle = {
            "divergence": served and self.divergence != DivergenceConfig(),
            "teacher.dtype": served and self.teacher.dtype != "auto",
            "loss": not served and self.loss != LossConfig(),
            "teacher.engine": not served and self.teacher.engine != TeacherConfig(model="").engine,
        }
        for name, is_idle in idle.items():
            if is_idle:
                raise ValueError(f"{name} does nothing in mode {self.mode}: leave it out, or change the mode")
        if served and self.sampling.temperature != 1:
            raise ValueError(
                f"sampling.temperature is {self.sampling.temperature}, but a served teacher's log-probs are at "
                "temperature 1: set it to 1, or take mode full_vocabulary"
            )
        if served and self.teacher.engine.max_context_tokens <= self.engine.max_context_tokens:
            raise ValueError(
                f"teacher.engine.max_context_tokens = {self.teacher.engine.max_context_tokens} must be above "
                f"engine.max_context_tokens = {self.engine.max_context_tokens}: it takes the student's and one more"
            )
        return self

    @property
    def draws_per_step(self) -> int:
        """How many prompts a step may settle at most."""
        return 4 * self.groups_per_step

    def in_words(self) -> str:
        sequences = self.groups_per_step * self.samples_per_prompt
        how = f"by {self.divergence.name} divergence over the whole vocabulary"
        how = "by the log-probs of the sampled tokens" if self.mode == "sampled_token" else how
        return (
            f"{self.groups_per_step} prompts a step x {self.samples_per_prompt} samples a prompt = {sequences} "
            f"sequences a step of up to {self.sampling.max_tokens} tokens, aligned to {self.teacher.model} {how}; "
            f"{self.num_steps} steps = {self.num_steps * sequences} sequences in all.\n"
            + updates_in_words(self.learner, self.packing, sequences)
        )
