"""What collecting waited for in a step, and which part of the loop bound the step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.types import StepMetrics

SLACK = 0.1  # of a step: a wait that is shorter binds nothing


@dataclass(slots=True)
class Waits:
    """Seconds of one `take`: for responses, for their scores, and for one in line while enough others were there."""

    sampling_s: float = 0.0
    judging_s: float = 0.0
    head_of_line_s: float = 0.0

    def add(self, start: float, end: float, sampled_at: float, others: Sequence[float], num_needed: int) -> None:
        """A wait from `start` to `end` for a group that was sampled at `sampled_at` and judged at `end`.

        `others` are the times at which those that stand in line were, or will be (inf), finished. All on one clock.
        """
        sampled = min(max(sampled_at, start), end)
        self.sampling_s += sampled - start
        self.judging_s += end - sampled
        if len(others) >= num_needed:
            self.head_of_line_s += max(0.0, end - max(start, sorted(others)[num_needed - 1]))

    @property
    def metrics(self) -> StepMetrics:
        return {
            "time/wait_sampling_s": self.sampling_s,
            "time/wait_judging_s": self.judging_s,
            "time/head_of_line_s": self.head_of_line_s,
        }


def bound_of(rows: Sequence[Mapping[str, Any]], max_staleness: int) -> str | None:
    """sampling, judging, learning or sync: what steps would have to do faster to end earlier; None where unknown.

    Without staleness the parts follow one another, and it is the longest. With it, sampling goes on while the learner
    works: where the loop waits for groups all the same, they are what is missing, however long the learner takes.
    Groups then come in bursts that last `max_staleness` + 1 steps: fewer rows may show a part of one.
    """
    names = {"sampling": "wait_sampling", "judging": "wait_judging", "learning": "learn", "sync": "sync"}
    if any(row.get(f"time/{name}_s") is None for row in rows for name in names.values()):
        return None
    known = {part: sum(row[f"time/{name}_s"] for row in rows) for part, name in names.items()}
    waits = {part: known[part] for part in ("sampling", "judging")}
    if max_staleness and sum(waits.values()) > SLACK * sum(known.values()):
        known = waits
    return max(known, key=lambda part: known[part])
