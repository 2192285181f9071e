"""Sampling over many engines: one prompt in, one group out, whatever happens to an engine on the way."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from rollout.budget import ThinkingBudget, make_budget
from rollout.chat import Chat
from rollout.engine import Completion, EngineConfig
from rollout.turns import Turns
from rollout.types import Group, Prompt, Sample, SamplingParams

WATCH_EVERY_S = 2.0
LIMIT_OF_ATTEMPTS = 3
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class EngineLost(Exception):
    """The process behind an engine is gone or does not answer."""


class EngineSpoiled(EngineLost):
    """The engine is well, but another's loss has left it with a part of new weights."""


class EngineHandle(Protocol):
    """An engine in another process. Every call raises EngineLost when that process is gone."""

    name: str
    num_workers: int

    async def generate(
        self,
        prompt_token_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        num_samples: int,
        seed: int,
        budget: ThinkingBudget | None = None,
    ) -> tuple[int, list[Completion]]: ...

    async def score(self, token_ids: tuple[int, ...]) -> list[float]: ...

    async def progress(self) -> int: ...

    async def sleep(self) -> None: ...

    async def join_group(self, group: dict[str, Any]) -> None: ...

    async def begin_update(self) -> None: ...

    async def load_bucket(self, bucket: dict[str, Any]) -> None: ...

    async def end_update(self, version: int) -> None: ...

    def kill(self) -> None: ...

    async def end(self) -> None: ...


@dataclass(eq=False)
class Seat:
    """A place for an engine: the engine may be replaced, its place stays."""

    index: int
    engine: EngineHandle
    num_waiting: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    num_restarts: int = 0
    why_lost: str = ""
    is_counted: bool = True

    def give_up(self, why: str, *, is_counted: bool = True) -> None:
        """Out of service until the watcher has put another engine here; what is counted is limited."""
        if not self.lost.is_set():
            self.why_lost, self.is_counted = why, is_counted
        self.ready.clear()
        self.lost.set()


