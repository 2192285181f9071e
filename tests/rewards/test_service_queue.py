"""The queue behind the endpoints, with a scorer that answers, is late, or is lost."""

import asyncio

import pytest

from rewards.service_config import ServiceConfig
from rewards.service_metrics import ServiceMetrics
from rewards.service_queue import Closed, Conflict, JudgementQueue, Overload
from rewards.types import RewardRequest
from tests.fakes import FakeScorer

SEVEN = RewardRequest(task="math", response="7", reference="7", id="seven")


def open_queue(**config):
    queue = JudgementQueue(FakeScorer(), ServiceConfig(log_results=False, **config), ServiceMetrics())
    queue.is_open = True
    return queue


async def test_what_is_accepted_is_open_until_it_is_answered():
    queue = open_queue(max_batch=2, max_queue=2)
    results = [queue.accept(SEVEN.model_copy(update={"id": None})) for _ in range(2)]
    assert queue.num_open == 2
    with pytest.raises(Overload, match="2 requests are waiting, of at most 2"):
        queue.check_room(1)
    assert [result.score for result in await asyncio.gather(*results)] == [1, 1]
    await asyncio.sleep(0)
    assert queue.num_open == 0
    queue.check_room(2)


async def test_a_scorer_that_is_lost_costs_one_request_its_score():
    queue = open_queue()
    lost, fine = queue.accept(SEVEN.model_copy(update={"id": "lost", "response": "lost"})), queue.accept(SEVEN)
    assert ((await lost).id, (await lost).score, (await lost).status) == ("lost", None, "error")
    assert (await lost).reason == "ConnectionError: the scorer is gone"
    assert (await fine).score == 1


async def test_equal_contents_are_equal_whatever_their_order():
    queue = open_queue()
    first = queue.accept(SEVEN.model_copy(update={"params": {"a": 1, "b": [2]}}))
    assert queue.accept(SEVEN.model_copy(update={"params": {"b": [2], "a": 1}})) is first
    with pytest.raises(Conflict):
        queue.accept(SEVEN.model_copy(update={"params": {"a": 1.5, "b": [2]}}))
    await first


async def test_nothing_is_remembered_where_that_is_turned_off():
    queue = open_queue(remember=0)
    first, second = queue.accept(SEVEN), queue.accept(SEVEN)
    assert first is not second
    await asyncio.gather(first, second)


async def test_the_end_cancels_what_is_left_and_takes_no_more():
    queue = open_queue()
    late = queue.accept(SEVEN.model_copy(update={"response": "late"}))
    await asyncio.sleep(0)
    await queue.stop()
    assert late.cancelled()
    assert queue.num_open == 0
    with pytest.raises(Closed):
        queue.check_room(1)


async def test_an_id_that_was_cancelled_is_free_again():
    queue = open_queue()
    late = queue.accept(SEVEN.model_copy(update={"response": "late"}))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.sleep(0.01)
    assert (await queue.accept(SEVEN)).score == 1
