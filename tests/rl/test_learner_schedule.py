"""Learning rates of single updates, as literal values."""

import pytest
from pydantic import ValidationError

from rl.learner import OptimizerConfig, ScheduleConfig, scheduled_lr


def rates(updates, **schedule):
    config = OptimizerConfig(lr=1e-3, schedule=ScheduleConfig(**schedule))
    return [scheduled_lr(config, update) for update in updates]


def near(*expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-18)


def test_constant():
    assert rates([0, 1, 10**6]) == [1e-3, 1e-3, 1e-3]


def test_warmup_reaches_the_rate_with_its_last_update():
    assert rates(range(5), warmup_updates=4) == near(2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3)


def test_linear():
    assert rates(range(6), name="linear", total_updates=4) == near(1e-3, 7.5e-4, 5e-4, 2.5e-4, 0, 0)


def test_linear_falls_to_its_final_share_after_the_warmup():
    got = rates(range(8), name="linear", warmup_updates=2, total_updates=6, final_share=0.2)
    assert got == near(5e-4, 1e-3, 1e-3, 8e-4, 6e-4, 4e-4, 2e-4, 2e-4)


def test_cosine():
    # (1 + cos(pi/4)) / 2 = 0.853553 and (1 + cos(3 pi/4)) / 2 = 0.146447.
    falling = near(1e-3, 8.535533905932738e-4, 5e-4, 1.4644660940672627e-4, 0, 0)
    assert rates(range(6), name="cosine", total_updates=4) == falling
    assert rates([2, 4], name="cosine", total_updates=4, final_share=0.1) == near(5.5e-4, 1e-4)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_falling_rate_needs_to_know_its_end(name):
    with pytest.raises(ValidationError, match=f"{name} needs total_updates"):
        ScheduleConfig(name=name)
    with pytest.raises(ValidationError, match="total_updates 5 must be above warmup_updates 5"):
        ScheduleConfig(name=name, warmup_updates=5, total_updates=5)
