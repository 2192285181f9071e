"""The loop of recipes that learn from rows as they are: conversations, preference pairs."""

from collections.abc import Mapping
from typing import Any, Protocol

from rl.batch import PackingConfig, pack_for
from rl.checkpoint import CheckpointConfig, Checkpointer, Stateful
from rl.learner_group import RayLearner
from rl.log import RunLog
from rl.row_stream import ExampleStream
from rl.shutdown import stop_on_signal
from rl.types import StepMetrics


class StepEvals(Protocol):
    """What is measured before the first step, and after those that are due."""

    async def run_if_first(self, step: int) -> StepMetrics: ...

    async def run_if_due(self, step: int) -> StepMetrics: ...


class LoopConfig(Protocol):
    @property
    def num_steps(self) -> int: ...

    @property
    def packing(self) -> PackingConfig: ...

    @property
    def checkpoint(self) -> CheckpointConfig: ...


async def learn_from(
    stream: ExampleStream[Any],
    rows_per_step: int,
    *,
    learner: RayLearner,
    evals: StepEvals,
    parts: Mapping[str, Stateful],
    config: LoopConfig,
    log: RunLog,
) -> None:
    """Run to `num_steps`, or to a signal, from the newest checkpoint if there is one. `parts` have state to keep."""
    checkpointer = Checkpointer(
        config.checkpoint, log.folder / "checkpoints", learner=learner, parts=parts, num_steps=config.num_steps
    )
    step = await checkpointer.resume()
    log.truncate_after(step)
    async with stop_on_signal(checkpointer):
        log.write_first(step, await evals.run_if_first(step))
        while step < config.num_steps and not checkpointer.stopping:
            step += 1
            taken = stream.take(rows_per_step)
            batch = pack_for(learner, taken.examples, config.packing)
            with log.timer("learn"):
                learned = await learner.update(batch)
            evaluated = await evals.run_if_due(step)
            log.write(step, batch.packing | taken.metrics | learned | evaluated)
            with log.timer("save"):
                await checkpointer.save_if_due(step)
