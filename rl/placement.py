"""What the processes of a run need against what the nodes of a cluster have, and which process goes where."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rl.layout import Layout, share_out

RoleKind = Literal["engine", "learner", "scorer", "model", "teacher"]
Resources = dict[str, float]
ROUNDING = 1e-6  # Ray counts resources in steps of 1e-4
REMEDIES: dict[RoleKind, str] = {
    "engine": "lower engine.num_engines or engine.tensor_parallel_size",
    "learner": "lower learner.num_ranks",
    "scorer": "lower rewards.num_workers or set ray.placement.scorer.cpus",
    "model": "lower the model's num_gpus, or give the url of a server elsewhere",
    "teacher": "lower teacher.engine.num_engines or teacher.engine.tensor_parallel_size",
}


class RolePlacement(BaseModel):
    """Where the processes of a role may go, and what each takes there beside its GPUs.

    `cpus` None is the role's own number: 1 an engine, learner rank or served model, a scorer's `num_workers`.
    `resources` are custom resources, which only nodes have that were started with them
    (`ray start --resources='{"sharpen_engine": 2}'`): they keep a role to some nodes, so many to each.
    `strategy` pack: on as few nodes as possible; spread: as few on a node as possible, so that a lost node takes few.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: float | None = Field(None, ge=0)
    resources: Resources = {}
    strategy: Literal["pack", "spread"] = "pack"

    @field_validator("resources")
    @classmethod
    def _are_custom(cls, resources: Resources) -> Resources:
        for name, amount in resources.items():
            if name in ("CPU", "GPU", "memory", "object_store_memory"):
                raise ValueError(
                    f"{name} is not a custom resource: CPUs are `cpus`, GPUs follow from the role's config"
                )
            if amount <= 0 or (amount > 1 and amount != int(amount)):
                raise ValueError(f"{name}: {amount} must be above 0, and whole where it is above 1")
        return resources


class PlacementConfig(BaseModel):
    """The placement of each role; `model` are judge and preference models that Sharpen serves.

    `layout` disaggregated: engines have GPUs of their own. colocated: an engine lives on the GPUs of
    `tensor_parallel_size` learner ranks, and sleeps while they learn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout = "disaggregated"
    engine: RolePlacement = RolePlacement(strategy="spread")
    learner: RolePlacement = RolePlacement()
    scorer: RolePlacement = RolePlacement()
    model: RolePlacement = RolePlacement()
    teacher: RolePlacement = RolePlacement(strategy="spread")

    @field_validator("learner")
    @classmethod
    def _has_a_core(cls, learner: RolePlacement) -> RolePlacement:
        if learner.cpus is not None and learner.cpus < 1:
            raise ValueError(f"cpus is {learner.cpus}: a learner rank takes at least 1")
        return learner

    def shares(self, kind: RoleKind) -> bool:
        """Whether such a process lives on GPUs that are a learner rank's."""
        return kind == "engine" and self.layout == "colocated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """`count` processes with one need. `gpus` counts where the cluster has GPUs; `paths` are what each must find."""

    kind: RoleKind
    name: str
    count: int = 1
    cpus: float = 1
    gpus: float = 0
    paths: tuple[str, ...] = ()

    def demand(self, config: PlacementConfig, *, on_gpu: bool) -> Resources:
        """What one process takes of its node."""
        where: RolePlacement = getattr(config, self.kind)
        cpus = self.cpus if where.cpus is None else where.cpus
        gpus = self.gpus if on_gpu and not config.shares(self.kind) else 0
        return {"CPU": cpus, "GPU": gpus, **where.resources}


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: what it has, and what of that is free."""

    id: str
    name: str
    total: Mapping[str, float]
    free: Mapping[str, float]

    def in_words(self, names: Sequence[str]) -> str:
        return f"{self.name}: " + ", ".join(
            f"{_amount(name, self.free.get(name, 0))} free of {self.total.get(name, 0):g}" for name in names
        )


