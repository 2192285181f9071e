"""The learner's ranks as a verl worker group on a Ray resource pool, behind the `Learner` protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rl.bucket_files import BucketFiles
from rl.cluster import answer_within, await_reference, has_gpu
from rl.experts import check_experts
from rl.learner import Bucket, LearnerConfig
from rl.objectives import ObjectiveConfig
from rl.sequence_parallel import check_sequence_parallel
from rl.types import StepMetrics, TrainBatch


class RayLearner:
    """`Learner` over a verl worker group: one process a rank on a resource pool."""

    def __init__(self, group: Any, config: LearnerConfig) -> None:
        self.group, self.config = group, config
        self.num_ranks, self.updates_per_step = config.num_data_ranks, config.updates_per_step
        self._buckets = BucketFiles()

    async def _all(self, references: list[Any], what: str) -> list[Any]:
        answers = asyncio.gather(*(await_reference(reference) for reference in references))
        return await answer_within(answers, self.config.update_timeout_s, what)

    def _shares(self, batch: TrainBatch) -> list[Any]:
        from rl.deepspeed_learner import shares

        return shares(batch, self.num_ranks, self.config.sequence_parallel_size)

    async def update(self, batch: TrainBatch) -> StepMetrics:
        """One step's optimizer updates; metrics are global."""
        answers = await self._all(self.group.update(self._shares(batch)), "the learner's update")
        return answers[0]

    async def evaluate(self, batch: TrainBatch) -> StepMetrics:
        """The metrics of a batch without learning from it."""
        answers = await self._all(self.group.evaluate(self._shares(batch)), "the learner's evaluation")
        return answers[0]

    async def weights(self) -> AsyncIterator[Bucket]:
        """The weights bucket by bucket; the next one is written while the last one is read."""
        count = (await self._all(self.group.num_buckets(), "the learner's list of weights"))[0]
        ahead = asyncio.ensure_future(self._write(0))
        for index in range(count):
            bucket = await ahead
            if index + 1 < count:
                ahead = asyncio.ensure_future(self._write(index + 1))
            yield bucket

    async def _write(self, index: int) -> Bucket:
        written = self.group.write_bucket(index, str(self._buckets.paths[index % 2]))
        return (await self._all(written, f"weight bucket {index}"))[0]

    async def save(self, folder: Path) -> None:
        await self._all(self.group.save(str(folder)), "the learner's checkpoint")

    async def load(self, folder: Path) -> None:
        await self._all(self.group.load(str(folder)), "loading the learner's checkpoint")

    def close(self) -> None:
        import ray
        from ray.util import remove_placement_group

        for worker in self.group.workers:
            ray.kill(worker)
        for placement in self.group.resource_pool.pgs or []:  # else their CPUs stay taken
            remove_placement_group(placement)
        self._buckets.close()


@asynccontextmanager
async def open_learner(
    model: str, config: LearnerConfig, objective: ObjectiveConfig, *, seed: int, temperature: float = 1.0
) -> AsyncIterator[RayLearner]:
    """The learner's ranks, started and connected. Raises ValueError for settings that do not fit the model."""
    await asyncio.to_thread(check_experts, model, config, objective)
    await asyncio.to_thread(check_sequence_parallel, model, config, objective)
    group = await asyncio.to_thread(_worker_group, model, config, objective, temperature, seed)
    learner = RayLearner(group, config)
    try:
        starts = asyncio.gather(*(await_reference(reference) for reference in group.start()))
        await answer_within(starts, config.start_timeout_s, "start of the learner")
        yield learner
    finally:
        learner.close()


def _worker_group(model: str, config: LearnerConfig, objective: ObjectiveConfig, temperature: float, seed: int) -> Any:
    import ray
    from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

    on_gpu = has_gpu()
    pool = RayResourcePool([config.num_ranks], use_gpu=on_gpu, max_colocate_count=1)
    rank_class = _rank_class(model, config, objective, temperature, seed)
    return RayWorkerGroup(
        pool,
        RayClassWithInitArgs(ray.remote(rank_class)),
        use_gpu=on_gpu,
        device_name="cuda" if on_gpu else "cpu",
    )


def _rank_class(model: str, config: LearnerConfig, objective: ObjectiveConfig, temperature: float, seed: int) -> Any:
    """`DeepSpeedRank` as a worker of verl: what is called on the group is called on every rank."""
    from verl.single_controller.base import Worker
    from verl.single_controller.base.decorator import Dispatch, register

    from rl.deepspeed_learner import DeepSpeedRank, RankUpdate

    def everywhere(function: Any) -> Any:
        return register(dispatch_mode=Dispatch.ONE_TO_ALL, blocking=False)(function)

    class LearnerRank(Worker):
        def __init__(self) -> None:
            super().__init__()
            self.learner: Any = None

        @everywhere
        def start(self) -> None:
            self.learner = DeepSpeedRank(model, config, objective, temperature=temperature, seed=seed)

        @register(dispatch_mode=Dispatch.DP_COMPUTE, blocking=False)
        def update(self, updates: list[RankUpdate]) -> StepMetrics:
            return self.learner.update(updates)

        @register(dispatch_mode=Dispatch.DP_COMPUTE, blocking=False)
        def evaluate(self, updates: list[RankUpdate]) -> StepMetrics:
            return self.learner.evaluate(updates)

        @everywhere
        def num_buckets(self) -> int:
            return self.learner.num_buckets()

        @everywhere
        def write_bucket(self, index: int, path: str) -> Bucket | None:
            return self.learner.write_bucket(index, path)

        @everywhere
        def save(self, folder: str) -> None:
            self.learner.save(folder)

        @everywhere
        def load(self, folder: str) -> None:
            self.learner.load(folder)

    return LearnerRank
