"""One pydantic model a recipe; each says in words what a step of it is."""

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewards.scorer import ScorerConfig
from rl.advantages import AdvantageConfig
from rl.batch import PackingConfig
from rl.budget_curve import check_engine
from rl.checkpoint import CheckpointConfig
from rl.cluster import RayConfig
from rl.evals import EvalConfig
from rl.filters import build_group_filter
from rl.layout import check_colocated
from rl.learner import LearnerConfig
from rl.log import LogConfig
from rl.losses import LossConfig, needs_every_token
from rl.objectives import CrossEntropyConfig
from rl.pairwise import PairwiseConfig
from rl.prompts import PromptsConfig
from rl.reward_statistics import Mode
from rl.row_stream import RowSourceConfig
from rollout.engine import EngineConfig
from rollout.types import SamplingParams

UNDISTORTED = {"top_p": 1, "top_k": -1, "min_p": 0, "presence_penalty": 0}


class HardwareConfig(BaseModel):
    """The GPUs that a config is meant for: `sharpen doctor` checks its memory plan against them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: int = Field(gt=0)
    gpu_gib: float = Field(gt=0)


class RecipeConfig(BaseModel):
    """What every config of a run has: which recipe it is for, its seed, and where its run folder goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    resume_may_change: ClassVar[frozenset[str]] = frozenset(
        {"num_steps", "checkpoint", "evals", "log", "hardware", "ray"}
    )

    may_be_colocated: ClassVar[bool] = False  # whether engines may share GPUs with the learner

    recipe: str
    seed: int = 0
    num_steps: int = Field(0, ge=0)  # 0: a recipe that takes no steps
    log: LogConfig = LogConfig()
    ray: RayConfig = RayConfig()
    hardware: HardwareConfig | None = None

    @model_validator(mode="after")
    def _check_layout(self) -> Self:
        if self.ray.placement.layout == "colocated" and not self.may_be_colocated:
            raise ValueError(
                f"ray.placement.layout is colocated, which recipe {self.recipe} cannot be: engines take turns with the "
                "learner in grpo and distill"
            )
        return self

    def in_words(self) -> str:
        """What the run does, in plain words."""
        return f"recipe {self.recipe}, seed {self.seed}"


def updates_in_words(learner: LearnerConfig, packing: PackingConfig, num_sequences: int) -> str:
    """How a step's sequences are learned from, in plain words."""
    updates, ranks = learner.updates_per_step, learner.num_ranks
    shared = f", shared by {n} ranks each" if (n := learner.sequence_parallel_size) > 1 else " a rank"
    adapters = f", adapters of rank {learner.lora.rank}" if learner.lora else ""
    return (
        f"{updates} optimizer update{'s' * (updates > 1)} a step, about {num_sequences // updates} sequences each, "
        f"over {ranks} learner rank{'s' * (ranks > 1)} (ZeRO-{learner.zero_stage}, {learner.dtype}{adapters}) "
        f"in micro-batches of up to {packing.tokens_per_micro_batch} tokens{shared}."
    )


