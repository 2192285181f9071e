"""Configs: strict YAML with dotted overrides, one pydantic model a recipe, and the batch arithmetic in words."""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rewards.scorer import ScorerConfig
from rl.advantages import AdvantageConfig
from rl.batch import PackingConfig
from rl.checkpoint import CheckpointConfig
from rl.cluster import RayConfig
from rl.evals import EvalConfig
from rl.filters import build_group_filter
from rl.learner import LearnerConfig
from rl.log import LogConfig
from rl.losses import LossConfig
from rl.prompts import PromptsConfig
from rl.reward_statistics import Mode
from rollout.engine import EngineConfig
from rollout.types import SamplingParams

Config = TypeVar("Config", bound=BaseModel)


class GRPOConfig(BaseModel):
    """Reasoning RL: groups of responses to each prompt, judged, and learned from with a policy gradient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Literal["grpo"] = "grpo"
    model: str
    seed: int = 0
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
    log: LogConfig = LogConfig()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        build_group_filter(self.group_filters)
        if self.sampling.top_p < 1 or self.sampling.top_k != -1:
            raise ValueError(
                "sampling.top_p and sampling.top_k must be off (1 and -1) in training: the learner's log-probs are "
                "of the whole distribution, and a truncated one would bias every ratio"
            )
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature is 0: greedy samples of one prompt are all alike and teach nothing")
        if self.overlong_cache_tokens >= self.sampling.max_tokens:
            raise ValueError("overlong_cache_tokens must be below sampling.max_tokens")
        if self.sampling.max_tokens >= self.engine.max_context_tokens:
            raise ValueError(
                f"sampling.max_tokens = {self.sampling.max_tokens} leaves no room for a prompt in "
                f"engine.max_context_tokens = {self.engine.max_context_tokens}"
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
    def warm_rewards(self) -> ScorerConfig:
        """The rewards, whose workers load at their start what the tasks need that the sources of prompts name."""
        named = [source.task for source in self.prompts.sources if source.task]
        return self.rewards.model_copy(update={"warm_up": list(dict.fromkeys([*self.rewards.warm_up, *named]))})

    @property
    def draws_per_step(self) -> int:
        """How many prompts a step may settle at most; without filters none is drawn again."""
        return self.max_draws_per_step or 4 * self.groups_per_step


class EvaluateConfig(BaseModel):
    """Suites on a model, without training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    seed: int = 0
    evals: list[EvalConfig] = Field(min_length=1)
    engine: EngineConfig = EngineConfig()
    rewards: ScorerConfig = ScorerConfig()
    log: LogConfig = LogConfig(sinks=[])
    ray: RayConfig = RayConfig()


CONFIGS: dict[str, type[BaseModel]] = {"grpo": GRPOConfig}
RESUME_MAY_CHANGE = {"num_steps", "checkpoint", "evals", "log"}


def find_config(path: str) -> Path:
    """The file itself, or the one of that name among the configs that ship with the package."""
    given = Path(path)
    if given.is_file():
        return given
    import configs

    for folder in configs.__path__:
        shipped = Path(folder) / path.removeprefix("configs/")
        if shipped.is_file():
            return shipped
    raise ValueError(f"no config {path}")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> GRPOConfig:
    """A config from YAML and `key.path=value` overrides.

    Raises ValueError that names the field, the value and the remedy; an unknown key names the nearest known one.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.load(path)
    except (OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return parse_config(with_overrides(values, overrides, str(path)), str(path))


def with_overrides(values: Any, overrides: Sequence[str], source: str) -> dict[str, Any]:
    """A mapping with `key.path=value` texts laid over it; values are read as YAML."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    bad = [text for text in overrides if text.partition("=")[0] == "" or "=" not in text]
    if bad:
        raise ValueError(f"override {bad[0]!r} is not of the form key.path=value")
    try:
        merged = OmegaConf.create(values)
        for text in overrides:
            key, _, value = text.partition("=")
            OmegaConf.update(merged, key, OmegaConf.from_dotlist([f"value={value}"]).value, merge=True)
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, AttributeError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"{source}: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{source}: a mapping is wanted, got {type(plain).__name__}")
    return {str(key): value for key, value in plain.items()}


def parse_config(values: dict[str, Any], source: str) -> GRPOConfig:
    recipe = values.get("recipe", "grpo")
    if not isinstance(recipe, str) or recipe not in CONFIGS:
        raise ValueError(f"{source}: recipe: unknown {recipe!r}; known are {', '.join(sorted(CONFIGS))}")
    config = validate(CONFIGS[recipe], values, source)
    assert isinstance(config, GRPOConfig)
    return config


def validate(model: type[Config], values: dict[str, Any], source: str) -> Config:
    """Values as a config of that model, or a ValueError that explains each of its faults in a line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, issue) for issue in error.errors()]
        raise ValueError(f"{source}:\n  " + "\n  ".join(lines)) from None


def _explain(model: type[BaseModel], issue: Any) -> str:
    path = ".".join(map(str, issue["loc"]))
    if issue["type"] != "extra_forbidden":
        got = "" if isinstance(issue["input"], dict | BaseModel) else f" (got {issue['input']!r})"
        return f"{path or 'config'}: {issue['msg']}{got}"
    known = _known_keys(model, issue["loc"][:-1])
    near = difflib.get_close_matches(str(issue["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"{path}: unknown key; {hint}"


def _known_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys of the nested model at `path`."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None or part not in current.model_fields:
            continue
        current = _model_in(current.model_fields[part].annotation)
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.GenericAlias | types.UnionType) or typing.get_args(annotation):
        return next((found for arg in typing.get_args(annotation) if (found := _model_in(arg))), None)
    return None


def check_resumable(old: GRPOConfig, new: GRPOConfig) -> None:
    """A resumed run is the same run: ValueError names every field that must not change."""
    before, after = old.model_dump(exclude=RESUME_MAY_CHANGE), new.model_dump(exclude=RESUME_MAY_CHANGE)
    changed = list(_differences(before, after))
    if changed:
        raise ValueError(
            f"--resume: {', '.join(changed)} changed since the run began; only "
            f"{', '.join(sorted(RESUME_MAY_CHANGE))} may. Start a new run for anything else"
        )


def _differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The fields that differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(old, new, f"{path}.{number}")
    elif before != after:
        yield f"{path} ({before!r} -> {after!r})"


def batch_arithmetic(config: GRPOConfig) -> str:
    """What a step is, in plain words."""
    groups, samples, updates = config.groups_per_step, config.samples_per_prompt, config.learner.updates_per_step
    sequences = groups * samples
    ranks = config.learner.num_ranks
    stale = f"up to {config.max_staleness} steps old" if config.max_staleness else "always of the newest weights"
    engines, shards = config.engine.num_engines, config.engine.tensor_parallel_size
    return (
        f"{groups} prompts a step x {samples} samples a prompt = {sequences} sequences a step of up to "
        f"{config.sampling.max_tokens} tokens, {stale}.\n"
        f"{updates} optimizer update{'s' * (updates > 1)} a step, about {sequences // updates} sequences each, over "
        f"{ranks} learner rank{'s' * (ranks > 1)} (ZeRO-{config.learner.zero_stage}, {config.learner.dtype}) in "
        f"micro-batches of up to {config.packing.tokens_per_micro_batch} tokens a rank.\n"
        f"{engines} engine{'s' * (engines > 1)} of {shards} worker{'s' * (shards > 1)}; {config.num_steps} steps = "
        f"{config.num_steps * sequences} sequences in all."
    )
