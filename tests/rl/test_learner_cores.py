"""A learner that is told its cores keeps to them, threads included."""

import os

import pytest
import torch

from rl.learner_group import open_learner
from rl.losses import LossConfig
from tests.real_parts import LEARNER


@pytest.mark.slow
async def test_a_learner_keeps_to_its_cores(ray_cluster, tiny_model):
    first = min(os.sched_getaffinity(0))
    config = LEARNER.model_copy(update={"cores": str(first)})
    async with open_learner(tiny_model, config, LossConfig(), temperature=1.0, seed=0) as learner:
        (worker,) = learner.group.workers
        look = worker.__ray_call__.remote(lambda rank: (os.sched_getaffinity(0), torch.get_num_threads()))
        assert await look == ({first}, 1)
