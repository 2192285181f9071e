"""Tasks by name: functions from a request to a result, with what a user needs to know about each."""

import difflib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewards.types import RewardRequest, RewardResult

RewardFunction = Callable[[RewardRequest], RewardResult | float | Awaitable[RewardResult | float]]

BUILT_IN = ("rewards.tasks.math", "rewards.tasks.math_int", "rewards.tasks.exact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A response that a task must judge in a known way: part of the task's conformance matrix."""

    name: str
    response: str
    score: float
    reference: Any = None  # None: that of the example
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A registered reward function and its description."""

    name: str
    function: RewardFunction
    description: str
    version: str
    params: Mapping[str, str]
    example: RewardRequest
    cases: tuple[Case, ...]


TASKS: dict[str, Task] = {}


def reward(
    name: str,
    *,
    version: str = "1",
    params: Mapping[str, str] | None = None,
    example: Mapping[str, Any] | None = None,
    cases: Iterable[Case] = (),
) -> Callable[[RewardFunction], RewardFunction]:
    """Register a function as the reward of task `name`; `params` maps parameters to a line of help."""

    def register(function: RewardFunction) -> RewardFunction:
        TASKS[name] = Task(
            name=name,
            function=function,
            description=(function.__doc__ or "").strip(),
            version=version,
            params=dict(params or {}),
            example=RewardRequest(**{"task": name, "response": "", **(example or {})}),
            cases=tuple(cases),
        )
        return function

    return register


@functools.cache
def load_tasks(plugins: tuple[str, ...] = ()) -> Mapping[str, Task]:
    """All tasks: those that ship with the package, and those that plug-in modules or `.py` files register."""
    for module in BUILT_IN:
        importlib.import_module(module)
    for plugin in plugins:
        load_plugin(plugin)
    return TASKS


def load_plugin(plugin: str) -> None:
    """Import `module`, `path.py`, or register `module:function` and `path.py:function` under the function's name.

    Raises ValueError where there is nothing to import.
    """
    source, _, function = plugin.partition(":")
    try:
        module = _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ValueError(f"rewards.plugins: cannot import {source!r}: {error}") from error
    if function and function not in TASKS:
        if not callable(getattr(module, function, None)):
            raise ValueError(f"rewards.plugins: {source} has no function {function!r}")
        reward(function)(getattr(module, function))


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = f"sharpen_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a spec"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find_task(name: str, tasks: Mapping[str, Task]) -> Task:
    """The task of that name; ValueError with the nearest and all known names otherwise."""
    if name in tasks:
        return tasks[name]
    near = difflib.get_close_matches(name, tasks, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown task {name!r}; {hint}known are {', '.join(sorted(tasks))}")
