"""Config files: strict YAML with dotted overrides, read as the model of the recipe that they name."""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rl.config import GRPOConfig, RecipeConfig, SFTConfig
from rl.distill_config import DistillConfig

Config = TypeVar("Config", bound=BaseModel)


CONFIGS: dict[str, type[RecipeConfig]] = {"distill": DistillConfig, "grpo": GRPOConfig, "sft": SFTConfig}
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


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RecipeConfig:
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


def parse_config(values: dict[str, Any], source: str) -> RecipeConfig:
    recipe = values.get("recipe", "grpo")
    if not isinstance(recipe, str) or recipe not in CONFIGS:
        raise ValueError(f"{source}: recipe: unknown {recipe!r}; known are {', '.join(sorted(CONFIGS))}")
    return validate(CONFIGS[recipe], values, source)


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


def check_resumable(old: RecipeConfig, new: RecipeConfig) -> None:
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
