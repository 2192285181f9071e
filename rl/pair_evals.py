"""Held-out preference pairs, judged by the reward model that is being trained."""

from rl.batch import pack
from rl.config import RewardModelConfig
from rl.learner import Learner
from rl.log import RunLog
from rl.pairs import WholeRenderer, pair_stream
from rl.types import StepMetrics, TrainBatch


def read_held_out(config: RewardModelConfig, chat: WholeRenderer) -> TrainBatch | None:
    """The held-out pairs, packed once; None where there are none."""
    if config.validation is None:
        return None
    stream = pair_stream([config.validation], config.seed, chat, config.max_tokens)
    pairs = stream.take(config.num_validation_pairs).examples
    return pack(pairs, config.packing, num_ranks=config.learner.num_ranks)


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
