"""What each rank of the learner gets of a batch."""

from dataclasses import dataclass

from rl.types import MicroBatch, TrainBatch, UpdateCounts


@dataclass(frozen=True, slots=True)
class RankUpdate:
    """One rank's part of an `Update`."""

    micro_batches: tuple[MicroBatch, ...]
    weights: tuple[float, ...]
    counts: UpdateCounts


def shares(batch: TrainBatch, num_ranks: int, copies: int = 1) -> list[list[RankUpdate]]:
    """The batch by rank: each of `num_ranks` parts for as many neighbours as share its rows."""
    parts = [[RankUpdate(u.micro_batches[r], u.weights[r], u.counts) for u in batch.updates] for r in range(num_ranks)]
    return [part for part in parts for _ in range(copies)]