def check_training_sampling(sampling: SamplingParams, engine: EngineConfig) -> None:
    """ValueError for samples that do not show the policy, or that do not fit."""
    distorted = [name for name in UNDISTORTED if getattr(sampling, name) != UNDISTORTED[name]]
    if distorted:
        raise ValueError(
            f"sampling.{distorted[0]} must be off ({UNDISTORTED[distorted[0]]}) in training: the learner's log-probs "
            "are of the whole distribution, and another one would bias every ratio"
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

    may_be_colocated: ClassVar[bool] = True

    recipe: Literal["grpo"] = "grpo"
    model: str
    num_steps: int = Field(gt=0)
    groups_per_step: int = Field(gt=0)
    samples_per_prompt: int = Field(gt=1)
    max_staleness: int = Field(0, ge=0)
    look_ahead: int = Field(0, ge=0)
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
        if self.ray.placement.layout == "colocated":
            check_colocated(self.engine, self.learner, self.max_staleness)
        check_engine(self.engine.thinking_budget, self.prompts.sources, self.evals)
        check_training_sampling(self.sampling, self.engine)
        if self.overlong_cache_tokens >= self.sampling.max_tokens:
            raise ValueError("overlong_cache_tokens must be below sampling.max_tokens")
        for config in self.evals:
            if config.hook is None and config.sampling.max_tokens >= self.engine.max_context_tokens:
                raise ValueError(
                    f"evals: suite {config.suite} samples up to {config.sampling.max_tokens} tokens, which leaves no "
                    f"room for a prompt in engine.max_context_tokens = {self.engine.max_context_tokens}: raise it, or "
                    "lower the suite's sampling.max_tokens (the numbers are then no longer the suite's)"
                )
        if self.draws_per_step < self.groups_per_step:
            raise ValueError("max_draws_per_step must be at least groups_per_step")
        if self.reward_statistics == "running" and not any(c.scales for c in self.rewards.combine.values()):
            raise ValueError(
                "reward_statistics is running, but no combination in rewards.combine has a preference to be "
                "normalised: add one, or set it to constants"
            )
        return self

    @property
    def needs_every_token(self) -> bool:
        """Whether groups without signal are computed too, for a term that is not of the advantages."""
        return needs_every_token(self.loss) or bool(self.learner.load_balancing)

    @property
    def warm_rewards(self) -> ScorerConfig:
        """The rewards, whose workers load at their start what the tasks need that the sources of prompts name."""
        named = [source.task for source in self.prompts.sources if source.task]
        return self.rewards.model_copy(update={"warm_up": list(dict.fromkeys([*self.rewards.warm_up, *named]))})

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
    sources: list[RowSourceConfig] = Field(min_length=1)
    max_tokens: int = Field(4096, gt=1)
    loss: CrossEntropyConfig = CrossEntropyConfig()
    packing: PackingConfig = PackingConfig(share_prefix=False)
    learner: LearnerConfig = LearnerConfig()
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    evals: list[EvalConfig] = []
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _honours_budgets(self) -> Self:
        check_engine(self.engine.thinking_budget, [], self.evals)
        return self

    def in_words(self) -> str:
        return (
            f"{self.conversations_per_step} conversations a step of up to {self.max_tokens} tokens; {self.num_steps} "
            f"steps = {self.num_steps * self.conversations_per_step} conversations in all.\n"
            + updates_in_words(self.learner, self.packing, self.conversations_per_step)
        )


class RewardModelConfig(RecipeConfig):
    """A preference reward model from pairs of answers, of which people prefer one (2505.09388 §4.4).

    `model` is a language model, which gets a head for one score, or a reward model. `num_validation_pairs` of
    `validation` are judged before the first step, every `validate_every_steps` (0: never in between) and at the end.
    """

    recipe: Literal["reward_model"] = "reward_model"
    model: str
    num_steps: int = Field(gt=0)
    pairs_per_step: int = Field(gt=0)
    sources: list[RowSourceConfig] = Field(min_length=1)
    validation: RowSourceConfig | None = None
    num_validation_pairs: int = Field(256, gt=1)
    validate_every_steps: int = Field(0, ge=0)
    max_tokens: int = Field(2048, gt=2)
    loss: PairwiseConfig = PairwiseConfig()
    packing: PackingConfig = PackingConfig(share_prefix=True)
    learner: LearnerConfig = LearnerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _keeps_pairs_together(self) -> Self:
        if self.packing.share_prefix is not True:
            raise ValueError(
                "packing.share_prefix must be true: both answers of a pair are compared in one micro-batch"
            )
        if self.packing.tokens_per_micro_batch < 2 * self.max_tokens:
            raise ValueError(
                f"packing.tokens_per_micro_batch = {self.packing.tokens_per_micro_batch} may cut a pair of answers of "
                f"up to max_tokens = {self.max_tokens}: make it at least twice that"
            )
        if self.learner.lora is not None:
            raise ValueError("learner.lora must be left out: a reward model's head is new, and trained with the rest")
        return self

    def is_validation_due(self, step: int) -> bool:
        every = self.validate_every_steps
        return step == self.num_steps or bool(every and step % every == 0)

    def in_words(self) -> str:
        return (
            f"{self.pairs_per_step} pairs a step of up to {self.max_tokens} tokens an answer; {self.num_steps} steps = "
            f"{self.num_steps * self.pairs_per_step} pairs in all.\n"
            + updates_in_words(self.learner, self.packing, 2 * self.pairs_per_step)
        )


class EvaluateConfig(RecipeConfig):
    """Suites on a model, without training. A resumed one keeps its responses, so the suites must be the same."""

    resume_may_change: ClassVar[frozenset[str]] = frozenset({"log", "hardware"})

    recipe: Literal["eval"] = "eval"
    model: str
    evals: list[EvalConfig] = Field(min_length=1)
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    log: LogConfig = LogConfig(sinks=[])

    def in_words(self) -> str:
        suites = ", ".join(f"{suite.suite} ({suite.samples_per_prompt} samples a prompt)" for suite in self.evals)
        return f"{self.model} is evaluated on {suites}."

    @model_validator(mode="before")
    @classmethod
    def _honours_budgets(cls, values: Any) -> Any:
        """An evaluation that asks for budgets has them: only training must say that its engines take them."""
        evals = values.get("evals") if isinstance(values, dict) else None
        engine = values.get("engine", {}) if isinstance(values, dict) else None
        if isinstance(engine, dict) and isinstance(evals, list) and any(map(_has_budget, evals)):
            return {**values, "engine": {"thinking_budget": True} | engine}
        return values


def _has_budget(evaluation: Any) -> bool:
    if not isinstance(evaluation, dict):
        return False
    source = evaluation.get("source")
    return bool(evaluation.get("thinking_budgets") or (isinstance(source, dict) and source.get("thinking_budget")))
