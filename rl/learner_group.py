"""The learner's ranks as a verl worker group on a Ray resource pool, behind the `Learner` protocol."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from rl.bucket_relay import BucketRelay
from rl.cluster import answer_within, await_reference, gone
from rl.experts import check_experts
from rl.faults import LearnerLost, RunStopped
from rl.learner import Bucket, LearnerConfig
from rl.nodes import Session, has_gpu, own_place
from rl.objectives import ObjectiveConfig
from rl.rank_updates import RankUpdate, shares
from rl.roles import learner_role
from rl.sequence_parallel import check_sequence_parallel
from rl.types import StepMetrics, TrainBatch
from rl.weight_broadcast import WeightBroadcast
from rollout.cpu_settings import parse_cores
from rollout.memory import give_back_freed_memory
from rollout.sampler import EngineHandle

REMOVE_FILES_S = 5.0
DEATH_KNOWN_S = 10.0  # from a broken connection between ranks to Ray's word that a process is dead

log = logging.getLogger(__name__)


class RayLearner:
    """`Learner` over a verl worker group: one process a rank on a resource pool."""

    def __init__(self, group: Any, config: LearnerConfig) -> None:
        self.group, self.config = group, config
        self.num_ranks, self.updates_per_step = config.num_data_ranks, config.updates_per_step
        self.node_id = ""  # of rank 0, once it has started
        self.broadcasts = config.weight_transfer == "broadcast"
        self._broadcast = WeightBroadcast(self.on_ranks)

    async def _all(self, references: list[Any], what: str) -> list[Any]:
        """All ranks' answers. Raises LearnerLost where a rank is gone, or hangs beyond `update_timeout_s`."""
        answers = [asyncio.ensure_future(await_reference(reference)) for reference in references]
        try:
            return await answer_within(asyncio.gather(*answers), self.config.update_timeout_s, what)
        except TimeoutError as error:
            raise LearnerLost(f"{error} (learner.update_timeout_s)") from error
        except FloatingPointError as error:
            raise RunStopped(str(getattr(error, "cause", error))) from error
        except Exception as error:
            lost = await _lost_rank(answers)
            if lost is None:
                raise
            raise LearnerLost(f"learner rank {lost} is gone, in {what}") from error

    async def on_ranks(self, function: Callable[[Any], Any], what: str) -> list[Any]:
        """Call a function in each rank's process, with its actor, between the learner's own calls."""
        return await self._all([worker.__ray_call__.remote(function) for worker in self.group.workers], what)

    def _shares(self, batch: TrainBatch) -> list[Any]:
        return shares(batch, self.num_ranks, self.config.sequence_parallel_size)

    async def update(self, batch: TrainBatch) -> StepMetrics:
        """One step's optimizer updates; metrics are global. Ranks that share memory with engines then give back what
        they can."""
        answers = await self._all(self.group.update(self._shares(batch)), "the learner's update")
        if Session.places.config.layout == "colocated":
            await self.on_ranks(give_back_freed_memory, "giving memory back to the engines")
        if answers[0]["optim/skipped"]:
            log.warning("an update without a finite gradient was skipped", extra={"event": "update_skipped"})
        return answers[0]

    async def evaluate(self, batch: TrainBatch) -> StepMetrics:
        """The metrics of a batch without learning from it."""
        answers = await self._all(self.group.evaluate(self._shares(batch)), "the learner's evaluation")
        return answers[0]

    async def weights(self, engines: Sequence[EngineHandle]) -> AsyncGenerator[Bucket, None]:
        """The weights for these engines, bucket by bucket; a file is written while the last one is read.

        Raises BroadcastBroken where they are broadcast and an engine is lost on the way.
        """
        count = (await self._all(self.group.num_buckets(), "the learner's list of weights"))[0]
        if self.broadcasts:
            async with aclosing(self._broadcast.buckets(engines, count)) as buckets:
                async for bucket in buckets:
                    yield bucket
            return
        ahead = asyncio.ensure_future(self._write(0))
        for index in range(count):
            bucket = await ahead
            if index + 1 < count:
                ahead = asyncio.ensure_future(self._write(index + 1))
            yield bucket

    async def _write(self, index: int) -> Bucket:
        written = await self._all(self.group.write_bucket(index), f"weight bucket {index}")
        return written[0] | {"relay": BucketRelay(written[0]["path"], self.node_id)}

    async def save(self, folder: Path) -> None:
        await self._all(self.group.save(_absolute(folder)), "the learner's checkpoint")

    async def load(self, folder: Path) -> None:
        await self._all(self.group.load(_absolute(folder)), "loading the learner's checkpoint")

    def close(self) -> None:
        import ray
        from ray.exceptions import RayError
        from ray.util import remove_placement_group

        with suppress(RayError):  # of one that is gone or hangs the next learner on its node removes them
            ray.get(self.group.remove_files(), timeout=REMOVE_FILES_S)
        for worker in self.group.workers:
            ray.kill(worker)
        for placement in self.group.resource_pool.pgs or []:  # else their CPUs stay taken
            remove_placement_group(placement)


def _absolute(folder: Path) -> str:
    """Processes of other nodes have other working folders."""
    return str(folder.resolve())


async def _lost_rank(answers: Sequence[asyncio.Future[Any]]) -> int | None:
    """The rank whose process is gone, if one is: the others often fail first, when its connection breaks."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + DEATH_KNOWN_S
    while True:
        ended = [(rank, answer) for rank, answer in enumerate(answers) if answer.done() and not answer.cancelled()]
        for rank, answer in ended:
            if isinstance(answer.exception(), gone()):
                return rank
        waiting = [answer for answer in answers if not answer.done()]
        if not waiting or clock() > deadline:
            return None
        await asyncio.wait(waiting, timeout=deadline - clock(), return_when="FIRST_COMPLETED")


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
        places = await learner.on_ranks(own_place, "the places of the learner's ranks")
        learner.node_id = places[0].node_id
        Session.places.note_ranks(places)
        yield learner
    finally:
        learner.close()


def _worker_group(model: str, config: LearnerConfig, objective: ObjectiveConfig, temperature: float, seed: int) -> Any:
    import ray
    from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

    on_gpu = has_gpu()
    placed = Session.places.rank_groups(learner_role(config, model), config.start_timeout_s)
    counts = [group.bundle_count for group in placed] if placed else [config.num_ranks]
    pool = RayResourcePool(counts, use_gpu=on_gpu, max_colocate_count=1)
    pool.pgs = placed
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

    from rl.deepspeed_learner import DeepSpeedRank

    def everywhere(function: Any) -> Any:
        return register(dispatch_mode=Dispatch.ONE_TO_ALL, blocking=False)(function)

    class LearnerRank(Worker):
        def __init__(self) -> None:
            super().__init__()
            self.learner: Any = None

        @everywhere
        def start(self) -> None:
            if config.cores:  # before the first thread of torch, which keeps to what it is born with
                os.sched_setaffinity(0, parse_cores(config.cores))
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
        def write_bucket(self, index: int) -> Bucket | None:
            return self.learner.write_bucket(index)

        @everywhere
        def remove_files(self) -> None:
            self.learner.weights.remove_files()

        @everywhere
        def save(self, folder: str) -> None:
            self.learner.save(folder)

        @everywhere
        def load(self, folder: str) -> None:
            self.learner.load(folder)

    return LearnerRank
