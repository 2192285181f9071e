"""Tasks by name: functions from a request to a result, with what a user needs to know about each."""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards import tasks as built_in
from rewards.calls import Call, Reply
from rewards.foreign import adopt
from rewards.plugins import import_source
from rewards.response import in_open_block
from rewards.types import Message, RewardRequest, RewardResult

MAX_NAME_CHARS = 200  # of an unknown task's that are repeated
Judgement = RewardResult | float | Awaitable[RewardResult | float]
RewardFunction = Callable[..., Judgement]  # of the request, and of the models' replies where the task asks for some
Ask = Callable[[RewardRequest], list[Call] | RewardResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A response that a task must judge in a known way: part of the task's conformance matrix.

    `reference` and `question` are those of the task's example where they are None. `replies` are what models answer to
    the task's calls; none where it must be judged without a call.
    """

    name: str
    response: str | list[Message]
    score: float
    reference: Any = None
    question: str | list[Message] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    replies: tuple[Reply, ...] = ()


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
    respond: Callable[[Any], str] | None
    takes_messages: bool
    ask: Ask | None
    warm_up: Callable[[], object] | None

    @property
    def is_ours(self) -> bool:
        """Whether the task ships with the package."""
        return self.function.__module__.startswith(f"{built_in.__name__}.")

    def request(self, case: Case) -> RewardRequest:
        """A conformance case as a request."""
        update: dict[str, Any] = {"response": case.response, "params": dict(case.params)}
        if case.reference is not None:
            update["reference"] = case.reference
        if case.question is not None:
            update["question"] = case.question
        return self.example.model_copy(update=update)

    def judge(self, request: RewardRequest, replies: Sequence[Reply] | None = None) -> Judgement | list[Call]:
        """The judgement, or the calls to models whose replies it needs first.

        A task that does not ask where the prompt leaves the response (`think_block`) is given the block as a whole.
        """
        if request.params.get("think_block") == "open" and "think_block" not in self.params:
            request = request.model_copy(update={"response": _whole(request.response)})
        if self.ask is None:
            return self.function(request)
        return self.ask(request) if replies is None else self.function(request, replies)


def _whole(response: str | list[Message]) -> str | list[Message]:
    """With the `<think>` that the prompt of each of its turns ended with."""
    if isinstance(response, str):
        return in_open_block(response)
    return [
        {**message, "content": in_open_block(message["content"])}
        if message.get("role") == "assistant" and isinstance(message.get("content"), str)
        else message
        for message in response
    ]


TASKS: dict[str, Task] = {}


def boxed(reference: Any) -> str:
    """The response that commits to a reference, or to the first of a list of them, in a box."""
    return f"\\boxed{{{stated(reference)}}}"


def stated(reference: Any) -> str:
    """The response that is a reference, or the first of a list of them."""
    return str(reference[0] if isinstance(reference, list) and reference else reference)


def reward(
    name: str,
    *,
    version: str = "1",
    params: Mapping[str, str] | None = None,
    example: Mapping[str, Any] | None = None,
    cases: Iterable[Case] = (),
    respond: Callable[[Any], str] | None = None,
    takes_messages: bool = False,
    ask: Ask | None = None,
    warm_up: Callable[[], object] | None = None,
) -> Callable[[RewardFunction], RewardFunction]:
    """Register a function as the reward of task `name`; `params` maps parameters to a line of help.

    `respond` makes the response that commits to a reference, so that data can be checked against the task. A task
    that `takes_messages` judges whole interactions, the others texts. A task that needs models gives `ask`: it makes
    the calls, or judges by itself, and the function gets the request and one reply a call. Both are pure, and run in
    workers. `warm_up` imports and reads what a first judgement would take long for; a worker calls it before that, in
    no response's time. Raises ValueError where another module has registered the name.
    """

    def register(function: RewardFunction) -> RewardFunction:
        if name in TASKS and TASKS[name].function.__module__ != function.__module__:
            taken = TASKS[name].function.__module__
            raise ValueError(f"task {name!r} of {function.__module__} is already registered by {taken}; rename it")
        TASKS[name] = Task(
            name=name,
            function=function,
            description=(function.__doc__ or "").strip(),
            version=version,
            params=dict(params or {}),
            example=RewardRequest(**{"task": name, "response": "", **(example or {})}),
            cases=tuple(cases),
            respond=respond,
            takes_messages=takes_messages,
            ask=ask,
            warm_up=warm_up,
        )
        return function

    return register


@functools.cache
def load_tasks(plugins: tuple[str, ...] = ()) -> Mapping[str, Task]:
    """All tasks: those that ship with the package, and those that plug-in modules or `.py` files register."""
    for module in pkgutil.iter_modules(built_in.__path__):
        importlib.import_module(f"{built_in.__name__}.{module.name}")
    for plugin in plugins:
        load_plugin(plugin)
    return TASKS


@functools.cache
def load_plugin(plugin: str) -> None:
    """Import `module`, `path.py`, or register `module:function` and `path.py:function` under the function's name.

    Functions of verl's signature (data_source, solution_str, ground_truth, extra_info) and of TRL's (prompts,
    completions, columns) are taken as they are. Raises ValueError where there is nothing to import.
    """
    source, _, name = plugin.partition(":")
    try:
        module = import_source(source)
    except ValueError as error:
        raise ValueError(f"rewards.plugins: {error}") from error
    if not name:
        return
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"rewards.plugins: {source} has no function {name!r}")
    if name not in TASKS or TASKS[name].function is not function:
        reward(name)(adopt(function))


def find_task(name: str, tasks: Mapping[str, Task]) -> Task:
    """The task of that name; ValueError with the nearest and all known names otherwise."""
    if name in tasks:
        return tasks[name]
    raise ValueError(unknown_task(name, tasks))


def unknown_task(name: str, known: Iterable[str]) -> str:
    """What is said of a name that is none of those known."""
    known = sorted(known)
    near = difflib.get_close_matches(name[:MAX_NAME_CHARS], known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown task {name[:MAX_NAME_CHARS]!r}; {hint}known are {', '.join(known)}"