@dataclass(frozen=True, slots=True)
class Need:
    """A role and what one process of it takes."""

    role: Role
    demand: Resources
    strategy: str
    shares: bool = False  # beside learner ranks, and nowhere else

    def chunks(self, num_nodes: int) -> list[int]:
        """Processes that must share a node: each alone, but learner ranks in equal parts (verl's worker groups)."""
        if self.role.kind != "learner":
            return [1] * self.role.count
        return [self.role.count // num_nodes] * num_nodes

    def in_words(self) -> str:
        each = " + ".join(_amount(name, amount) for name, amount in self.demand.items() if amount)
        return f"{self.role.count} x {self.role.name} of {each or 'no resources'}"


@dataclass(slots=True)
class Plan:
    """The node of each process, by the role's name, in the order of ranks or engines."""

    needs: list[Need]
    places: dict[str, list[Node]] = field(default_factory=dict)

    def in_words(self) -> str:
        lines = []
        for name, nodes in self.places.items():
            counts = Counter(node.name for node in nodes)
            lines.append(f"{name}: " + ", ".join(f"{count} on {node}" for node, count in counts.items()))
        return "places: " + "; ".join(lines)


def make_needs(roles: Sequence[Role], nodes: Sequence[Node], config: PlacementConfig) -> list[Need]:
    on_gpu = any(node.total.get("GPU", 0) for node in nodes)
    return [
        Need(role, role.demand(config, on_gpu=on_gpu), getattr(config, role.kind).strategy, config.shares(role.kind))
        for role in roles
    ]


def describe(needs: Sequence[Need], nodes: Sequence[Node]) -> str:
    """What the run needs and what the cluster has, in words."""
    names = _resource_names(needs)
    wanted = "the run needs " + "; ".join(need.in_words() for need in needs)
    has = f"the cluster has {len(nodes)} node{'s' * (len(nodes) != 1)}:"
    return "\n".join([wanted, has, *(f"  {node.in_words(names)}" for node in nodes)])


def make_plan(needs: Sequence[Need], nodes: Sequence[Node]) -> Plan:
    """A node for every process. Raises ValueError, by role and node, where there is no room.

    The largest go first, each where least is left over (or, spread, where fewest of its role are): a heuristic, which
    tries the learner's ranks on one node, then in equal parts on more.
    """
    for num_nodes in _learner_layouts(needs, len(nodes)):
        plan, stuck = _place(needs, nodes, num_nodes)
        if stuck is None:
            return plan
    problem = "\n".join(_shortfalls(needs, nodes)) or _crowded(needs, nodes)
    raise ValueError(f"ray: the cluster has no room for this config.\n{problem}\n{describe(needs, nodes)}")


def _learner_layouts(needs: Sequence[Need], num_nodes: int) -> list[int]:
    """On how many nodes the learner's ranks may be, best first."""
    for need in needs:
        if need.role.kind == "learner":
            divisors = [n for n in range(1, num_nodes + 1) if need.role.count % n == 0]
            return divisors[::-1] if need.strategy == "spread" else divisors
    return [1]


def _place(needs: Sequence[Need], nodes: Sequence[Node], num_learner_nodes: int) -> tuple[Plan, Need | None]:
    """A plan, and the need that it could not meet, if any."""
    plan = Plan(list(needs))
    free = {node.id: dict(node.free) for node in nodes}

    def size(need: Need) -> tuple[float, ...]:
        processes = need.chunks(num_learner_nodes)[0]
        custom = sum(amount for name, amount in need.demand.items() if name not in ("CPU", "GPU"))
        return processes * need.demand["GPU"], custom, processes * need.demand["CPU"]

    for need in _with_shared(sorted(needs, key=size, reverse=True)):
        places: list[Node] = []
        beside = _beside_ranks(need, plan.places.get("learner", [])) if need.shares else None
        if need.shares and beside is None:
            return plan, need
        for number, processes in enumerate(need.chunks(num_learner_nodes)):
            wanted = {name: processes * amount for name, amount in need.demand.items()}
            used = places if need.role.kind == "learner" else []
            allowed = nodes if beside is None else [beside[number]]
            fitting = [node for node in allowed if node not in used and _fits(wanted, free[node.id])]
            if not fitting:
                return plan, need
            node = min(fitting, key=lambda each: _preference(need, each, places, free[each.id]))
            for name, amount in wanted.items():
                free[node.id][name] = free[node.id].get(name, 0) - amount
            places += [node] * processes
        plan.places[need.role.name] = places
    return plan, None


def _with_shared(needs: Sequence[Need]) -> Iterator[Need]:
    """All needs; those that live beside the learner's ranks, and have no choice, right after these."""
    for need in needs:
        if not need.shares:
            yield need
        if need.role.kind == "learner":
            yield from (other for other in needs if other.shares)


def _beside_ranks(need: Need, ranks: Sequence[Node]) -> list[Node] | None:
    """The node of each engine that shares GPUs with these learner ranks; None where they do not suffice."""
    shared = share_out([node.id for node in ranks], need.role.count, int(need.role.gpus))
    return None if shared is None else [ranks[group[0]] for group in shared]


def _preference(need: Need, node: Node, places: Sequence[Node], free: Resources) -> tuple[float, ...]:
    """Smallest first. What needs no GPU keeps off the nodes that have some."""
    spread = sum(place.id == node.id for place in places) if need.strategy == "spread" else 0
    gpus = free.get("GPU", 0) if need.demand["GPU"] else node.total.get("GPU", 0)
    return spread, gpus, free.get("CPU", 0)


def _fits(wanted: Mapping[str, float], free: Mapping[str, float]) -> bool:
    return all(amount <= free.get(name, 0) + ROUNDING for name, amount in wanted.items())


def _shortfalls(needs: Sequence[Need], nodes: Sequence[Node]) -> Iterator[str]:
    """Resources of which there are too few in all, and roles of which one process has room on no node."""
    for name in _resource_names(needs):
        wanted = {need.role.name: need.role.count * need.demand.get(name, 0) for need in needs}
        free = sum(node.free.get(name, 0) for node in nodes)
        if sum(wanted.values()) > free + ROUNDING:
            by_role = ", ".join(f"{role} {amount:g}" for role, amount in wanted.items() if amount)
            remedy = _remedy([need for need in needs if need.demand.get(name)], name)
            yield f"{_amount(name, sum(wanted.values()))} wanted ({by_role}), {free:g} free in all: {remedy}"
    for need in needs:
        for name, amount in need.demand.items():
            most = max((node.free.get(name, 0) for node in nodes), default=0)
            total = sum(node.free.get(name, 0) for node in nodes)
            if most + ROUNDING < amount <= total:
                yield (
                    f"{need.role.name}: one process takes {_amount(name, amount)} of a single node, and no node has "
                    f"more than {most:g} free ({total:g} in all): {_remedy([need], name)}"
                )


def _crowded(needs: Sequence[Need], nodes: Sequence[Node]) -> str:
    """Each alone would fit, and the totals suffice, but not all together on whole nodes."""
    tries = [_place(needs, nodes, layout) for layout in _learner_layouts(needs, len(nodes))]
    plan, stuck = max(tries, key=lambda each: len(each[0].places))
    assert stuck is not None, "asked where there is no plan"
    if stuck.shares and "learner" in plan.places and _beside_ranks(stuck, plan.places["learner"]) is None:
        each = int(stuck.role.gpus)
        return (
            f"engine: {stuck.role.count} engines want the places of {each} learner ranks of one node each, and so many "
            f"are not together ({plan.in_words()}): {_remedy([stuck], 'GPU')}"
        )
    placed = plan.in_words() if plan.places else "nothing else is placed"
    return f"{stuck.role.name}: no node has room for it beside the others ({placed}): {_remedy([stuck], 'GPU')}"


def _remedy(needs: Sequence[Need], name: str) -> str:
    kinds = dict.fromkeys(need.role.kind for need in needs)
    ways = [REMEDIES[kind] for kind in kinds]
    more = f"start nodes with --resources='{{\"{name}\": ...}}'" if name not in ("CPU", "GPU") else "add nodes"
    return "; ".join([*ways, f"or {more} (ray.join_timeout_s waits for nodes that are still joining)"])


def _resource_names(needs: Sequence[Need]) -> list[str]:
    wanted = {name for need in needs for name, amount in need.demand.items() if amount}
    return [name for name in ("CPU", "GPU") if name in wanted] + sorted(wanted - {"CPU", "GPU"})


def _amount(name: str, amount: float) -> str:
    if name in ("CPU", "GPU"):
        return f"{amount:g} {name}{'s' * (amount != 1)}"
    return f"{amount:g} {name}"


def total_cpus(roles: Sequence[Role], config: PlacementConfig) -> int:
    """CPUs to start Ray with on a machine of our own: processes share its cores."""
    return max(1, math.ceil(sum(role.count * role.demand(config, on_gpu=False)["CPU"] for role in roles)))
