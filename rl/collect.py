"""Groups in the making, some steps ahead of the learner at most: the bound on staleness lives here."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from rl.faults import RunStopped
from rl.prompts import Draw
from rl.types import StepMetrics
from rl.waits import Waits


class Collected(Protocol):
    """What is made of a draw: when its responses were there (clock of the event loop), what went wrong, if anything."""

    @property
    def draw(self) -> int: ...

    @property
    def sampled_at(self) -> float: ...

    @property
    def failure(self) -> str: ...


GroupType = TypeVar("GroupType", bound=Collected)
CollectGroup = Callable[[Draw], Coroutine[Any, Any, GroupType]]


class Stream(Protocol):
    """Where prompts come from; it remembers which draws are settled, so that a resume repeats the others."""

    def draw(self) -> Draw: ...

    def mark_rejected(self, index: int) -> None: ...


class CollectConfig(Protocol):
    """What a recipe's config says of collecting."""

    @property
    def groups_per_step(self) -> int: ...

    @property
    def max_staleness(self) -> int: ...

    @property
    def draws_per_step(self) -> int: ...

    @property
    def look_ahead(self) -> int: ...

    @property
    def collect_timeout_s(self) -> float: ...


@dataclass(eq=False, slots=True)
class Place(Generic[GroupType]):
    """A group in the making, which is to be taken before step `last_release` + 1 is released."""

    draw: Draw
    task: asyncio.Task[GroupType]
    last_release: int
    finished_at: float = math.inf

    def note_finish(self, task: asyncio.Task[GroupType]) -> None:
        self.finished_at = task.get_loop().time()


class Collector(Generic[GroupType]):
    """Keeps groups in the making and hands them out in the order in which their prompts were drawn.

    A group holds one of `(max_staleness + 1) * groups_per_step` slots from the draw of its prompt until
    `release`, which is called after new weights are published. A prompt is drawn only when what stands before it
    is sure to be settled in time: this step still settles a known number of groups, and each of the next
    `max_staleness` steps at least `groups_per_step`. So a group drawn under version v is learned at step
    v + 1 + max_staleness at the latest, whatever is rejected.

    With `look_ahead` a finished group may go before that many others, as far as these keep the bound all the same.
    Which groups a step gets then depends on how long they take.
    """

    def __init__(
        self,
        prompts: Stream,
        collect_group: CollectGroup[GroupType],
        *,
        groups_per_step: int,
        max_staleness: int,
        max_draws_per_step: int,
        timeout_s: float,
        look_ahead: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        assert max_draws_per_step >= groups_per_step, "a step draws at least the groups it trains on"
        self.prompts, self.collect_group = prompts, collect_group
        self.groups_per_step, self.max_staleness, self.look_ahead = groups_per_step, max_staleness, look_ahead
        self.max_draws_per_step, self.timeout_s, self.progress = max_draws_per_step, timeout_s, progress
        self._line: list[Place[GroupType]] = []
        self._num_learning = 0  # taken, not yet released
        self._num_releases = 0

    async def __aenter__(self) -> "Collector[GroupType]":
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [place.task for place in self._line]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self, num_settled: int) -> None:
        """Draw prompts until the line holds what the current step (`num_settled`) and those ahead will settle."""
        while len(self._line) < self.max_staleness * self.groups_per_step + num_settled:
            draw = self.prompts.draw()
            task = asyncio.create_task(self.collect_group(draw))
            place = Place(draw, task, self._num_releases + self.max_staleness)
            task.add_done_callback(place.note_finish)
            self._line.append(place)

    async def take(self, count: int, keep: Callable[[GroupType], str | None]) -> tuple[list[GroupType], StepMetrics]:
        """The next `count` groups that `keep` has no reason to drop, and what was dropped.

        They are in the order of their draws, fewer after `max_draws_per_step` settled ones. Raises TimeoutError
        naming the prompt that did not come, and RunStopped when not one group was kept.
        """
        taken: list[GroupType] = []
        dropped: dict[str, int] = {}
        failure, waits = "", Waits()
        while len(taken) < count and (left := self.max_draws_per_step - len(taken) - sum(dropped.values())) > 0:
            num_sure = min(count - len(taken), left)
            self._fill(num_sure)
            group = await self._next(self._reach(num_sure), count - len(taken), waits)
            reason = keep(group)
            if reason is None:
                taken.append(group)
                self._num_learning += 1
                self.progress(len(taken), count)
            else:
                dropped[reason] = dropped.get(reason, 0) + 1
                failure = failure or group.failure
                self.prompts.mark_rejected(group.draw)
        if not taken:
            reasons = ", ".join(f"{reason} {times} times" for reason, times in sorted(dropped.items()))
            example = f" (for example: {failure})" if failure else ""
            raise RunStopped(
                f"no group to learn from after {self.max_draws_per_step} draws ({reasons}): the task is too hard or "
                f"too easy for the model, or its reward fails{example}; see group_filters and max_draws_per_step"
            )
        self._fill(0)  # sampling goes on while the learner works, as far as the bound allows
        metrics = {f"group/rejected/{reason}": float(times) for reason, times in dropped.items()}
        metrics |= {"group/rejected": float(sum(dropped.values())), "group/kept": float(len(taken))}
        return sorted(taken, key=lambda group: group.draw), metrics | waits.metrics

    def _reach(self, num_sure: int) -> int:
        """How many of the first in line may be taken next. A group may be passed over as long as those that stand
        before it and it are sure to be settled by the rest of this step and the steps up to its last."""
        for position, place in enumerate(self._line[: self.look_ahead]):
            num_steps = place.last_release - self._num_releases
            if position >= num_sure - 1 + num_steps * self.groups_per_step:
                return position + 1
        return self.look_ahead + 1

    async def _next(self, reach: int, num_needed: int, waits: Waits) -> GroupType:
        """The first of the `reach` first in line that is finished. `waits` is told how long that took, and why."""
        clock = asyncio.get_running_loop().time
        start, tasks = clock(), [place.task for place in self._line[:reach]]
        if not (await asyncio.wait(tasks, timeout=self.timeout_s, return_when="FIRST_COMPLETED"))[0]:
            draw = self._line[0].draw
            raise TimeoutError(
                f"prompt {draw.prompt.id} (draw {draw.index}) had no finished group within collect_timeout_s = "
                f"{self.timeout_s:.0f} s"
            )
        place = next(place for place in self._line if place.task.done())
        self._line.remove(place)
        group = place.task.result()
        waits.add(start, clock(), group.sampled_at, [other.finished_at for other in self._line], num_needed)
        return group

    def release(self, count: int) -> None:
        """The weights learned from `count` groups are published: their slots are free again."""
        assert count <= self._num_learning, "released more groups than were taken"
        self._num_learning -= count
        self._num_releases += 1
        self._fill(self.groups_per_step)


def make_collector(
    config: CollectConfig,
    prompts: Stream,
    collect_group: CollectGroup[GroupType],
    progress: Callable[[int, int], None],
) -> Collector[GroupType]:
    """A collector as a recipe's config wants it."""
    return Collector(
        prompts,
        collect_group,
        groups_per_step=config.groups_per_step,
        max_staleness=config.max_staleness,
        max_draws_per_step=config.draws_per_step,
        timeout_s=config.collect_timeout_s,
        look_ahead=config.look_ahead,
        progress=progress,
    )
