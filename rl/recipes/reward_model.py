"""A reward model of human preferences from pairs of answers, by the learner that trains policies."""

from rl.batch import pack
from rl.checkpoint import Checkpointer
from rl.cluster import ray_session
from rl.config import RewardModelConfig
from rl.learner import Learner
from rl.learner_group import open_learner
from rl.log import RunLog
from rl.models import resolve_model
from rl.pairs import pair_stream
from rl.shutdown import stop_on_signal
from rl.types import StepMetrics, TrainBatch
from rollout.chat import Chat


def read_validation(config: RewardModelConfig, chat: Chat) -> TrainBatch | None:
    """The held-out pairs, packed once; None where there are none."""
    if config.validation is None:
        return None
    stream = pair_stream([config.validation], config.seed, chat, config.max_tokens)
    pairs = stream.take(config.num_validation_pairs).examples
    return pack(pairs, config.packing, num_ranks=config.learner.num_ranks)


async def validate(learner: Learner, held_out: TrainBatch | None, is_due: bool) -> StepMetrics:
    """How the held-out pairs are judged now, under `eval/pairs/`."""
    if held_out is None or not is_due:
        return {}
    metrics = await learner.evaluate(held_out)
    return {f"eval/pairs/{name.removeprefix('reward_model/').replace('/', '_')}": v for name, v in metrics.items()}


async def train(config: RewardModelConfig, log: RunLog) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one."""
    model = resolve_model(config.model)
    chat = Chat(model)
    stream = pair_stream(config.sources, config.seed, chat, config.max_tokens)
    held_out = read_validation(config, chat)
    log.stage("starting Ray and the learner")
    async with (
        ray_session(config.ray, config.learner.num_ranks),
        open_learner(model, config.learner, config.loss, seed=config.seed) as learner,
    ):
        checkpointer = Checkpointer(
            config.checkpoint,
            log.folder / "checkpoints",
            learner=learner,
            parts={"pairs": stream},
            num_steps=config.num_steps,
        )
        step = await checkpointer.resume()
        log.truncate_after(step)
        async with stop_on_signal(checkpointer):
            log.write_first(step, await validate(learner, held_out, step == 0))
            while step < config.num_steps and not checkpointer.stopping:
                step += 1
                taken = stream.take(config.pairs_per_step)
                batch = pack(
                    taken.examples,
                    config.packing,
                    num_ranks=learner.num_ranks,
                    num_updates=learner.updates_per_step,
                )
                with log.timer("learn"):
                    learned = await learner.update(batch)
                with log.timer("eval"):
                    judged = await validate(learner, held_out, config.is_validation_due(step))
                log.write(step, batch.packing | taken.metrics | learned | judged)
                with log.timer("save"):
                    await checkpointer.save_if_due(step)
