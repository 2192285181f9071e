"""Reward functions by which the service's tests see what was judged again, and when."""

import random
import time
from pathlib import Path

from rewards.registry import reward
from rewards.types import RewardRequest


@reward("random_score")
def random_score(request: RewardRequest) -> float:
    """A new number each time, after `sleep_s` seconds."""
    time.sleep(request.params.get("sleep_s", 0))
    return random.random()


@reward("fails_once")
def fails_once(request: RewardRequest) -> float:
    """Fails until its file is there."""
    path = Path(str(request.response))
    if path.exists():
        return 1.0
    path.touch()
    raise RuntimeError("not yet")


def word_count(prompts, completions, **kwargs):
    """A reward function as TRL has them."""
    return [float(len(completion.split())) for completion in completions]
