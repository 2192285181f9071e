"""Fixtures of real parts: Ray, vLLM engines and learners on tiny models, shared by the whole session."""

import asyncio

import pytest
import pytest_asyncio

from rl.cluster import RayConfig, open_sampler, ray_session
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import resolve_model, stop_token_ids
from rollout.engine import EngineConfig

ENGINE = EngineConfig(dtype="float32", batch_invariant=True, max_context_tokens=256, kv_cache_gib=1, stall_timeout_s=60)
LEARNER = LearnerConfig(dtype="float32", optimizer=OptimizerConfig(lr=1e-2), bucket_mib=1)


def tasks_but_watchers() -> set[asyncio.Task]:
    """All tasks but those in which a sampler of the session watches its engines: these come and go."""
    return {task for task in asyncio.all_tasks() if task.get_coro().__qualname__ != "Event.wait"}


@pytest_asyncio.fixture(scope="session")
async def ray_cluster():
    async with ray_session(RayConfig(), num_cpus=8):
        yield


@pytest.fixture(scope="session")
def tiny_model():
    return resolve_model("package:tiny-qwen3")


@pytest_asyncio.fixture(scope="session")
async def sampler(ray_cluster, tiny_model):
    async with open_sampler(tiny_model, ENGINE, stop_token_ids(tiny_model), 0) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session")
async def learner(ray_cluster, tiny_model):
    async with open_learner(tiny_model, LEARNER, LossConfig(), temperature=1.0, seed=0) as opened:
        yield opened
