"""The scorer with real workers: results, and every way in which a task can fail."""

import asyncio
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import pytest_asyncio

from rewards.client import MAX_LINE_BYTES
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest

PLUGIN = str(Path(__file__).parent / "plugins.py")
HONEST = RewardRequest(task="math", response="\\boxed{7}", reference=7, id="honest")


def breaks(how: str) -> RewardRequest:
    return RewardRequest(task="breaks", response=how, id=how)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scorer():
    config = ScorerConfig(num_workers=2, timeout_s=1, memory_mib=256, plugins=[PLUGIN, f"{PLUGIN}:compute_score"])
    async with Scorer(config) as scorer:
        yield scorer


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_results_keep_the_order_and_name_their_task(scorer):
    requests = [HONEST.model_copy(update={"response": f"\\boxed{{{n}}}", "id": str(n)}) for n in range(40)]
    results = await scorer.score(requests)
    assert [result.id for result in results] == [str(n) for n in range(40)]
    assert [result.score for result in results] == [float(n == 7) for n in range(40)]
    assert {(r.status, r.verifier, r.version) for r in results} == {("ok", "math", "1")}
    assert all(result.ms > 0 for result in results)


async def test_two_batches_at_once_keep_apart(scorer):
    wrong = HONEST.model_copy(update={"response": "\\boxed{5}"})
    batches = await asyncio.gather(scorer.score([HONEST] * 50), scorer.score([wrong] * 50))
    assert [{result.score for result in batch} for batch in batches] == [{1.0}, {0.0}]


async def test_a_scorer_may_be_started_and_stopped_by_hand():
    scorer = Scorer(ScorerConfig())
    await scorer.start()
    assert (await scorer.score([HONEST]))[0].score == 1
    await scorer.stop()


async def test_nothing_is_judged_where_a_task_is_unknown(scorer):
    before = dict(scorer.counts)
    with pytest.raises(ValueError, match="unknown task 'maths'; did you mean 'math'"):
        await scorer.score([HONEST, HONEST.model_copy(update={"task": "maths"})])
    assert dict(scorer.counts) == before


async def test_plugins_may_be_async_take_messages_and_have_verls_signature(scorer):
    later, many, verl = await scorer.score(
        [
            RewardRequest(task="later", response=""),
            RewardRequest(task="messages", response=[{"role": "user", "content": "x"}] * 3),
            RewardRequest(task="compute_score", response="x", reference="x", params={"data_source": "gsm8k"}),
        ]
    )
    assert (later.score, later.components, later.extracted, later.reason) == (0.5, {"part": 0.25}, "x", "slept")
    assert many.score == 3
    assert (verl.score, verl.components, verl.verifier) == (1, {"length": 1}, "compute_score")


@pytest.mark.parametrize(("kind", "score"), [("bool", 1), ("numpy", 0.5), ("surrogate", 1)])
async def test_numbers_of_any_kind_are_scores(scorer, kind, score):
    (result,) = await scorer.score([RewardRequest(task="returns", response=kind)])
    assert (result.score, result.status) == (score, "ok")
    assert result.model_dump_json()


@pytest.mark.parametrize(
    "kind",
    ["nan", "inf", "huge", "text", "none", "dict", "nan inside", "nan component", "no status", "no such key"],
)
async def test_nonsense_is_an_error_and_never_a_score(scorer, kind):
    (result,) = await scorer.score([RewardRequest(task="returns", response=kind)])
    assert (result.score, result.status) == (None, "error")
    assert result.reason


async def test_a_result_is_cut_to_what_a_line_of_the_service_holds(tmp_path):
    plugin = tmp_path / "verbose.py"
    plugin.write_text(
        "from rewards.registry import reward\n"
        "from rewards.types import RewardResult\n"
        "@reward('verbose')\n"
        "def verbose(request):\n"
        "    count, length = map(int, request.response.split())\n"
        "    names = [f'{n}'.ljust(length, '\\ud800') for n in range(count)]\n"
        "    text = '\\x00' * length\n"
        "    return RewardResult(score=1, components=dict.fromkeys(names, 0.1 + 0.2), extracted=text, reason=text,"
        " verifier=text)\n"
    )
    async with Scorer(ScorerConfig(plugins=[str(plugin)])) as scorer:
        whole, most, huge = await scorer.score(
            [RewardRequest(task="verbose", response=response) for response in ("2 3", "256 40", "1000 1000000")]
        )
    assert (len(whole.components), whole.reason, whole.extracted) == (2, "\0\0\0", "\0\0\0")
    assert (len(most.components), most.reason) == (256, "\0" * 40), "all of them, and the reason says nothing of them"
    assert (huge.score, huge.status, len(huge.components)) == (1, "ok", 256)
    assert {len(name) for name in huge.components} == {200}
    assert (len(huge.reason), len(huge.extracted), len(huge.verifier)) == (500, 4_096, 200)
    assert huge.reason.endswith(" (without 744 of 1000 components)")
    assert len(huge.model_dump_json()) < MAX_LINE_BYTES / 4


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("unpicklable", "Unpicklable: 1 2"),
        ("unprintable", "Unprintable"),
        ("exit", "SystemExit: 0"),
        ("interrupt", "KeyboardInterrupt: "),
        ("cancel", "CancelledError: "),
    ],
)
async def test_what_a_plugin_raises_is_an_error_of_that_request(scorer, how, reason):
    retries = scorer.num_retries
    failed, honest = await scorer.score([breaks(how), HONEST])
    assert (failed.id, failed.score, failed.status, failed.reason) == (how, None, "error", reason)
    assert honest.score == 1
    assert scorer.num_retries == retries, "what failed by itself is not tried again"


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("os exit", "error", "the worker died with code 3"),
        ("os exit 0", "timeout", "wall time of 1.0 s"),
        ("hang", "timeout", "wall time of 1.0 s"),
        ("hang in C", "timeout", "wall time of 1.0 s"),
        ("memory", "error", "memory limit"),
        ("memory by steps", "error", "memory limit"),
        ("recursion", "error", "recursion limit"),
    ],
)
async def test_a_broken_limit_is_tried_once_more_and_spares_the_neighbours(scorer, how, status, reason):
    retries, count = scorer.num_retries, scorer.counts["breaks", status]
    results = await scorer.score([HONEST] * 4 + [breaks(how)] + [HONEST] * 4)
    failed = results.pop(4)
    assert (failed.id, failed.score, failed.status) == (how, None, status)
    assert reason in failed.reason
    assert "twice" in failed.reason
    assert [result.score for result in results] == [1.0] * 8
    assert scorer.num_retries > retries  # a machine that stalls may let a neighbour break its limit once
    assert scorer.counts["breaks", status] == count + 1, "counted once, not once an attempt"


