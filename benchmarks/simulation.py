"""An event simulation of the training loop: the real collector, with engines, judges and a learner that only take time.

It runs on an event loop whose clock jumps from event to event, so an hour of a cluster takes seconds. An engine's
decode step takes `decode_step_s`, and `decode_sequence_s` more for each sequence that runs in it; a sequence that
finds no place waits. Which engine gets a prompt, what may be drawn when and which groups a step gets is decided as in
a run. Not in it: prefix caches, preemption, contexts that make later tokens dearer, faults, an update's waiting for
the slowest rank.
"""

import asyncio
import heapq
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rl.collect import Collector
from rl.prompts import Draw
from rl.types import StepMetrics
from rollout.types import Prompt

Answer = TypeVar("Answer")
PROMPT = Prompt(id="simulated", messages=({"role": "user", "content": "?"},), task="math", reference="1")
TIMEOUT_S = 1e12


class JumpingSelector(selectors.SelectSelector):
    """Waits by moving a clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that nothing will ever bring about")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtually(main: Coroutine[Any, Any, Answer]) -> Answer:
    """The coroutine's answer, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTimes:
    """What the parts take, in seconds; of the learner all ranks together."""

    decode_step_s: float  # of an engine, whatever runs in it
    decode_sequence_s: float  # more for each sequence in it
    learn_step_s: float
    learn_token_s: float
    sync_s: float
    judge_s: float = 0.0  # a response
    other_s: float = 0.0  # a step


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated. `draw_length` gives a response's tokens; `reject_rate` of the groups teach nothing."""

    times: PartTimes
    draw_length: Callable[[random.Random], int]
    groups_per_step: int
    samples_per_prompt: int
    max_staleness: int = 0
    look_ahead: int = 0
    reject_rate: float = 0.0
    num_engines: int = 1
    max_num_sequences: int = 256  # of an engine
    num_judges: int = 1024  # responses that are judged at once
    num_steps: int = 30
    num_warmup: int = 5  # first steps that are not counted
    seed: int = 0


@dataclass(eq=False, slots=True)
class Request:
    """`count` sequences of a group that are not finished."""

    count: int
    finished: asyncio.Event = field(default_factory=asyncio.Event)


