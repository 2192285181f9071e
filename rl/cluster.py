"""Where parts live: a Ray session with room for them, and engines as its actors behind their plain interface."""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.ray_loopback import loopback_alone
from rl.bucket_relay import own_address, own_node_id, split_relay
from rl.environments import find_environment
from rl.learner import Bucket
from rl.nodes import (
    NO_PLUGINS,
    Places,
    Session,
    check_nodes,
    connect,
    joining_options,
    living_ids,
    on_node,
    plan_on_nodes,
    starting_options,
)
from rl.placement import PlacementConfig, Plan, Role, RoleKind, total_cpus
from rl.roles import engine_role
from rollout.chat import Chat
from rollout.engine import Completion, Engine, EngineConfig
from rollout.environments.sampler import EnvironmentSampler
from rollout.processes import ProcessKey, end_processes
from rollout.sampler import EngineHandle, EngineLost, EngineSpoiled, Sampler
from rollout.turns import Turns
from rollout.types import SamplingParams
from rollout.weight_group import BROKEN

NO_ANSWER_S = 60.0
MAX_CALLS = 65_536  # to an actor at once: beyond them Ray keeps even the question for its pulse waiting

log = logging.getLogger(__name__)


class RayConfig(BaseModel):
    """Which Ray cluster: `address` of a running one ("auto" for this machine's), or None to start one here for the run.

    `placement` says where each role goes. A run begins once there is room on at least `min_nodes` nodes; those that are
    still joining are waited for up to `join_timeout_s`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = None
    object_store_mib: int = Field(512, ge=80)
    placement: PlacementConfig = PlacementConfig()
    min_nodes: int = Field(1, ge=1)
    join_timeout_s: float = Field(0, ge=0)

    @field_validator("address")
    @classmethod
    def _is_no_client(cls, address: str | None) -> str | None:
        if address is not None and address != "auto" and not re.fullmatch(r"[^/:]+:\d+", address):
            raise ValueError(f"{address} is neither auto nor HOST:PORT of a cluster's head, of which this is a node")
        return address


@asynccontextmanager
async def ray_session(
    config: RayConfig,
    roles: Sequence[Role] = (),
    say: Callable[[str], None] = lambda text: None,
    *,
    num_cpus: int | None = None,
) -> AsyncIterator[None]:
    """Ray for the length of a run, with room for its roles; a cluster that we started ends with it.

    Raises ValueError where a running cluster does not answer, has no room, or has nodes that cannot take their part.
    """
    import ray

    os.environ.update(NO_PLUGINS)
    num_cpus = num_cpus or total_cpus(roles, config.placement)
    options = joining_options(config.address) if config.address else starting_options(config.object_store_mib, num_cpus)
    with nullcontext() if config.address else loopback_alone():
        await connect(config.address, options)
        try:
            if roles:
                Session.places = Places(config.placement, await _plan(config, roles, say))
            yield
        finally:
            Session.places = Places(PlacementConfig(), None)
            await asyncio.to_thread(ray.shutdown)


async def _plan(config: RayConfig, roles: Sequence[Role], say: Callable[[str], None]) -> Plan:
    """A place for each process; on a machine of our own that is no news, and there are no nodes to wait for."""
    if not config.address:
        return await plan_on_nodes(roles, config.placement, lambda text: None)
    plan = await plan_on_nodes(roles, config.placement, say, config.min_nodes, config.join_timeout_s)
    await check_nodes(plan)
    return plan


async def enter_together(stack: AsyncExitStack, *contexts: AbstractAsyncContextManager[Any]) -> list[Any]:
    """Enter all contexts at once: each takes its time to start. The first failure ends the other starts."""
    tasks = [asyncio.create_task(stack.enter_async_context(context)) for context in contexts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def answer_within(reference: Any, timeout_s: float, what: str) -> Any:
    """A Ray call's answer within its limit; TimeoutError names what it was waiting for."""
    try:
        return await asyncio.wait_for(await_reference(reference), timeout_s)
    except TimeoutError as error:
        raise TimeoutError(f"{what} did not answer within {timeout_s:.0f} s") from error


async def await_reference(reference: Any) -> Any:
    return await reference


def gone() -> tuple[type[Exception], ...]:
    """Ray's words for a process that is no more, also where its memory monitor or a lost node ended it."""
    from ray.exceptions import (
        ActorUnschedulableError,
        NodeDiedError,
        OutOfMemoryError,
        RayActorError,
        WorkerCrashedError,
    )

    return RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError, ActorUnschedulableError


async def end_actor(actor: Any, what: str) -> None:
    """Stop what an actor has started, and end it; what goes wrong here must not hide why a run ends."""
    import ray
    from ray.exceptions import RayError

    try:
        await answer_within(actor.stop.remote(), NO_ANSWER_S, f"stop of {what}")
    except (RayError, TimeoutError) as error:
        log.warning("%s was not stopped, but killed: %s", what, str(error).partition("\n")[0])
    finally:
        ray.kill(actor)


