"""Environments by name: what answers the policy's turns."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rollout.types import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an environment answers a turn with.

    Each message has a `role` (`tool` or `user`) and a `content`, which the policy is shown; and for the reward alone,
    as JSON, `state`, `reward` and `violations`, and `error: True` where it tells of a mistake of the policy's. With
    `is_done` the episode ends, and the messages are for the reward alone.
    """

    messages: Sequence[Mapping[str, Any]] = ()
    is_done: bool = False


class Environment(Protocol):
    """The world of one sample. It may have a `close()`, which is called at the end, whatever happens.

    An exception is a failure of the environment's, never of the policy's: mistakes of the policy are observations.
    """

    def step(self, text: str, /) -> Step | Awaitable[Step]:
        """Answer the text of a turn, thinking included. Sync ones run in a thread, so they may block."""


MakeEnvironment = Callable[..., Any]  # (prompt, seed, **options) -> Environment, sync or async

ENVIRONMENTS: dict[str, MakeEnvironment] = {}


def environment(name: str) -> Callable[[MakeEnvironment], MakeEnvironment]:
    """Register what makes the environment of a sample: a function of `(prompt: Prompt, seed: int, **options)`.

    The seed is the sample's own. Raises ValueError where another module has registered the name.
    """

    def register(make: MakeEnvironment) -> MakeEnvironment:
        if name in ENVIRONMENTS and ENVIRONMENTS[name].__module__ != make.__module__:
            taken = ENVIRONMENTS[name].__module__
            raise ValueError(f"environment {name!r} of {make.__module__} is already registered by {taken}; rename it")
        ENVIRONMENTS[name] = make
        return make

    return register


def load_environments() -> Mapping[str, MakeEnvironment]:
    """All environments that ship with the package, and those registered so far."""
    from rollout.environments import calculator, ledger  # noqa: F401  their decorators register them

    return ENVIRONMENTS


def make_call(make: MakeEnvironment, prompt: Prompt, seed: int) -> Callable[[], Any]:
    """The call that makes a sample's environment."""
    assert prompt.environment is not None, "a prompt with an environment"
    options = prompt.environment.options
    return lambda: make(prompt, seed, **options)