class SimulatedEngine:
    """Sequences in lockstep: each decode step gives every one of them a token."""

    def __init__(self, times: PartTimes, max_num_sequences: int) -> None:
        self.times, self.max_num_sequences = times, max_num_sequences
        self.num_waiting = 0  # groups
        self.busy_s = 0.0
        self._running: list[tuple[float, int, Request]] = []  # a heap: the step at which it ends, a number, whose
        self._queue: deque[tuple[int, Request]] = deque()
        self._step = 0.0  # decode steps so far
        self._number = 0
        self._since = 0.0  # when `_step` was right
        self._frozen = False
        self._timer: asyncio.TimerHandle | None = None

    async def generate(self, lengths: list[int]) -> None:
        request = Request(len(lengths))
        self.num_waiting += 1
        self._advance()
        self._queue.extend((length, request) for length in lengths)
        self._go_on()
        await request.finished.wait()
        self.num_waiting -= 1

    def freeze(self) -> None:
        self._advance()
        self._frozen = True

    def resume(self) -> None:
        self._frozen, self._since = False, _now()
        self._go_on()

    def _step_s(self) -> float:
        return self.times.decode_step_s + self.times.decode_sequence_s * len(self._running)

    def _advance(self) -> None:
        """Bring `_step` up to now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running and not self._frozen:
            self.busy_s += _now() - self._since
            self._step += (_now() - self._since) / self._step_s()
        self._since = _now()

    def _go_on(self) -> None:
        """End what is finished, let in what waits, and come back when the next one ends."""
        while self._running and self._running[0][0] <= self._step + 1e-6:
            request = heapq.heappop(self._running)[2]
            request.count -= 1
            if not request.count:
                request.finished.set()
        while self._queue and len(self._running) < self.max_num_sequences:
            length, request = self._queue.popleft()
            self._number += 1
            heapq.heappush(self._running, (self._step + length, self._number, request))
        if self._running and not self._frozen:
            delay = (self._running[0][0] - self._step) * self._step_s()
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._advance()
        self._go_on()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGroup:
    """What the collector hands out."""

    draw: int
    sampled_at: float
    num_tokens: int
    version: int
    failure: str = ""


class SimulatedStream:
    """Prompts without end."""

    def __init__(self) -> None:
        self.num_drawn = 0

    def draw(self) -> Draw:
        self.num_drawn += 1
        return Draw(self.num_drawn - 1, PROMPT)

    def mark_rejected(self, index: int) -> None:
        pass


class Simulation:
    """The loop of `rl/recipes/grpo.py` over parts that take time."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.version = scenario, 0
        self.engines = [
            SimulatedEngine(scenario.times, scenario.max_num_sequences) for _ in range(scenario.num_engines)
        ]
        self._judges = asyncio.Semaphore(scenario.num_judges)

    async def collect_group(self, draw: Draw) -> SimulatedGroup:
        """Lengths are those of the draw, whatever else is set, so that scenarios differ in nothing else."""
        rng = random.Random(f"{self.scenario.seed}/{draw.index}")
        version = self.version
        lengths = [self.scenario.draw_length(rng) for _ in range(self.scenario.samples_per_prompt)]
        await min(self.engines, key=lambda engine: engine.num_waiting).generate(lengths)
        sampled_at = _now()
        if self.scenario.times.judge_s:
            await asyncio.gather(*(self._judge() for _ in lengths))
        return SimulatedGroup(draw=draw.index, sampled_at=sampled_at, num_tokens=sum(lengths), version=version)

    async def _judge(self) -> None:
        async with self._judges:
            await asyncio.sleep(self.scenario.times.judge_s)

    def keep(self, group: SimulatedGroup) -> str | None:
        rng = random.Random(f"{self.scenario.seed}/keep/{group.draw}")
        return "flat" if rng.random() < self.scenario.reject_rate else None

    async def run(self) -> list[StepMetrics]:
        """One row a step, under the names of docs/metrics.md."""
        scenario, rows = self.scenario, []
        collector = Collector(
            SimulatedStream(),
            self.collect_group,
            groups_per_step=scenario.groups_per_step,
            max_staleness=scenario.max_staleness,
            max_draws_per_step=1000 * scenario.groups_per_step,
            timeout_s=TIMEOUT_S,
            look_ahead=scenario.look_ahead,
        )
        async with collector:
            for _ in range(scenario.num_steps):
                start, busy = _now(), sum(engine.busy_s for engine in self.engines)
                groups, drawn = await collector.take(scenario.groups_per_step, self.keep)
                collected = _now()
                num_tokens = sum(group.num_tokens for group in groups)
                learn_s = scenario.times.learn_step_s + scenario.times.learn_token_s * num_tokens
                await asyncio.sleep(learn_s)
                await self._sync()
                ages = [self.version - 1 - group.version for group in groups]
                collector.release(len(groups))
                await asyncio.sleep(scenario.times.other_s)
                busy = sum(engine.busy_s for engine in self.engines) - busy
                step_s = _now() - start
                rows.append(
                    drawn
                    | {"time/step_s": step_s, "time/collect_s": collected - start, "time/learn_s": learn_s}
                    | {"time/sync_s": scenario.times.sync_s, "rollout/tokens": float(num_tokens)}
                    | {"rollout/staleness_mean": sum(ages) / len(ages), "rollout/staleness_max": float(max(ages))}
                    | {"throughput/engines_busy": busy / step_s / len(self.engines)}
                )
        return rows

    async def _sync(self) -> None:
        for engine in self.engines:
            engine.freeze()
        await asyncio.sleep(self.scenario.times.sync_s)
        self.version += 1
        for engine in self.engines:
            engine.resume()


def simulate(scenario: Scenario) -> StepMetrics:
    """Means over the steps after the warm-up."""

    async def main() -> list[StepMetrics]:
        return await Simulation(scenario).run()

    rows = run_virtually(main())[scenario.num_warmup :]
    assert rows, "num_steps must be above num_warmup"
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in rows[0]}


def _now() -> float:
    return asyncio.get_running_loop().time()
