"""One sample with its environment: turn, observation, turn, until either ends it or a limit does."""

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rollout.environments.observations import Observation, ObservationRenderer
from rollout.environments.registry import Environment, MakeEnvironment, Step, make_call
from rollout.environments.time_limit import Caller, EnvironmentFailure
from rollout.types import EnvironmentConfig, Episode, FinishReason, Prompt, Sample

ROLES = "tool", "user"
log = logging.getLogger(__name__)

# Tokens so far, how many may follow, the turn's seed -> what the policy says next.
GoOn = Callable[[tuple[int, ...], int, int], Awaitable[Sample]]


def turn_seed(seed: int, sample: int, turn: int) -> int:
    """The seed of a sample's turn, counted from 1: the same however long other samples take."""
    digest = hashlib.blake2b(f"{seed}/turn/{sample}/{turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many tokens a sample may have: sampled ones, those of one turn, and all with the prompt."""

    num_prompt: int
    max_sampled: int
    max_turn: int
    max_total: int

    def left(self, sampled: Sequence[bool]) -> int:
        """Tokens that the policy may still sample, in all."""
        return min(self.max_sampled - sum(sampled), self.max_total - self.num_prompt - len(sampled))


class Transcript:
    """A sample in the making: the policy's tokens as they were sampled, observations between them, and messages."""

    def __init__(self, first: Sample) -> None:
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.sampled: list[bool] = []
        self.texts: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.version = first.policy_version
        self.num_turns = 0

    def add_turn(self, turn: Sample) -> None:
        self.token_ids += turn.token_ids
        self.logprobs += turn.logprobs
        self.sampled += turn.sampled
        self.texts.append(turn.text)
        self.messages.append({"role": "assistant", "content": turn.text})
        self.version = min(self.version, turn.policy_version)
        self.num_turns += 1

    def add_observation(self, observation: Observation) -> None:
        self.token_ids += observation.token_ids
        self.logprobs += [0.0] * len(observation.token_ids)
        self.sampled += [False] * len(observation.token_ids)
        self.texts.append(observation.text)

    def sample(self, finish_reason: FinishReason, failure: str | None) -> Sample:
        return Sample(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            sampled=tuple(self.sampled),
            text="".join(self.texts),
            finish_reason=finish_reason,
            policy_version=self.version,
            episode=Episode(messages=tuple(self.messages), failure=failure),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Plays the episodes of one prompt's samples."""

    prompt: Prompt
    prompt_token_ids: tuple[int, ...]
    config: EnvironmentConfig
    make: MakeEnvironment
    room: Room
    renderer: ObservationRenderer
    caller: Caller
    go_on: GoOn

    async def play(self, first: Sample, number: int, seed: int) -> Sample:
        """The whole sample that begins with turn `first`; `number` is its place in the group."""
        transcript = Transcript(first)
        finish: FinishReason = first.finish_reason
        failure = None
        try:
            async with self._opened(turn_seed(seed, number, 0)) as environment:
                finish = await self._play(environment, first, transcript, number, seed)
        except EnvironmentFailure as error:
            failure = str(error)
            if not transcript.num_turns:
                transcript.add_turn(first)
            log.warning("prompt %s, sample %d: %s", self.prompt.id, number, failure)
        return transcript.sample(finish, failure)

    async def _play(
        self, environment: Environment, turn: Sample, transcript: Transcript, number: int, seed: int
    ) -> FinishReason:
        while True:
            transcript.add_turn(turn)
            is_cut = turn.finish_reason == "length"
            if is_cut and self.room.left(transcript.sampled) < 1:
                return "length"
            step = await self._step(environment, turn.text)
            shown = self.renderer.shorten(step.messages, self.config.max_observation_tokens)
            transcript.messages += shown
            if step.is_done:
                return "length" if is_cut else "stop"
            if transcript.num_turns == self.config.max_turns:
                return "length"
            observation = self.renderer.render(
                shown, thinking=self.prompt.thinking, last_token=None if is_cut else turn.token_ids[-1]
            )
            left = self.room.left([*transcript.sampled, *[False] * len(observation.token_ids)])
            if left < 1:
                return "length"
            transcript.add_observation(observation)
            tokens = self.prompt_token_ids + tuple(transcript.token_ids)
            turn = await self.go_on(
                tokens, min(left, self.room.max_turn), turn_seed(seed, number, transcript.num_turns + 1)
            )

    async def _step(self, environment: Environment, text: str) -> Step:
        """The environment's answer to a turn, read and copied. Raises EnvironmentFailure."""
        step = await self.caller.call("a step", self.config.step_timeout_s, environment.step, text)
        if not isinstance(step, Step):
            raise EnvironmentFailure(f"a step answered with {type(step).__name__}, not with a Step")
        messages = [_read(message) for message in step.messages]
        if not messages and not step.is_done:
            raise EnvironmentFailure("a step answered nothing, and did not end the episode")
        if messages and step.is_done:
            messages[-1]["done"] = True
        return Step(messages=messages, is_done=step.is_done)

    @asynccontextmanager
    async def _opened(self, seed: int) -> AsyncIterator[Environment]:
        """The environment of one sample, closed at its end if it has a `close`."""
        limit_s = self.config.step_timeout_s
        environment = await self.caller.call("its start", limit_s, make_call(self.make, self.prompt, seed))
        try:
            yield environment
        finally:
            close = getattr(environment, "close", None)
            if close is not None:
                try:
                    await self.caller.call("its end", limit_s, close)
                except EnvironmentFailure as error:  # what the sample is was settled before
                    log.warning("environment %s of prompt %s: %s", self.config.name, self.prompt.id, error)


def _read(message: Any) -> dict[str, Any]:
    """A copy of a message, which no later step can change. Raises EnvironmentFailure for what is none."""
    try:
        copy = json.loads(json.dumps(dict(message), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise EnvironmentFailure(f"a step answered with a message that is no JSON ({error})"[:500]) from error
    if copy.get("role") not in ROLES or not isinstance(copy.get("content"), str):
        raise EnvironmentFailure(f"a message needs a role of {', '.join(ROLES)} and a text as content")
    return copy
