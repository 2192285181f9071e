"""Where parts live: engines, learner ranks and the reward scorer as Ray actors, behind their plain interfaces."""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult
from rl.learner import Bucket, LearnerConfig
from rl.losses import LossConfig
from rl.types import StepMetrics, TrainBatch
from rollout.chat import Chat
from rollout.engine import Completion, Engine, EngineConfig
from rollout.sampler import EngineHandle, EngineLost, Sampler
from rollout.types import SamplingParams

# Threads that wait by spinning make processes on shared cores ten times slower.
QUIET_THREADS = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "TOKENIZERS_PARALLELISM": "false"}
NO_ANSWER_S = 60.0


class RayConfig(BaseModel):
    """Which Ray cluster: `address` of a running one, or None to start one on this machine for this run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = None
    object_store_mib: int = Field(512, ge=80)


@asynccontextmanager
async def ray_session(config: RayConfig, num_cpus: int) -> AsyncIterator[None]:
    """Ray for the length of a run; a cluster that we started ends with it."""
    import ray

    environment = QUIET_THREADS | ({} if _has_gpu() else {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""})
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": environment},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if config.address is None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options |= {
            "num_cpus": num_cpus,
            "include_dashboard": False,
            "object_store_memory": config.object_store_mib * 2**20,
            "_temp_dir": os.path.join(tempfile.gettempdir(), "sharpen-ray"),
        }
    else:
        options["address"] = config.address
    await asyncio.to_thread(ray.init, **options)
    try:
        yield
    finally:
        await asyncio.to_thread(ray.shutdown)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


async def _answer(reference: Any, timeout_s: float, what: str) -> Any:
    """A Ray call's answer within its limit; TimeoutError names what it was waiting for."""
    try:
        return await asyncio.wait_for(_await(reference), timeout_s)
    except TimeoutError as error:
        raise TimeoutError(f"{what} did not answer within {timeout_s:.0f} s") from error


async def _await(reference: Any) -> Any:
    return await reference


class RayEngine:
    """`EngineHandle` over a Ray actor."""

    def __init__(self, actor: Any, name: str) -> None:
        self.actor, self.name = actor, name

    async def _call(self, reference: Any) -> Any:
        from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

        try:
            return await reference
        except (RayActorError, WorkerCrashedError) as error:
            raise EngineLost(f"{self.name}: its process is gone ({type(error).__name__})") from error
        except RayTaskError as error:
            # vLLM reports the death of its core process this way; nothing works in that actor afterwards.
            if "EngineDeadError" in str(error) or "EngineCore" in str(error):
                raise EngineLost(f"{self.name}: vLLM's core process is gone") from error
            raise

    async def generate(
        self, prompt_token_ids: tuple[int, ...], params: SamplingParams, *, num_samples: int, seed: int
    ) -> tuple[int, list[Completion]]:
        call = self.actor.generate.remote(prompt_token_ids, params, num_samples=num_samples, seed=seed)
        return await self._call(call)

    async def progress(self) -> int:
        return await self._call(self.actor.progress.remote())

    async def begin_update(self) -> None:
        await self._call(self.actor.begin_update.remote())

    async def load_bucket(self, bucket: Bucket) -> None:
        await self._call(self.actor.load_bucket.remote(bucket))

    async def end_update(self, version: int) -> None:
        await self._call(self.actor.end_update.remote(version))

    def kill(self) -> None:
        import ray

        ray.kill(self.actor)


async def start_engine(model: str, config: EngineConfig, stops: list[int], seed: int, index: int) -> EngineHandle:
    """A fresh engine in an actor of its own, loaded and ready."""
    import ray

    gpus = config.tensor_parallel_size if _has_gpu() else 0
    actor_class: Any = ray.remote(Engine)
    actor = actor_class.options(num_cpus=1, num_gpus=gpus, max_concurrency=4096).remote(model, config, stops, seed)
    engine = RayEngine(actor, f"engine {index}")
    await _answer(engine._call(actor.start.remote()), config.start_timeout_s, f"start of engine {index}")
    return engine


