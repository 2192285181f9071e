"""What is counted of optimizer updates: how many there were, and those skipped for a gradient that is not finite."""

import math
from collections.abc import Sequence
from typing import Any

from rl.types import StepMetrics

MAX_SKIPPED = 3  # in a row


class UpdateCounter:
    """Updates since the start, skipped ones too, so that the schedule of the learning rate needs no other state."""

    def __init__(self) -> None:
        self.num_updates = self.num_skipped = 0  # the second: in a row, up to now

    def count(self, norm: float) -> None:
        """One more update of that gradient norm. Raises FloatingPointError after MAX_SKIPPED skipped in a row."""
        self.num_updates += 1
        self.num_skipped = 0 if math.isfinite(norm) else self.num_skipped + 1
        if self.num_skipped == MAX_SKIPPED:
            raise FloatingPointError(
                f"{MAX_SKIPPED} updates in a row, up to number {self.num_updates}, had a loss or gradient that is not "
                "finite, and were skipped: look at the samples of these steps, lower learner.optimizer.lr; the "
                "checkpoints before them are sound"
            )

    def metrics(self, norms: Sequence[float]) -> StepMetrics:
        """Of a step whose updates had these norms."""
        finite = [norm for norm in norms if math.isfinite(norm)]
        return {
            "optim/grad_norm": sum(finite) / len(finite) if finite else math.nan,
            "optim/updates": self.num_updates,
            "optim/skipped": len(norms) - len(finite),
        }

    def state(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates, "num_skipped": self.num_skipped}

    def load(self, state: dict[str, Any]) -> None:
        self.num_updates, self.num_skipped = state["num_updates"], state.get("num_skipped", 0)
