"""Real workers against plug-ins that hang, crash, hoard and lie; and neighbours that must not notice."""

import asyncio

import pytest

from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest

PLUGIN = """
import os, time
from rewards.registry import reward

@reward("hangs")
def hangs(request): time.sleep(3600)

@reward("crashes")
def crashes(request): os._exit(1)

@reward("hoards")
def hoards(request): return float(len(bytearray(8 * 2**30)))

@reward("raises")
def raises(request): raise ZeroDivisionError("mine")

@reward("lies")
def lies(request): return float("inf")

@reward("answers_text")
def answers_text(request): return "1.0"

@reward("later")
async def later(request): return 0.25
"""


def request(task: str, response: str = "\\boxed{4}", **more) -> RewardRequest:
    return RewardRequest(task=task, response=response, reference="4", **more)


@pytest.fixture
async def scorer(tmp_path):
    (tmp_path / "hostile.py").write_text(PLUGIN)
    config = ScorerConfig(num_workers=2, timeout_s=2, memory_mib=512, plugins=[str(tmp_path / "hostile.py")])
    async with Scorer(config) as opened:
        yield opened


async def test_failures_are_typed_and_neighbours_unharmed(scorer):
    tasks = ["hangs", "math", "crashes", "math", "hoards", "math", "raises", "lies", "answers_text", "later", "math"]
    results = await asyncio.wait_for(scorer.score([request(task, id=str(n)) for n, task in enumerate(tasks)]), 60)
    assert [result.id for result in results] == [str(n) for n in range(len(tasks))]
    by_task = dict(zip(tasks, results, strict=True))
    assert [r.score for task, r in zip(tasks, results, strict=True) if task == "math"] == [1.0] * 4
    assert (by_task["hangs"].score, by_task["hangs"].status) == (None, "timeout")
    assert (by_task["crashes"].score, by_task["crashes"].status) == (None, "error")
    assert (by_task["hoards"].score, by_task["hoards"].status) == (None, "error")
    assert by_task["raises"].reason == "ZeroDivisionError: mine"
    assert by_task["lies"].status == by_task["answers_text"].status == "error"
    assert by_task["later"].score == 0.25
    assert scorer.counts["math", "ok"] == 4
    assert scorer.counts["hangs", "timeout"] == 1
    assert (await scorer.score([request("math")]))[0].score == 1.0, "the workers must be there again"


async def test_an_unknown_task_is_the_callers_fault(scorer):
    with pytest.raises(ValueError, match=r"unknown task 'mth'; did you mean 'math'\?"):
        await scorer.score([request("mth")])


async def test_a_huge_response_is_wrong_without_a_worker(scorer):
    (result,) = await scorer.score([request("math", "x" * 2_000_000)])
    assert (result.score, result.status) == (0.0, "ok")


async def test_two_batches_at_once_keep_apart(scorer):
    right, wrong = await asyncio.gather(
        scorer.score([request("math")] * 50), scorer.score([request("math", "\\boxed{5}")] * 50)
    )
    assert {result.score for result in right} == {1.0}
    assert {result.score for result in wrong} == {0.0}
