"""Where parts live: engines and the reward scorer as Ray actors, behind their plain interfaces."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.calls import Call, Reply
from rewards.endpoint import EndpointConfig
from rewards.ray_loopback import loopback_alone
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult
from rl.bucket_relay import own_node_id, split_relay
from rl.environments import find_environment
from rl.learner import Bucket
from rl.models import resolve_model
from rl.nodes import (
    NO_PLUGINS,
    Places,
    Session,
    check_nodes,
    connect,
    joining_options,
    living_ids,
    plan_on_nodes,
    starting_options,
)
from rl.placement import PlacementConfig, Plan, Role, RoleKind, total_cpus
from rl.roles import engine_role, model_role, scorer_role
from rollout.chat import Chat
from rollout.engine import Completion, Engine, EngineConfig
from rollout.environments.sampler import EnvironmentSampler
from rollout.model_server import LOOPBACK
from rollout.sampler import EngineHandle, EngineLost, Sampler
from rollout.served_model import ServedModel
from rollout.types import SamplingParams

NO_ANSWER_S = 60.0
SCORER_START_S = 240.0  # for its workers and the judge's canaries
SCORE_LIMIT_S = 900.0  # for a group: above the attempts of a judge that answers late


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


class RayEngine:
    """`EngineHandle` over a Ray actor. `node_id` is known once it has started."""

    def __init__(self, actor: Any, name: str) -> None:
        self.actor, self.name = actor, name
        self.node_id: str | None = None

    async def _call(self, reference: Any) -> Any:
        from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

        try:
            return await reference
        except (RayActorError, WorkerCrashedError) as error:
            raise EngineLost(f"{self.name}: its process is gone ({type(error).__name__})") from error
        except RayTaskError as error:
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

    async def begin_update(self) -> None:
        await self._call(self.actor.begin_update.remote())

    async def load_bucket(self, bucket: Bucket) -> None:
        plain, payload = split_relay(bucket, self.node_id)
        await self._call(self.actor.load_bucket.remote(plain, payload))

    async def end_update(self, version: int) -> None:
        await self._call(self.actor.end_update.remote(version))

    def kill(self) -> None:
        import ray

        ray.kill(self.actor)


async def start_engine(
    model: str, config: EngineConfig, stops: list[int], seed: int, index: int, kind: RoleKind = "engine"
) -> EngineHandle:
    """A fresh engine in an actor of its own, loaded and ready; elsewhere once more where a node is lost on the way."""
    import ray

    actor_class: Any = ray.remote(Engine)
    options = Session.places.actor_options(engine_role(config, model, kind), index)
    while True:
        nodes_before = living_ids()
        actor = actor_class.options(max_concurrency=4096, **options).remote(model, config, stops, seed)
        engine = RayEngine(actor, f"{kind} {index}")
        try:
            await answer_within(engine._call(actor.start.remote()), config.start_timeout_s, f"start of {engine.name}")
            engine.node_id = await answer_within(actor.__ray_call__.remote(own_node_id), NO_ANSWER_S, engine.name)
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
        try:
            yield sampler
        finally:
            for seat in sampler.seats:
                seat.engine.kill()


class RayScorer:
    """The reward scorer in an actor of its own, so that judging never holds up the loop."""

    def __init__(self, actor: Any, timeout_s: float) -> None:
        self.actor, self.timeout_s = actor, timeout_s

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        return await answer_within(self.actor.score.remote(requests), self.timeout_s, "the reward scorer")

    async def ask(self, calls: list[Call]) -> list[Reply]:
        """One reply a call, of the models that rewards ask. Raises ModelFailure."""
        return await answer_within(self.actor.ask.remote(calls), self.timeout_s, "the reward scorer")

    async def canaries(self) -> dict[str, float]:
        """How the judge takes its canaries now, as rates."""
        return await answer_within(self.actor.canaries.remote(), self.timeout_s, "the reward scorer")


@asynccontextmanager
async def open_scorer(config: ScorerConfig, folder: Path, *, on_cluster: bool = False) -> AsyncIterator[RayScorer]:
    """The scorer's actor with its workers, after the models that it asks and that Sharpen is to serve.

    Their logs go to `folder`. They listen on loopback, or where there is a cluster on their node's address.
    """
    import ray

    async with AsyncExitStack() as stack:
        served = {name: model for name, model in config.models.items() if model.serve}
        opened = await enter_together(
            stack, *(serve_model(name, model, folder, on_cluster) for name, model in served.items())
        )
        config = config.model_copy(update=dict(zip(served, opened, strict=True)))
        actor_class: Any = ray.remote(Scorer)
        options = Session.places.actor_options(scorer_role(config))
        actor = actor_class.options(max_concurrency=1000, **options).remote(config)
        await answer_within(actor.start.remote(), SCORER_START_S, "start of the reward scorer")
        try:
            yield RayScorer(actor, timeout_s=SCORE_LIMIT_S)
        finally:
            await answer_within(actor.stop.remote(), NO_ANSWER_S, "stop of the reward scorer")
            ray.kill(actor)


@asynccontextmanager
async def serve_model(
    name: str, config: EndpointConfig, folder: Path, on_cluster: bool
) -> AsyncIterator[EndpointConfig]:
    """A judge or preference model behind `vllm serve` in an actor that Ray places; its configuration with the URL."""
    import ray

    actor_class: Any = ray.remote(ServedModel)
    actor = actor_class.options(**Session.places.actor_options(model_role(name, config.num_gpus))).remote(
        resolve_model(config.model),
        config.model,
        [*config.vllm_arguments(), *config.serve_options],
        log_file=(folder / f"{name}.log").resolve(),
        start_timeout_s=config.start_timeout_s,
        host=None if on_cluster else LOOPBACK,
        api_key=os.environ.get(config.api_key_env),
    )
    try:
        limit_s = config.start_timeout_s + NO_ANSWER_S
        url = await answer_within(actor.start.remote(), limit_s, f"start of the {name} model ({config.model})")
        yield config.model_copy(update={"url": url + config.api_path, "serve": False})
    finally:
        await answer_within(actor.stop.remote(), NO_ANSWER_S, f"stop of the {name} model")
        ray.kill(actor)