class RayEngine:
    """`EngineHandle` over a Ray actor. `node_id` and `processes` are known once it has started."""

    def __init__(self, actor: Any, name: str, num_workers: int = 1) -> None:
        self.actor, self.name, self.num_workers = actor, name, num_workers
        self.node_id: str | None = None
        self.processes: list[ProcessKey] = []

    async def _call(self, reference: Any) -> Any:
        from ray.exceptions import RayTaskError

        try:
            return await reference
        except gone() as error:
            raise EngineLost(f"{self.name}: its process is gone ({type(error).__name__})") from error
        except RayTaskError as error:
            if BROKEN in str(error):
                raise EngineSpoiled(f"{self.name}: {BROKEN}") from error
            # vLLM reports the death of its core process this way; nothing works in that actor afterwards.
            if "EngineDeadError" in str(error) or "EngineCore" in str(error):
                raise EngineLost(f"{self.name}: vLLM's core process is gone") from error
            raise

    async def generate(
        self, prompt_token_ids: tuple[int, ...], params: SamplingParams, **options: Any
    ) -> tuple[int, list[Completion]]:
        return await self._call(self.actor.generate.remote(prompt_token_ids, params, **options))

    async def score(self, token_ids: tuple[int, ...]) -> list[float]:
        return await self._call(self.actor.score.remote(token_ids))

    async def progress(self) -> int:
        return await self._call(self.actor.progress.remote())

    async def sleep(self) -> None:
        await self._call(self.actor.sleep.remote())

    async def begin_update(self) -> None:
        await self._call(self.actor.begin_update.remote())

    async def join_group(self, group: dict[str, Any]) -> None:
        address = await self._call(self.actor.__ray_call__.remote(own_address))
        await self._call(self.actor.join_group.remote(group | {"own_address": address}))

    async def load_bucket(self, bucket: Bucket) -> None:
        plain, payload = split_relay(bucket, self.node_id)
        await self._call(self.actor.load_bucket.remote(plain, payload))

    async def end_update(self, version: int) -> None:
        await self._call(self.actor.end_update.remote(version))

    def kill(self) -> None:
        import ray

        ray.kill(self.actor)

    async def end(self) -> None:
        """Kill it, and wait until its processes are gone, and with them their part of a GPU's memory."""
        from ray.exceptions import RayError

        self.kill()
        if self.node_id in await asyncio.to_thread(living_ids):
            try:
                await answer_within(on_node(self.node_id, end_processes, self.processes), NO_ANSWER_S, "their end")
            except (RayError, TimeoutError) as error:
                log.warning("%s: its processes may still be there: %s", self.name, str(error).partition("\n")[0])


async def start_engine(
    model: str, config: EngineConfig, stops: list[int], seed: int, index: int, kind: RoleKind = "engine"
) -> EngineHandle:
    """A fresh engine in an actor of its own, loaded and ready; elsewhere once more where a node is lost on the way."""
    import ray

    actor_class: Any = ray.remote(Engine)
    role = engine_role(config, model, kind)
    beside = await Session.places.beside_ranks(role, index)
    options = Session.places.actor_options(role, index, beside)
    shared_gpus = None if beside is None else beside.gpus
    while True:
        nodes_before = living_ids()
        actor = actor_class.options(max_concurrency=MAX_CALLS, **options).remote(
            model, config, stops, seed, shared_gpus
        )
        engine = RayEngine(actor, f"{kind} {index}", config.tensor_parallel_size)
        try:
            await answer_within(engine._call(actor.start.remote()), config.start_timeout_s, f"start of {engine.name}")
            engine.node_id = await answer_within(actor.__ray_call__.remote(own_node_id), NO_ANSWER_S, engine.name)
            engine.processes = await answer_within(actor.processes.remote(), NO_ANSWER_S, engine.name)
            return engine
        except BaseException as error:
            engine.kill()  # one that still waits for room would take it later
            # Ray learns of a lost node after some seconds, and may send a successor there until then.
            if not isinstance(error, EngineLost) or nodes_before <= living_ids():
                raise


@asynccontextmanager
async def open_sampler(
    model: str, config: EngineConfig, stops: list[int], seed: int, kind: RoleKind = "engine"
) -> AsyncIterator[Sampler]:
    """All engines, started together, behind one sampler."""

    async def start(index: int) -> EngineHandle:
        return await start_engine(model, config, stops, seed, index, kind)

    engines = await asyncio.gather(*(start(index) for index in range(config.num_engines)))
    async with EnvironmentSampler(list(engines), Chat(model), config, start, find_environment) as sampler:
        sampler.turns = Turns(Session.places.config.shares(kind))
        try:
            yield sampler
        finally:
            for seat in sampler.seats:
                seat.engine.kill()
