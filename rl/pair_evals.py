"""Held-out preference pairs, judged by the reward model that is being trained."""

import logging

from rl.batch import pack
from rl.config import RewardModelConfig
from rl.learner import Learner
from rl.log import RunLog
from rl.pairs import WholeRenderer, pair_stream
from rl.seeds import derive_seed
from rl.types import StepMetrics, TrainBatch

log = logging.getLogger(__name__)


def read_held_out(config: RewardModelConfig, chat: WholeRenderer) -> TrainBatch | None:
    """The held-out pairs, packed once; None where there are none."""
    if config.validation is None:
        return None
    # With a seed of its own: a generator that gives both would give the first pairs of training.
    seed = derive_seed(config.seed, "held-out pairs")
    stream = pair_stream([config.validation], seed, chat, config.max_tokens)
    examples = stream.take_once(config.num_validation_pairs).examples
    if len(examples) < 2 * config.num_validation_pairs:
        log.warning("%d held-out pairs, num_validation_pairs is %d", len(examples) // 2, config.num_validation_pairs)
    if not examples:
        raise ValueError(f"validation: no pair is within max_tokens = {config.max_tokens}: raise it")
    return pack(examples, config.packing, num_ranks=config.learner.num_ranks)


class PairEvals:
    """How the held-out pairs are judged, under `eval/pairs/`."""

    def __init__(self, held_out: TrainBatch | None, learner: Learner, config: RewardModelConfig, log: RunLog) -> None:
        self.held_out, self.learner, self.config, self.log = held_out, learner, config, log

    async def run_if_first(self, step: int) -> StepMetrics:
        """Before training; nothing after a resume."""
        return await self._run() if step == 0 else {}

    async def run_if_due(self, step: int) -> StepMetrics:
        return await self._run() if self.config.is_validation_due(step) else {}

    async def _run(self) -> StepMetrics:
        if self.held_out is None:
            return {}
        with self.log.timer("eval"):
            metrics = await self.learner.evaluate(self.held_out)
        return {f"eval/pairs/{name.removeprefix('reward_model/').replace('/', '_')}": v for name, v in metrics.items()}
