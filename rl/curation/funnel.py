"""What each stage took in, dropped for which reason, and let through: nothing is lost between them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rl.files import write_atomically
from rl.types import StepMetrics

Item = TypeVar("Item")


@dataclass(slots=True)
class Stage:
    """One stage's counts, in items of `unit`. Notes are further counts, of items that were not dropped for them."""

    name: str
    unit: str
    num_in: int
    reasons: Counter[str]
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def num_out(self) -> int:
        return self.num_in - self.reasons.total()


class Funnel:
    """The stages in their order. What passes one goes through `sift`, so in = out + the sum over reasons."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def sift(
        self, name: str, unit: str, items: Sequence[Item], reasons: Sequence[str | None], notes: Sequence[str] = ()
    ) -> list[Item]:
        """The items without a reason to drop them; the others are counted under theirs."""
        counted = Counter(reason for reason in reasons if reason is not None)
        self.stages.append(Stage(name, unit, len(items), counted, Counter(notes)))
        return [item for item, reason in zip(items, reasons, strict=True) if reason is None]

    def metrics(self) -> StepMetrics:
        found: StepMetrics = {}
        for stage in self.stages:
            key = f"curate/{stage.name.replace(' ', '_')}"
            found |= {f"{key}/in": float(stage.num_in), f"{key}/out": float(stage.num_out)}
            found |= {f"{key}/dropped/{reason}": float(count) for reason, count in stage.reasons.items()}
            found |= {f"{key}/noted/{note}": float(count) for note, count in stage.notes.items()}
        return found

    def write(self, path: Path, summary: dict[str, Any]) -> None:
        """All counts as JSON, with figures that are no counts of a stage."""
        stages = [
            {
                "stage": stage.name,
                "unit": stage.unit,
                "in": stage.num_in,
                "out": stage.num_out,
                "dropped": dict(sorted(stage.reasons.items())),
                "noted": dict(sorted(stage.notes.items())),
            }
            for stage in self.stages
        ]
        write_atomically(path, json.dumps({"stages": stages} | summary, indent=1, ensure_ascii=False) + "\n")

    def table(self) -> str:
        """The counts for people: a line a stage, and one below it for each reason and note."""
        width = max((len(stage.name) for stage in self.stages), default=0)
        lines = []
        for stage in self.stages:
            lines.append(f"{stage.name:<{width}}  {stage.num_in:>7} in  {stage.num_out:>7} out  {stage.unit}")
            lines += [f"{'':<{width}}  {-count:>7} {reason}" for reason, count in stage.reasons.most_common()]
            lines += [f"{'':<{width}}  {count:>7} of them: {note}" for note, count in stage.notes.most_common()]
        return "\n".join(lines)