async def test_a_killed_worker_is_replaced_within_seconds(scorer):
    await scorer.score([breaks("os exit"), breaks("os exit")])
    start = time.perf_counter()
    results = await scorer.score([HONEST] * 4)
    assert [result.score for result in results] == [1.0] * 4
    assert time.perf_counter() - start < 20


def workers() -> list[multiprocessing.process.BaseProcess]:
    return multiprocessing.active_children()


async def test_workers_killed_while_idle_are_replaced():
    async with Scorer(ScorerConfig(num_workers=2, timeout_s=5)) as scorer:
        for worker in workers():
            os.kill(worker.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)  # their pools notice, and break
        assert [result.score for result in await scorer.score([HONEST] * 8)] == [1.0] * 8


async def test_workers_killed_at_work_cost_no_request_its_score():
    async with Scorer(ScorerConfig(num_workers=2, timeout_s=5)) as scorer:
        scores = asyncio.create_task(scorer.score([HONEST] * 400))
        await asyncio.sleep(0.1)
        for worker in workers():
            os.kill(worker.pid, signal.SIGKILL)
        assert [result.score for result in await scores] == [1.0] * 400


async def test_many_workers_that_die_at_once_break_nothing_for_others(scorer):
    results = await scorer.score([breaks("os exit")] * 6 + [HONEST] * 6)
    assert [result.score for result in results] == [None] * 6 + [1.0] * 6


@pytest.mark.parametrize("depth", [200, 900, 5000])
async def test_a_reference_nested_deep_is_an_error_of_that_request(scorer, depth):
    nested: list = []
    for _ in range(depth):
        nested = [nested]
    failed, honest = await scorer.score([HONEST.model_copy(update={"reference": nested}), HONEST])
    assert (failed.score, failed.status in ("error", "unscorable")) == (None, True)
    assert honest.score == 1


async def test_an_answer_that_exhausts_a_task_of_ours_twice_is_wrong(scorer):
    retries = scorer.num_retries
    bomb = "\\boxed{(x+y+z)^{999}}"
    reference = "(x+y+z)^{998}(x+y+z+1)"
    monster, honest = await scorer.score([RewardRequest(task="math", response=bomb, reference=reference), HONEST])
    assert (monster.score, monster.status) == (0, "ok")
    assert monster.reason == "broke a worker's limits twice: wall time of 1.0 s"
    assert honest.score == 1
    assert scorer.num_retries > retries


async def test_responses_beyond_the_bound_are_wrong_without_a_worker(scorer):
    (result,) = await scorer.score([HONEST.model_copy(update={"response": "\\boxed{7}" + " " * 1_000_000})])
    assert (result.score, result.status) == (0, "ok")
    assert "more than 1000000 characters" in result.reason


async def test_messages_are_an_error_for_a_task_of_text(scorer):
    (result,) = await scorer.score([HONEST.model_copy(update={"response": [{"role": "user", "content": "7"}]})])
    assert (result.score, result.status) == (None, "error")


async def test_wrong_params_are_errors(scorer):
    (result,) = await scorer.score([HONEST.model_copy(update={"params": {"extract": "any"}})])
    assert (result.score, result.status) == (None, "error")
    assert "params.extract: unknown 'any'" in result.reason


async def test_a_cancelled_request_frees_its_worker(scorer):
    waiting = asyncio.create_task(scorer.score([breaks("hang")] * 2))
    await asyncio.sleep(0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [result.score for result in await scorer.score([HONEST] * 4)] == [1.0] * 4


@pytest.mark.parametrize("field", [{"num_workers": 0}, {"timeout_s": 0}, {"memory_mib": 1}, {"workers": 2}])
def test_the_config_is_strict(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        ScorerConfig(**field)
