"""The reward scorer in an actor of its own, and the models that it asks where Sharpen is to serve them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from rewards.calls import Call, Reply
from rewards.endpoint import EndpointConfig
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult
from rl.cluster import MAX_CALLS, NO_ANSWER_S, answer_within, end_actor, enter_together, gone
from rl.faults import ScorerLost
from rl.models import resolve_model
from rl.nodes import Session
from rl.roles import model_role, scorer_role
from rollout.model_server import LOOPBACK
from rollout.served_model import ServedModel

SCORER_START_S = 240.0  # for its workers and the judge's canaries
SCORE_LIMIT_S = 900.0  # without a single judgement: above the attempts of a judge that answers late


class RayScorer:
    """The reward scorer in an actor of its own, so that judging never holds up the loop."""

    def __init__(self, actor: Any, timeout_s: float) -> None:
        self.actor, self.timeout_s = actor, timeout_s

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        """One result a request. Raises ScorerLost; TimeoutError where nothing at all was judged for `timeout_s`.

        How long these wait for others is no fault: a slow reward of many responses takes its time.
        """
        answer = asyncio.ensure_future(self._call(self.actor.score.remote(requests)))
        num_judged = -1
        try:
            while not (await asyncio.wait([answer], timeout=self.timeout_s))[0]:
                before, num_judged = num_judged, await self._within(self.actor.num_judged.remote(), NO_ANSWER_S)
                if num_judged == before:
                    raise TimeoutError(f"the reward scorer judged nothing for {self.timeout_s:.0f} s")
            return answer.result()
        finally:
            answer.cancel()

    async def ask(self, calls: list[Call]) -> list[Reply]:
        """One reply a call, of the models that rewards ask. Raises ModelFailure."""
        return await self._within(self.actor.ask.remote(calls), self.timeout_s)

    async def canaries(self) -> dict[str, float]:
        """How the judge takes its canaries now, as rates."""
        return await self._within(self.actor.canaries.remote(), self.timeout_s)

    async def _within(self, reference: Any, timeout_s: float) -> Any:
        return await self._call(answer_within(reference, timeout_s, "the reward scorer"))

    async def _call(self, answer: Any) -> Any:
        try:
            return await answer
        except gone() as error:
            raise ScorerLost(f"the reward scorer's process is gone ({type(error).__name__})") from error


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
        actor = actor_class.options(max_concurrency=MAX_CALLS, **options).remote(config)
        await answer_within(actor.start.remote(), SCORER_START_S, "start of the reward scorer")
        try:
            yield RayScorer(actor, timeout_s=SCORE_LIMIT_S)
        finally:
            await end_actor(actor, "the reward scorer")


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
        await end_actor(actor, f"the {name} model")
