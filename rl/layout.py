"""Whose GPUs an engine computes on: its own, or those of learner ranks, with which it then takes turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rl.learner import LearnerConfig
from rollout.engine import EngineConfig

Layout = Literal["disaggregated", "colocated"]


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where a learner rank is: its node, and the number of its GPU there; no number on a CPU."""

    node_id: str
    gpus: tuple[str, ...] = ()


def share_out(nodes: Sequence[str], num_engines: int, ranks_each: int) -> list[list[int]] | None:
    """The ranks beside which each engine lives, `ranks_each` of one node; None where there are too few.

    `nodes` has the node of each rank. Engines are dealt out to the nodes in turn, in the order of their names: that of
    the ranks is not known to a plan.
    """
    by_node: dict[str, list[int]] = {}
    for rank, node in enumerate(nodes):
        by_node.setdefault(node, []).append(rank)
    rows = [
        [ranks[start : start + ranks_each] for start in range(0, len(ranks) - ranks_each + 1, ranks_each)]
        for _, ranks in sorted(by_node.items())
    ]
    dealt = [row[turn] for turn in range(max(map(len, rows), default=0)) for row in rows if turn < len(row)]
    return dealt[:num_engines] if len(dealt) >= num_engines else None


def check_colocated(engine: EngineConfig, learner: LearnerConfig, max_staleness: int) -> None:
    """ValueError where engines cannot take turns with the learner."""
    if max_staleness:
        raise ValueError(
            f"max_staleness is {max_staleness}, but with ray.placement.layout colocated nothing is sampled while the "
            "learner works: set it to 0, or give the engines GPUs of their own (disaggregated)"
        )
    if learner.weight_transfer == "broadcast":
        raise ValueError(
            "learner.weight_transfer is broadcast, but NCCL takes no two members on one GPU, as there are with "
            "ray.placement.layout colocated: set it to host"
        )
    wanted = engine.num_engines * engine.tensor_parallel_size
    if wanted > learner.num_ranks:
        raise ValueError(
            f"{engine.num_engines} engines of {engine.tensor_parallel_size} want the places of {wanted} learner ranks "
            f"with ray.placement.layout colocated, and learner.num_ranks is {learner.num_ranks}: fewer or smaller "
            "engines, or more ranks"
        )
