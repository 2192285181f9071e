"""Which environment a prompt has: what its row says of it, and what its source's config says over that."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rl.plugins import check_name, find_function
from rollout.environments.registry import MakeEnvironment, load_environments
from rollout.types import EnvironmentConfig


def find_environment(name: str) -> MakeEnvironment:
    """What makes the environment of that name, or of `module:function`. Raises ValueError for an unknown one."""
    return find_function(name, load_environments(), "environment")


def check_environment(config: EnvironmentConfig | None) -> None:
    """Raise ValueError for a name that is neither known nor a reference."""
    if config is not None:
        check_name(config.name, load_environments(), "environment")


def environment_of(row: Mapping[str, Any], config: EnvironmentConfig | None, where: str) -> EnvironmentConfig | None:
    """The environment of a row: its own `environment` field, with what the config sets over it, options one by one.

    A row is data: it may name an environment that is known, code outside the tree is for the config alone.
    """
    given = row.get("environment")
    if given is None:
        return config
    if not isinstance(given, Mapping):
        raise ValueError(f"prompts: {where}: environment must be a mapping, got {given!r:.100}")
    fields = {name: value for name, value in given.items() if value is not None}  # tables fill gaps with null
    if config is not None:
        fields |= config.model_dump(exclude_unset=True, exclude={"options"})
        fields["options"] = {**(fields.get("options") or {}), **config.options}
    try:
        merged = EnvironmentConfig.model_validate(fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"prompts: {where}: environment: {faults}") from None
    if config is None and merged.name not in load_environments():
        known = ", ".join(sorted(load_environments()))
        raise ValueError(f"prompts: {where}: environment: unknown {merged.name!r}; known are {known}")
    _check_options(merged, where)
    return merged


def _check_options(config: EnvironmentConfig, where: str) -> None:
    """Raise ValueError for options that a known environment does not take; a reference is tried when it is used."""
    if config.name in load_environments():
        try:
            inspect.signature(load_environments()[config.name]).bind(None, 0, **config.options)
        except TypeError as error:
            raise ValueError(f"prompts: {where}: options of environment {config.name}: {error}") from error
