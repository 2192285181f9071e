"""Supervised fine-tuning: cold start, thinking-mode fusion and off-policy distillation are configs of this recipe."""

import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, cast

from rl.batch import pack
from rl.checkpoint import Checkpointer
from rl.cluster import enter_together, open_sampler, open_scorer, ray_session
from rl.config import SFTConfig
from rl.conversations import conversation_stream
from rl.evals import Evals
from rl.learner_group import RayLearner, open_learner
from rl.log import RunLog
from rl.models import resolve_model, stop_token_ids
from rl.shutdown import stop_on_signal
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
    num_cpus = config.learner.num_ranks + (config.engine.num_engines if config.evals else 0)
    log.stage("starting Ray")
    async with ray_session(config.ray, num_cpus), AsyncExitStack() as stack:
        log.stage("starting the learner")
        starts: list[Any] = [open_learner(model, config.learner, config.loss, seed=config.seed)]
        if config.evals:
            starts += [
                open_sampler(model, config.engine, stop_token_ids(model), config.seed),
                open_scorer(config.rewards, log.folder, on_cluster=config.ray.address is not None),
            ]
        learner, *judged = await enter_together(stack, *starts)
        sampler, scorer = cast(list[Any], judged or [None, None])  # evaluations alone ask for them
        publish = functools.partial(publish_weights, learner, sampler)
        evals = Evals(config.evals, sampler, scorer, log, seed=config.seed, num_steps=config.num_steps, publish=publish)
        yield Parts(learner, evals)


async def train(config: SFTConfig, log: RunLog) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one."""
    chat = Chat(resolve_model(config.model))
    stream = conversation_stream(config.sources, config.seed, chat, config.max_tokens)
    async with open_parts(config, log) as (learner, evals):
        checkpointer = Checkpointer(
            config.checkpoint,
            log.folder / "checkpoints",
            learner=learner,
            parts={"conversations": stream, "evals": evals},
            num_steps=config.num_steps,
        )
        step = await checkpointer.resume()
        log.truncate_after(step)
        async with stop_on_signal(checkpointer):
            log.write_first(step, await evals.run_if_first(step))
            while step < config.num_steps and not checkpointer.stopping:
                step += 1
                taken = stream.take(config.conversations_per_step)
                batch = pack(
                    taken.examples,
                    config.packing,
                    num_ranks=learner.num_ranks,
                    num_updates=learner.updates_per_step,
                )
                with log.timer("learn"):
                    learned = await learner.update(batch)
                evaluated = await evals.run_if_due(step)
                log.write(step, batch.packing | taken.metrics | learned | evaluated)
                with log.timer("save"):
                    await checkpointer.save_if_due(step)
