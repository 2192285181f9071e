"""The soak of the reward service: how it draws and what it finds; all of it at length."""

from collections import Counter

import pytest

from benchmarks.soak import HOSTILE_EVERY, KINDS, check_results, draw_items, soak
from rewards.registry import load_tasks
from rewards.types import RewardResult

TASK = load_tasks()["exact"]
CASES = [(TASK, case) for case in TASK.cases]


def test_one_request_in_a_hundred_is_hostile_in_every_way_and_ids_are_unique():
    items = list(draw_items(CASES, [1.0] * len(CASES), 10 * HOSTILE_EVERY, seed=0))
    kinds = Counter(item.kind for item in items)
    assert kinds == {"benign": 10 * HOSTILE_EVERY - 10, **dict.fromkeys(KINDS, 2)}
    assert len({item.request.id for item in items}) == len(items)


def test_lost_swapped_and_wrong_results_are_found():
    items = list(draw_items(CASES, [1.0] * len(CASES), 3, seed=0))
    right = [RewardResult(id=item.request.id, score=item.score) for item in items]
    assert check_results(items, right) == []
    assert check_results(items, right[:2])
    assert check_results(items, [right[0], right[2], right[1]])
    assert check_results(items, [RewardResult(id="0", score=None, status="error"), *right[1:]])


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_soak():
    figures = await soak(10_000, 2, print)
    assert figures["soak_requests"] == 10_000