@asynccontextmanager
async def open_sampler(model: str, config: EngineConfig, stops: list[int], seed: int) -> AsyncIterator[Sampler]:
    """All engines, started together, behind one sampler."""

    async def start(index: int) -> EngineHandle:
        return await start_engine(model, config, stops, seed, index)

    engines = await asyncio.gather(*(start(index) for index in range(config.num_engines)))
    async with Sampler(list(engines), Chat(model), config, start) as sampler:
        try:
            yield sampler
        finally:
            for seat in sampler.seats:
                seat.engine.kill()


class RayLearner:
    """`Learner` over a verl worker group: one process a rank on a resource pool."""

    def __init__(self, group: Any, config: LearnerConfig) -> None:
        self.group, self.config = group, config
        self.num_ranks, self.updates_per_step = config.num_ranks, config.updates_per_step
        self._buckets = [f"{_shared_memory()}/sharpen-{uuid.uuid4().hex[:12]}-{i}" for i in (0, 1)]

    async def _all(self, references: list[Any], what: str) -> list[Any]:
        answers = asyncio.gather(*(_await(reference) for reference in references))
        return await _answer(answers, self.config.update_timeout_s, what)

    async def update(self, batch: TrainBatch) -> StepMetrics:
        """One step's optimizer updates; metrics are global."""
        from rl.deepspeed_learner import shares

        answers = await self._all(self.group.update(shares(batch, self.num_ranks)), "the learner's update")
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
        written = self.group.write_bucket(index, self._buckets[index % 2])
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
        for path in self._buckets:
            Path(path).unlink(missing_ok=True)


def _shared_memory() -> str:
    return "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()


@asynccontextmanager
async def open_learner(
    model: str, config: LearnerConfig, loss: LossConfig, *, temperature: float, seed: int
) -> AsyncIterator[RayLearner]:
    """The learner's ranks, started and connected."""
    group = await asyncio.to_thread(_worker_group, model, config, loss, temperature, seed)
    learner = RayLearner(group, config)
    try:
        starts = asyncio.gather(*(_await(reference) for reference in group.start()))
        await _answer(starts, config.start_timeout_s, "start of the learner")
        yield learner
    finally:
        learner.close()


def _worker_group(model: str, config: LearnerConfig, loss: LossConfig, temperature: float, seed: int) -> Any:
    import ray
    from verl.single_controller.base import Worker
    from verl.single_controller.base.decorator import Dispatch, register
    from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

    from rl.deepspeed_learner import DeepSpeedRank, RankUpdate

    def everywhere(function: Any) -> Any:
        return register(dispatch_mode=Dispatch.ONE_TO_ALL, blocking=False)(function)

    class LearnerRank(Worker):
        def __init__(self) -> None:
            super().__init__()
            self.learner: Any = None

        @everywhere
        def start(self) -> None:
            self.learner = DeepSpeedRank(model, config, loss, temperature=temperature, seed=seed)

        @register(dispatch_mode=Dispatch.DP_COMPUTE, blocking=False)
        def update(self, updates: list[RankUpdate]) -> StepMetrics:
            return self.learner.update(updates)

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

    on_gpu = _has_gpu()
    pool = RayResourcePool([config.num_ranks], use_gpu=on_gpu, max_colocate_count=1)
    return RayWorkerGroup(
        pool,
        RayClassWithInitArgs(ray.remote(LearnerRank)),
        use_gpu=on_gpu,
        device_name="cuda" if on_gpu else "cpu",
    )


class RayScorer:
    """The reward scorer in an actor of its own, so that judging never holds up the loop."""

    def __init__(self, actor: Any, timeout_s: float) -> None:
        self.actor, self.timeout_s = actor, timeout_s

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        return await _answer(self.actor.score.remote(requests), self.timeout_s, "the reward scorer")


@asynccontextmanager
async def open_scorer(config: ScorerConfig) -> AsyncIterator[RayScorer]:
    """The scorer's actor with its workers."""
    import ray

    actor_class: Any = ray.remote(Scorer)
    actor = actor_class.options(num_cpus=0, max_concurrency=1000).remote(config)
    await _answer(actor.start.remote(), 120, "start of the reward scorer")
    try:
        yield RayScorer(actor, timeout_s=600)
    finally:
        await _answer(actor.stop.remote(), NO_ANSWER_S, "stop of the reward scorer")
        ray.kill(actor)
