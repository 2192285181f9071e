"""One pydantic model a recipe; each says in words what a step of it is."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewards.scorer import ScorerConfig
from rl.advantages import AdvantageConfig
from rl.batch import PackingConfig
from rl.checkpoint import CheckpointConfig
from rl.cluster import RayConfig
from rl.conversations import ConversationSourceConfig
from rl.evals import EvalConfig
from rl.filters import build_group_filter
from rl.learner import LearnerConfig
from rl.log import LogConfig
from rl.losses import LossConfig
from rl.objectives import CrossEntropyConfig
from rl.prompts import PromptsConfig
from rl.reward_statistics import Mode
from rollout.engine import EngineConfig
from rollout.types import SamplingParams


class RecipeConfig(BaseModel):
    """What every config of a run has: which recipe it is for, its seed, and where its run folder goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    seed: int = 0
    num_steps: int = Field(0, ge=0)  # 0: a recipe that takes no steps
    log: LogConfig = LogConfig()
    ray: RayConfig = RayConfig()

    def in_words(self) -> str:
        """What the run does, in plain words."""
        return f"recipe {self.recipe}, seed {self.seed}"


def updates_in_words(learner: LearnerConfig, packing: PackingConfig, num_sequences: int) -> str:
    """How a step's sequences are learned from, in plain words."""
    updates, ranks = learner.updates_per_step, learner.num_ranks
    return (
        f"{updates} optimizer update{'s' * (updates > 1)} a step, about {num_sequences // updates} sequences each, "
        f"over {ranks} learner rank{'s' * (ranks > 1)} (ZeRO-{learner.zero_stage}, {learner.dtype}) in "
        f"micro-batches of up to {packing.tokens_per_micro_batch} tokens a rank."
    )


def check_training_sampling(sampling: SamplingParams, engine: EngineConfig) -> None:
    """ValueError for samples that do not show the policy, or that do not fit."""
    if sampling.top_p < 1 or sampling.top_k != -1:
        raise ValueError(
            "sampling.top_p and sampling.top_k must be off (1 and -1) in training: the learner's log-probs are "
            "of the whole distribution, and a truncated one would bias every ratio"
        )
    if sampling.temperature == 0:
        raise ValueError("sampling.temperature is 0: greedy samples of one prompt are all alike and teach nothing")
    if sampling.max_tokens >= engine.max_context_tokens:
        raise ValueError(
            f"sampling.max_tokens = {sampling.max_tokens} leaves no room for a prompt in "
            f"engine.max_context_tokens = {engine.max_context_tokens}"
        )


class GRPOConfig(RecipeConfig):
    """Reasoning RL: groups of responses to each prompt, judged, and learned from with a policy gradient."""

    recipe: Literal["grpo"] = "grpo"
    model: str
    num_steps: int = Field(gt=0)
    groups_per_step: int = Field(gt=0)
    samples_per_prompt: int = Field(gt=1)
    max_staleness: int = Field(0, ge=0)
    max_draws_per_step: int | None = Field(None, gt=0)
    collect_timeout_s: float = Field(1800, gt=0)
    max_error_rate: float = Field(0.5, ge=0, le=1)
    overlong_cache_tokens: int = Field(0, ge=0)
    prompts: PromptsConfig
    group_filters: list[str] = []
    sampling: SamplingParams = SamplingParams()
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    reward_statistics: Mode = "constants"
    advantage: AdvantageConfig = AdvantageConfig()
    loss: LossConfig = LossConfig()
    packing: PackingConfig = PackingConfig()
    learner: LearnerConfig = LearnerConfig()
    evals: list[EvalConfig] = []
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        build_group_filter(self.group_filters)
        check_training_sampling(self.sampling, self.engine)
        if self.overlong_cache_tokens >= self.sampling.max_tokens:
            raise ValueError("overlong_cache_tokens must be below sampling.max_tokens")
        if self.draws_per_step < self.groups_per_step:
            raise ValueError("max_draws_per_step must be at least groups_per_step")
        if self.reward_statistics == "running" and not any(c.scales for c in self.rewards.combine.values()):
            raise ValueError(
                "reward_statistics is running, but no combination in rewards.combine has a preference to be "
                "normalised: add one, or set it to constants"
            )
        return self

    @property
    def draws_per_step(self) -> int:
        """How many prompts a step may settle at most; without filters none is drawn again."""
        return self.max_draws_per_step or 4 * self.groups_per_step

    def in_words(self) -> str:
        """What a step is, in plain words."""
        groups, samples = self.groups_per_step, self.samples_per_prompt
        sequences = groups * samples
        stale = f"up to {self.max_staleness} steps old" if self.max_staleness else "always of the newest weights"
        engines, shards = self.engine.num_engines, self.engine.tensor_parallel_size
        return (
            f"{groups} prompts a step x {samples} samples a prompt = {sequences} sequences a step of up to "
            f"{self.sampling.max_tokens} tokens, {stale}.\n"
            f"{updates_in_words(self.learner, self.packing, sequences)}\n"
            f"{engines} engine{'s' * (engines > 1)} of {shards} worker{'s' * (shards > 1)}; {self.num_steps} steps = "
            f"{self.num_steps * sequences} sequences in all."
        )


class SFTConfig(RecipeConfig):
    """Supervised fine-tuning on conversations: cold start, thinking-mode fusion and off-policy distillation.

    Conversations of more than `max_tokens` tokens are passed over and counted. `evals` need engines, which are
    started only where there are some.
    """

    recipe: Literal["sft"] = "sft"
    model: str
    num_steps: int = Field(gt=0)
    conversations_per_step: int = Field(gt=0)
    sources: list[ConversationSourceConfig] = Field(min_length=1)
    max_tokens: int = Field(4096, gt=1)
    loss: CrossEntropyConfig = CrossEntropyConfig()
    packing: PackingConfig = PackingConfig(share_prefix=False)
    learner: LearnerConfig = LearnerConfig()
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    evals: list[EvalConfig] = []
    checkpoint: CheckpointConfig = CheckpointConfig()

    def in_words(self) -> str:
        return (
            f"{self.conversations_per_step} conversations a step of up to {self.max_tokens} tokens; {self.num_steps} "
            f"steps = {self.num_steps * self.conversations_per_step} conversations in all.\n"
            + updates_in_words(self.learner, self.packing, self.conversations_per_step)
        )


class EvaluateConfig(RecipeConfig):
    """Suites on a model, without training."""

    recipe: Literal["eval"] = "eval"
    model: str
    evals: list[EvalConfig] = Field(min_length=1)
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    log: LogConfig = LogConfig(sinks=[])
