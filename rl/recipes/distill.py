"""On-policy distillation, strong to weak (2505.09388 §4.5): the student samples, its teacher says what was better."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import NamedTuple

from rl.batch import pack_for
from rl.checkpoint import Checkpointer, Stateful
from rl.cluster import enter_together, open_sampler, ray_session
from rl.collect import make_collector
from rl.context import fitting_prompts
from rl.distill_config import DistillConfig
from rl.distillation import make_collect_student, make_student_examples, student_metrics, unknown_to_teacher
from rl.evals import Evals
from rl.learner_group import RayLearner, open_learner
from rl.log import RunLog
from rl.metrics import rollout_metrics
from rl.models import resolve_model, stop_token_ids
from rl.prompts import PromptStream
from rl.ray_scorer import open_scorer
from rl.roles import engine_role, learner_role, reward_roles
from rl.sample_rows import student_rows
from rl.shutdown import stop_on_signal
from rl.teacher import AlignmentConfig
from rl.vocabulary import common_vocabulary_size
from rl.weight_sync import make_room, publish_weights
from rollout.sampler import Sampler


class Parts(NamedTuple):
    """What a run is made of, alive. `teacher` is there where engines serve it."""

    learner: RayLearner
    sampler: Sampler
    teacher: Sampler | None
    evals: Evals


@asynccontextmanager
async def open_parts(config: DistillConfig, log: RunLog, vocabulary_size: int) -> AsyncIterator[Parts]:
    """Start everything that lives in other processes, and stop it with the run; the scorer for evaluations alone."""
    model, teacher = resolve_model(config.model), resolve_model(config.teacher.model)
    served, temperature, seed = config.mode == "sampled_token", config.sampling.temperature, config.seed
    beside = config.teacher.model_copy(update={"model": teacher})
    alignment = AlignmentConfig(teacher=beside, divergence=config.divergence, vocabulary_size=vocabulary_size)
    objective = config.loss if served else alignment
    judges = bool(config.evals)
    roles = [learner_role(config.learner, model, log.folder), engine_role(config.engine, model)]
    roles += [engine_role(config.teacher.engine, teacher, "teacher")] if served else []
    roles += reward_roles(config.rewards, log.folder) if judges else []
    suites = fitting_prompts(config.engine, model, config.evals)
    log.stage("starting Ray")
    async with ray_session(config.ray, roles, log.message), AsyncExitStack() as stack:
        log.stage("starting the engines, the learner and the teacher")
        sampler, learner, teachers, scorer = await enter_together(
            stack,
            open_sampler(model, config.engine, stop_token_ids(model), seed),
            open_learner(model, config.learner, objective, temperature=temperature, seed=seed),
            open_sampler(teacher, config.teacher.engine, stop_token_ids(teacher), seed, "teacher")
            if served
            else nullcontext(),
            open_scorer(config.rewards, log.folder, on_cluster=bool(config.ray.address)) if judges else nullcontext(),
        )
        evals = Evals(config.evals, sampler, scorer, log, seed=seed, num_steps=config.num_steps, prompts=suites)
        yield Parts(learner, sampler, teachers, evals)


async def train(config: DistillConfig, log: RunLog) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one."""
    prompts = PromptStream(config.prompts, config.seed)  # before the engines: a bad row is found in a second
    vocabulary_size = common_vocabulary_size(resolve_model(config.model), resolve_model(config.teacher.model))
    async with open_parts(config, log, vocabulary_size) as (learner, sampler, teacher, evals):
        collect_group = make_collect_student(
            sampler,
            sampling=config.sampling,
            num_samples=config.samples_per_prompt,
            seed=config.seed,
            vocabulary_size=vocabulary_size,
            teacher=teacher,
        )
        parts: dict[str, Stateful] = {"prompts": prompts, "evals": evals}
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
                    groups, drawn = await collector.take(config.groups_per_step, unknown_to_teacher)
                batch = pack_for(learner, make_student_examples(groups), config.packing)
                with log.timer("learn"):
                    await make_room(sampler)
                    learned = await learner.update(batch)
                with log.timer("sync"):
                    await publish_weights(learner, sampler, version=step)
                    collector.release(len(groups))
                prompts.mark_learned([group.draw for group in groups])
                evaluated = await evals.run_if_due(step)
                log.write_samples(step, student_rows(groups))
                measured = rollout_metrics([group.group for group in groups], step) | student_metrics(groups)
                log.write(step, measured | drawn | batch.packing | learned | evaluated)
                with log.timer("save"):
                    await checkpointer.save_if_due(step)