class Sampler:
    """Sends each prompt to the engine with the fewest requests; a request whose engine dies goes elsewhere.

    `start_engine(index)` brings up a fresh engine; `restore(engine)` gives it the current weights. A request is
    finished or sent again as a whole, so no prompt is lost, and its group is made once. Where engines share memory
    with a learner, `turns` says so.
    """

    def __init__(
        self,
        engines: list[EngineHandle],
        chat: Chat,
        config: EngineConfig,
        start_engine: Callable[[int], Awaitable[EngineHandle]],
    ) -> None:
        self.chat, self.config = chat, config
        self.seats = [Seat(index, engine) for index, engine in enumerate(engines)]
        for seat in self.seats:
            seat.ready.set()
        self.restore: Callable[[EngineHandle], Awaitable[None]] | None = None
        self.num_restarts = 0
        self.turns = Turns(shared=False)
        self._start_engine = start_engine
        self._updating = asyncio.Lock()
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Sampler":
        self._watchers = [asyncio.create_task(self._watch(seat)) for seat in self.seats]
        for watcher in self._watchers:
            watcher.add_done_callback(_tell_end)
        return self

    async def __aexit__(self, *_: object) -> None:
        waiting: set[asyncio.Task[None]] = set(self._watchers)
        while waiting:  # in Python 3.11 `wait_for` swallows a cancellation that comes as its own wait ends
            for watcher in waiting:
                watcher.cancel()
            waiting = (await asyncio.wait(waiting, timeout=WATCH_EVERY_S))[1]
        await asyncio.gather(*self._watchers, return_exceptions=True)

    def check_fits(self, prompt: Prompt, num_prompt_tokens: int, params: SamplingParams) -> None:
        """Raise ValueError, with the prompt's id and length, where prompt and response exceed the context."""
        limit = self.config.max_context_tokens
        if num_prompt_tokens + params.max_tokens > limit:
            raise ValueError(
                f"prompt {prompt.id}: {num_prompt_tokens} prompt tokens and up to {params.max_tokens} response tokens "
                f"exceed engine.max_context_tokens = {limit}; raise it, lower sampling.max_tokens or drop the prompt"
            )

    async def sample(self, prompt: Prompt, *, params: SamplingParams, num_samples: int, seed: int) -> Group:
        """`num_samples` responses to one prompt.

        Raises ValueError for a prompt that does not fit, EngineLost when engines die under it time and again.
        """
        token_ids = self.chat.render(prompt)
        self.check_fits(prompt, len(token_ids), params)
        samples = await self.go_on(prompt, token_ids, params=params, num_samples=num_samples, seed=seed)
        block = self.chat.think_block(token_ids)
        return Group(prompt=prompt, prompt_token_ids=token_ids, think_block=block, samples=samples)

    async def go_on(
        self, prompt: Prompt, token_ids: tuple[int, ...], *, params: SamplingParams, num_samples: int, seed: int
    ) -> tuple[Sample, ...]:
        """What the policy says after these tokens, which begin with the prompt's. Each turn has the whole budget."""
        budget = self._budget(prompt, token_ids)
        version, completions = await self._on_any(
            f"prompt {prompt.id}",
            lambda engine: engine.generate(token_ids, params, num_samples=num_samples, seed=seed, budget=budget),
        )
        return tuple(_sample(completion, version, budget) for completion in completions)

    def _budget(self, prompt: Prompt, token_ids: tuple[int, ...]) -> ThinkingBudget | None:
        if prompt.thinking_budget is None:
            return None
        if not self.config.thinking_budget:
            raise ValueError(f"prompt {prompt.id} has a thinking budget: set engine.thinking_budget to true")
        return make_budget(self.chat, token_ids, prompt.thinking_budget)

    async def score(self, prompt: Prompt, token_ids: tuple[int, ...]) -> list[float]:
        """Log-probs of each token of a prompt with its response but the first, see `Engine.score`."""
        return await self._on_any(f"prompt {prompt.id}", lambda engine: engine.score(token_ids))

    async def _on_any(self, what: str, call: Callable[[EngineHandle], Awaitable[Answer]]) -> Answer:
        """A call on the engine with the fewest requests, and elsewhere again where that engine dies."""
        for _ in range(LIMIT_OF_ATTEMPTS):
            seat = await self._pick()
            engine = seat.engine
            seat.num_waiting += 1
            try:
                return await self._until_lost(seat, call(engine))
            except EngineLost as error:
                if seat.engine is engine:  # else it is replaced already
                    seat.give_up(str(error))
            finally:
                seat.num_waiting -= 1
        raise EngineLost(f"{what}: its engine died {LIMIT_OF_ATTEMPTS} times in a row; see the engine logs")

    async def _pick(self) -> Seat:
        """The ready seat with the fewest requests; waits for a restart when there is none."""
        while True:
            usable = [seat for seat in self.seats if seat.ready.is_set()]
            if usable:
                return min(usable, key=lambda seat: seat.num_waiting)
            # A watcher ends only with the reason why its engine cannot be restarted; others may still come back.
            watchers = [watcher for watcher in self._watchers if not watcher.done()]
            if not watchers:
                self._watchers[0].result()
            waits = [asyncio.create_task(seat.ready.wait()) for seat in self.seats]
            limit = 2 * self.config.start_timeout_s
            try:
                done, _ = await asyncio.wait([*waits, *watchers], timeout=limit, return_when="FIRST_COMPLETED")
            finally:
                for task in waits:
                    task.cancel()
            if not done:
                raise EngineLost(f"no engine came up within {limit:.0f} s")

    async def _until_lost(self, seat: Seat, call: Awaitable[Any]) -> Any:
        """The call's answer, or EngineLost as soon as the watcher gives the engine up."""
        answer = asyncio.ensure_future(call)
        lost = asyncio.create_task(seat.lost.wait())
        try:
            await asyncio.wait([answer, lost], return_when="FIRST_COMPLETED")
            if answer.done():
                return answer.result()
            raise EngineLost(f"{seat.engine.name} was given up")
        finally:
            answer.cancel()
            lost.cancel()

    async def _watch(self, seat: Seat) -> None:
        """Notice a dead or stuck engine, and replace it."""
        clock = asyncio.get_running_loop().time
        last_count, last_change = -1, clock()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(seat.lost.wait(), WATCH_EVERY_S)
            if not seat.lost.is_set():
                try:
                    count = await asyncio.wait_for(
                        self._until_lost(seat, seat.engine.progress()), self.config.stall_timeout_s
                    )
                except EngineLost as error:
                    seat.give_up(str(error))
                except TimeoutError:
                    seat.give_up(f"{seat.engine.name} has no pulse for {self.config.stall_timeout_s:.0f} s")
                else:
                    idle = seat.num_waiting == 0 or self._updating.locked()
                    if count != last_count or idle:
                        last_count, last_change = count, clock()
                    if clock() - last_change > self.config.stall_timeout_s:
                        seat.give_up(f"{seat.engine.name} makes no progress for {self.config.stall_timeout_s:.0f} s")
            if seat.lost.is_set():
                await self._replace(seat)
                last_count, last_change = -1, clock()

    async def _replace(self, seat: Seat) -> None:
        async with self.turns.starting():
            await seat.engine.end()
            if seat.num_restarts == LIMIT_OF_ATTEMPTS and seat.is_counted:
                times = seat.num_restarts + 1
                raise EngineLost(f"{seat.engine.name} died {times} times; see the engine logs (last: {seat.why_lost})")
            seat.num_restarts += seat.is_counted
            self.num_restarts += 1
            log.warning("%s: restart %d", seat.why_lost, seat.num_restarts, extra={"event": "engine_restart"})
            limit = self.config.start_timeout_s
            try:
                # At once the seat's own, so that it is stopped with the others whatever comes next.
                seat.engine = await asyncio.wait_for(self._start_engine(seat.index), limit)
            except TimeoutError as error:
                raise EngineLost(f"{seat.engine.name} did not come up again within {limit:.0f} s") from error
            await self._bring_into_service(seat)

    async def _bring_into_service(self, seat: Seat) -> None:
        """Give a fresh engine the current weights; one that does not take them is ended."""
        async with self._updating:
            try:
                if self.restore is not None:
                    await self.restore(seat.engine)
            except Exception:
                await seat.engine.end()
                raise
            seat.lost.clear()
            seat.ready.set()

    @asynccontextmanager
    async def updating(self):
        """Engines that take part in a weight update; none is replaced while it runs."""
        async with self._updating:
            yield [seat for seat in self.seats if seat.ready.is_set()]


def _tell_end(watcher: asyncio.Task[None]) -> None:
    """An engine that is not replaced again: the others go on, and with the last one the run ends."""
    if not watcher.cancelled() and (error := watcher.exception()):
        log.warning("%s; it is not replaced again", error, extra={"event": "engine_lost"})


def _sample(completion: Completion, version: int, budget: ThinkingBudget | None) -> Sample:
    token_ids = completion.token_ids
    sampled = budget.sampled(token_ids) if budget else (True,) * len(token_ids)
    return Sample(
        token_ids=token_ids,
        logprobs=tuple(p if own else 0.0 for p, own in zip(completion.logprobs, sampled, strict=True)),
        sampled=sampled,
        text=completion.text,
        finish_reason=completion.finish_reason,
        policy_version=version,
    )
