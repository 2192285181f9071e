"""A reward model of human preferences from pairs of answers, by the learner that trains policies."""

from rl.cluster import ray_session
from rl.config import RewardModelConfig
from rl.example_loop import learn_from
from rl.learner_group import open_learner
from rl.log import RunLog
from rl.models import resolve_model
from rl.pair_evals import PairEvals, read_held_out
from rl.pairs import pair_stream
from rl.roles import learner_role
from rollout.chat import Chat


async def train(config: RewardModelConfig, log: RunLog) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one."""
    model = resolve_model(config.model)
    chat = Chat(model)
    stream = pair_stream(config.sources, config.seed, chat, config.max_tokens)
    held_out = read_held_out(config, chat)
    log.stage("starting Ray and the learner")
    async with (
        ray_session(config.ray, [learner_role(config.learner, model, log.folder)], log.message),
        open_learner(model, config.learner, config.loss, seed=config.seed) as learner,
    ):
        await learn_from(
            stream,
            config.pairs_per_step,
            learner=learner,
            evals=PairEvals(held_out, learner, config, log),
            parts={"pairs": stream},
            config=config,
            log=log,
        )
