"""Config files: strict YAML with dotted overrides, read as the model of the recipe that they name."""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rewards.endpoint import has_user_info
from rl.config import EvaluateConfig, GRPOConfig, RecipeConfig, RewardModelConfig, SFTConfig
from rl.curation.config import CurateConfig, FuseConfig, SelectConfig
from rl.distill_config import DistillConfig
from rl.pipeline_config import PipelineConfig, escape_references, references
from rl.run_folder import flatten

Config = TypeVar("Config", bound=BaseModel)


CONFIGS: dict[str, type[RecipeConfig]] = {
    "curate": CurateConfig,
    "distill": DistillConfig,
    "eval": EvaluateConfig,
    "fuse": FuseConfig,
    "grpo": GRPOConfig,
    "pipeline": PipelineConfig,
    "reward_model": RewardModelConfig,
    "select": SelectConfig,
    "sft": SFTConfig,
}


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


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RecipeConfig:
    """A config from YAML and `key.path=value` overrides.

    Raises ValueError that names the field, the value and the remedy; an unknown key names the nearest known one.
    """
    config = parse_config(with_overrides(read_yaml(path), overrides, str(path)), str(path))
    stages = [] if isinstance(config, PipelineConfig) else list(references(config.model_dump(mode="json")))
    if stages:
        name, output = stages[0]
        raise ValueError(f"{path}: ${{stages.{name}.{output}}} is for stages of a pipeline; give a value instead")
    return config


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds, interpolations unresolved. Raises ValueError naming the file."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def with_overrides(values: Any, overrides: Sequence[str], source: str) -> dict[str, Any]:
    """A mapping with `key.path=value` texts laid over it; values are read as YAML.

    Interpolations are resolved, but for references to stages of a pipeline.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    bad = [text for text in overrides if text.partition("=")[0] == "" or "=" not in text]
    if bad:
        raise ValueError(f"override {bad[0]!r} is not of the form key.path=value")
    try:
        merged = OmegaConf.create(escape_references(values))
        for text in overrides:
            key, _, value = text.partition("=")
            OmegaConf.update(merged, key, _override(value), merge=True)
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, AttributeError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"{source}: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{source}: a mapping is wanted, got {type(plain).__name__}")
    return {str(key): value for key, value in plain.items()}


def _override(text: str) -> Any:
    """The value of an override, as YAML reads it."""
    from omegaconf import OmegaConf

    return escape_references(OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)["value"])  # type: ignore[index, call-overload]


def parse_config(values: dict[str, Any], source: str) -> RecipeConfig:
    recipe = values.get("recipe", "grpo")
    if not isinstance(recipe, str) or recipe not in CONFIGS:
        raise ValueError(f"{source}: recipe: unknown {recipe!r}; known are {', '.join(sorted(CONFIGS))}")
    return validate(CONFIGS[recipe], values, source)


def validate(model: type[Config], values: dict[str, Any], source: str) -> Config:
    """Values as a config of that model, or a ValueError that explains each of its faults in a line."""
    secret = [key for key, value in flatten(values) if isinstance(value, str) and has_user_info(value)]
    if secret:
        raise ValueError(
            f"{source}: {secret[0]}: the URL holds a user name or password, and configs are shown to others"
        )
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


def read_config(folder: Path) -> RecipeConfig:
    """The config of a run folder. Raises ValueError where there is none."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder: it has no config.yaml")
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or "config" not in content:
        raise ValueError(f"{path} does not hold the config of a run: it was cut off, or written by something else")
    return parse_config(content["config"], str(path))


def check_resumable(old: RecipeConfig, new: RecipeConfig) -> None:
    """A resumed run is the same run: ValueError names every field that must not change."""
    free = set(new.resume_may_change)
    changed = list(differences(old.model_dump(exclude=free), new.model_dump(exclude=free)))
    if changed:
        raise ValueError(
            f"--resume: {', '.join(changed)} changed since the run began; only "
            f"{', '.join(sorted(free))} may. Start a new run for anything else"
        )


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The fields that differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}.{number}")
    elif before != after:
        yield f"{path} ({before!r} -> {after!r})"
