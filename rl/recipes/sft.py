"""Supervised fine-tuning: cold start, thinking-mode fusion and off-policy distillation are configs of this recipe."""

import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import NamedTuple

from rl.cluster import enter_together, open_sampler, ray_session
from rl.config import SFTConfig
from rl.context import fitting_prompts
from rl.conversations import conversation_stream
from rl.evals import Evals
from rl.example_loop import learn_from
from rl.learner_group import RayLearner, open_learner
from rl.log import RunLog
from rl.models import resolve_model, stop_token_ids
from rl.ray_scorer import open_scorer
from rl.roles import engine_role, learner_role, reward_roles
from rl.weight_sync import publish_weights
from rollout.chat import Chat


class Parts(NamedTuple):
    """What a run is made of, alive."""

    learner: RayLearner
    evals: Evals


@asynccontextmanager
async def open_parts(config: SFTConfig, log: RunLog) -> AsyncIterator[Parts]:
    """The learner; and for evaluations the engines and the scorer, which get its weights when they are needed."""
    model = resolve_model(config.model)
    judges, seed = bool(config.evals), config.seed
    roles = [learner_role(config.learner, model, log.folder)]
    roles += [engine_role(config.engine, model), *reward_roles(config.rewards, log.folder)] if judges else []
    suites = fitting_prompts(config.engine, model, config.evals)
    log.stage("starting Ray")
    async with ray_session(config.ray, roles, log.message), AsyncExitStack() as stack:
        log.stage("starting the learner")
        learner, sampler, scorer = await enter_together(
            stack,
            open_learner(model, config.learner, config.loss, seed=seed),
            open_sampler(model, config.engine, stop_token_ids(model), seed) if judges else nullcontext(),
            open_scorer(config.rewards, log.folder, on_cluster=bool(config.ray.address)) if judges else nullcontext(),
        )
        publish = functools.partial(publish_weights, learner, sampler)
        evals = Evals(
            config.evals, sampler, scorer, log, seed=seed, num_steps=config.num_steps, publish=publish, prompts=suites
        )
        yield Parts(learner, evals)


async def train(config: SFTConfig, log: RunLog) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one."""
    chat = Chat(resolve_model(config.model))
    stream = conversation_stream(config.sources, config.seed, chat, config.max_tokens)
    async with open_parts(config, log) as (learner, evals):
        await learn_from(
            stream,
            config.conversations_per_step,
            learner=learner,
            evals=evals,
            parts={"conversations": stream, "evals": evals},
            config=config,
            log=log,
        )
