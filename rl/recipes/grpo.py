"""GRPO (DeepSeekMath, arXiv 2402.03300) as Qwen3 uses it: reasoning RL and general RL are configs of this recipe."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from rl.advantages import make_advantage
from rl.batch import make_examples, pack_for
from rl.checkpoint import Checkpointer, Stateful
from rl.cluster import enter_together, open_sampler, ray_session
from rl.collect import make_collector
from rl.config import GRPOConfig
from rl.context import fitting_prompts
from rl.evals import Evals
from rl.filters import build_group_filter
from rl.judgement import make_collect_group
from rl.learner_group import RayLearner, open_learner
from rl.log import RunLog
from rl.metrics import ErrorRateGuard, group_metrics
from rl.models import resolve_model, stop_token_ids
from rl.prompts import PromptStream
from rl.ray_scorer import RayScorer, open_scorer
from rl.reward_statistics import RewardStatistics
from rl.roles import engine_role, learner_role, reward_roles
from rl.sample_rows import scored_rows
from rl.shutdown import stop_on_signal
from rl.weight_sync import make_room, publish_weights
from rollout.sampler import Sampler


class Parts(NamedTuple):
    """What a run is made of, alive."""

    learner: RayLearner
    sampler: Sampler
    scorer: RayScorer
    evals: Evals


@asynccontextmanager
async def open_parts(config: GRPOConfig, log: RunLog) -> AsyncIterator[Parts]:
    """Start everything that lives in other processes, and stop it with the run."""
    model = resolve_model(config.model)
    temperature, seed = config.sampling.temperature, config.seed
    parts = [learner_role(config.learner, model, log.folder), engine_role(config.engine, model)]
    roles = [*parts, *reward_roles(config.rewards, log.folder)]
    suites = fitting_prompts(config.engine, model, config.evals)
    log.stage("starting Ray")
    async with ray_session(config.ray, roles, log.message), AsyncExitStack() as stack:
        log.stage("starting the engines, the learner and the scorer")
        sampler, learner, scorer = await enter_together(
            stack,
            open_sampler(model, config.engine, stop_token_ids(model), seed),
            open_learner(model, config.learner, config.loss, temperature=temperature, seed=seed),
            open_scorer(config.warm_rewards, log.folder, on_cluster=config.ray.address is not None),
        )
        evals = Evals(config.evals, sampler, scorer, log, seed=seed, num_steps=config.num_steps, prompts=suites)
        yield Parts(learner, sampler, scorer, evals)


async def train(config: GRPOConfig, log: RunLog) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one."""
    prompts = PromptStream(config.prompts, config.seed)  # before the engines: a bad row is found in a second
    errors = ErrorRateGuard(config.max_error_rate)
    statistics = RewardStatistics(config.rewards.combine, config.reward_statistics)
    keep_group = errors.watch(build_group_filter(config.group_filters))
    async with open_parts(config, log) as (learner, sampler, scorer, evals):
        advantage = make_advantage(config.advantage)
        collect_group = make_collect_group(
            sampler,
            scorer,
            sampling=config.sampling,
            num_samples=config.samples_per_prompt,
            seed=config.seed,
            overlong_cache_tokens=config.overlong_cache_tokens,
            freeze=statistics.freeze,
        )
        parts: dict[str, Stateful] = {"prompts": prompts, "evals": evals, "statistics": statistics}
        checkpointer = Checkpointer(
            config.checkpoint, log.folder / "checkpoints", learner=learner, parts=parts, num_steps=config.num_steps
        )
        step = await checkpointer.resume()
        log.truncate_after(step)
        await publish_weights(learner, sampler, version=step)

        async with (
            stop_on_signal(checkpointer),
            make_collector(config, prompts, collect_group, log.progress("collecting")) as collector,
        ):
            log.write_first(step, await evals.run_if_first(step))
            while step < config.num_steps and not checkpointer.stopping:
                step += 1
                with log.timer("collect"):
                    groups, drawn = await collector.take(config.groups_per_step, keep_group)
                drawn |= errors.check() | statistics.update(groups)  # before `release`, which draws by the new ones
                advantages = advantage([group.scores for group in groups])
                examples = make_examples(groups, advantages)
                batch = pack_for(learner, examples, config.packing, skip_flat=not config.needs_every_token)
                with log.timer("learn"):
                    await make_room(sampler)
                    learned = await learner.update(batch)
                with log.timer("sync"):
                    await publish_weights(learner, sampler, version=step)
                    collector.release(len(groups))
                prompts.mark_learned([group.draw for group in groups])
                evaluated = await evals.run_if_due(step)
                # Rows first: a crash in between leaves a row too many, which a resume drops, never one too few.
                log.write_samples(step, scored_rows(groups, advantages))
                measured = group_metrics(groups, step, config.rewards.combine) | drawn | batch.packing
                log.write(step, measured | learned | evaluated)
                with log.timer("save"):
                    await checkpointer.save_if_due(step)
