"""The service as a scorer: what it says when the service is up, down, late, or lies."""

import asyncio
import json

import pytest
import pytest_asyncio

from rewards.client import CallFailed, HttpScorer, HttpScorerConfig
from rewards.registry import load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.service_config import ServiceConfig
from rewards.service_server import bind
from rewards.types import RewardRequest
from tests.fakes import FakeService
from tests.rewards.serving import PLUGIN, open_service

SEVEN = RewardRequest(task="math", response="\\boxed{7}", reference=7, id="seven")
SCORER = ScorerConfig(num_workers=2, timeout_s=20, plugins=[PLUGIN])
QUICK = {"first_pause_s": 0.01, "timeout_s": 30.0, "max_retries": 2}
NDJSON = {"Content-Type": "application/x-ndjson"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def service():
    with open_service(ServiceConfig(scorer=SCORER)) as (url, _):
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def remote(service):
    async with HttpScorer(HttpScorerConfig(url=service, chunk_size=7)) as scorer:
        yield scorer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local():
    async with Scorer(SCORER) as scorer:
        yield scorer


def line(index, **fields):
    return json.dumps({"index": index, "score": 1, "status": "ok"} | fields).encode() + b"\n"


def without_times(results):
    return [result.model_dump(exclude={"ms"}) for result in results]


@pytest.mark.parametrize("name", sorted(load_tasks()))
async def test_results_are_those_of_the_scorer_in_process(remote, local, name):
    task = load_tasks()[name]
    requests = [task.example, *(task.request(case) for case in task.cases if not case.replies)]
    requests = [request.model_copy(update={"id": str(n % 3)}) for n, request in enumerate(requests)]
    there, here = await asyncio.gather(remote.score(requests), local.score(requests))
    assert without_times(there) == without_times(here)
    assert [result.id for result in there] == [request.id for request in requests]


async def test_a_result_that_a_reward_makes_huge_is_the_same_here_and_there(tmp_path):
    plugin = tmp_path / "talks_much.py"
    plugin.write_text(
        "from rewards.types import RewardResult\n"
        "def talks_much(request):\n"
        "    text = '\\x00\\u2028\\ud800' * 10**5\n"
        "    components = {f'{n}{text}': n for n in range(300)}\n"
        "    return RewardResult(score=1, components=components, extracted=text, reason=text, verifier=text)\n"
    )
    config = ScorerConfig(timeout_s=20, memory_mib=4096, plugins=[f"{plugin}:talks_much"])
    request = RewardRequest(task="talks_much", response="")
    with open_service(ServiceConfig(scorer=config)) as (url, _):
        async with HttpScorer(HttpScorerConfig(url=url, **QUICK)) as remote:
            there = await remote.score([request, SEVEN])
    async with Scorer(config) as local:
        here = await local.score([request, SEVEN])
    assert without_times(there) == without_times(here)
    assert [result.score for result in here] == [1, 1]


async def test_counts_and_order_are_kept_over_chunks(remote):
    before = remote.counts["math", "ok"]
    requests = [SEVEN.model_copy(update={"response": f"\\boxed{{{n}}}"}) for n in range(40)]
    results = await remote.score(requests)
    assert [result.score for result in results] == [float(n == 7) for n in range(40)]
    assert remote.counts["math", "ok"] == before + 40
    assert await remote.score([]) == []


async def test_an_unknown_task_is_a_mistake_as_it_is_in_process(remote, local):
    for scorer in (remote, local):
        with pytest.raises(ValueError, match=r"unknown task 'maths'; did you mean 'math'\? known are "):
            await scorer.score([SEVEN, SEVEN.model_copy(update={"task": "maths"})])


@pytest.mark.parametrize("reference", [float("nan"), {1, 2}, object()])
async def test_what_is_no_json_costs_only_its_own_score(remote, reference):
    bad, good = await remote.score([SEVEN.model_copy(update={"reference": reference}), SEVEN])
    assert (bad.score, bad.status, bad.id) == (None, "error", "seven")
    assert "cannot be sent as JSON" in bad.reason
    assert good.score == 1


async def test_chunks_are_bounded_in_bytes_too(service):
    padded = SEVEN.model_copy(update={"response": "x" * 100_000 + "\\boxed{7}"})
    with open_service(ServiceConfig(scorer=SCORER, max_request_mib=0.25)) as (url, _):
        async with HttpScorer(HttpScorerConfig(url=url, chunk_mib=0.2, max_retries=0)) as scorer:
            assert [result.score for result in await scorer.score([padded] * 6)] == [1.0] * 6


async def test_a_service_that_is_down_gives_no_scores_and_is_named():
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with HttpScorer(HttpScorerConfig(url=url, **QUICK)) as scorer:
        results = await scorer.score([SEVEN, SEVEN])
    assert [(result.score, result.status, result.id) for result in results] == [(None, "error", "seven")] * 2
    assert f"the reward service at {url}: ConnectError" in results[0].reason
    assert scorer.num_retries == 2
    assert scorer.counts == {("math", "error"): 2}


async def test_a_service_that_is_late_times_out_and_keeps_what_it_gave():
    answers = [(200, NDJSON, [line(1), 5.0])]
    with FakeService(answers) as service:
        config = HttpScorerConfig(url=service.url, timeout_s=0.5, max_retries=0)
        async with HttpScorer(config) as scorer:
            late, early = await scorer.score([SEVEN, SEVEN])
    assert (early.score, early.id) == (1, "seven")
    assert (late.score, late.status) == (None, "timeout")
    assert service.url in late.reason


async def test_only_what_is_missing_is_asked_for_again():
    answers = [(200, NDJSON, [line(2), line(0), None]), (200, NDJSON, [line(0, score=0.5)])]
    with FakeService(answers) as service:
        async with HttpScorer(HttpScorerConfig(url=service.url, **QUICK)) as scorer:
            results = await scorer.score([SEVEN] * 3)
    assert [result.score for result in results] == [1, 0.5, 1]
    first, second = [[item["id"] for item in body["requests"]] for body in service.bodies]
    assert len(set(first)) == 3, "ids are unique, whatever the caller's are"
    assert second == [first[1]], "and the same in another attempt"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_service_is_asked_again(status):
    answers = [(status, {"Retry-After": "0"}, [b"busy"]), (200, NDJSON, [line(0)])]
    with FakeService(answers) as service:
        async with HttpScorer(HttpScorerConfig(url=service.url, **QUICK)) as scorer:
            (result,) = await scorer.score([SEVEN])
    assert result.score == 1
    assert scorer.num_retries == 1


async def test_a_service_that_comes_back_costs_no_score():
    """Down at the first attempts, then up at the same address."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    config = HttpScorerConfig(url=f"http://127.0.0.1:{port}", first_pause_s=0.05)
    async with HttpScorer(config) as scorer:
        waiting = asyncio.create_task(scorer.score([SEVEN, SEVEN]))
        while scorer.num_retries < 3:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.01)
        with FakeService([(200, NDJSON, [line(0), line(1)])], port=port):
            results = await asyncio.wait_for(waiting, 60)
    assert [(result.score, result.status) for result in results] == [(1, "ok")] * 2


def test_by_default_a_service_may_be_gone_for_a_minute(monkeypatch):
    monkeypatch.setattr("rewards.client.random.uniform", lambda least, most: least)
    config = HttpScorerConfig(url="http://127.0.0.1:9")
    scorer = HttpScorer(config)
    waits = [scorer._pause_s(attempt, CallFailed("down")) for attempt in range(config.max_retries)]
    assert sum(waits) > 60


@pytest.mark.parametrize("status", [400, 401, 413, 422])
async def test_a_refusal_is_final(status):
    with FakeService([(status, {}, [b"no: " + b"x" * 10_000])]) as service:
        async with HttpScorer(HttpScorerConfig(url=service.url, **QUICK)) as scorer:
            (result,) = await scorer.score([SEVEN])
    assert (result.score, result.status) == (None, "error")
    assert f"status {status}: no: " in result.reason
    assert len(result.reason) <= 500


@pytest.mark.parametrize(
    "lie",
    [
        b"not JSON\n",
        b"[]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        line(7),
        line(-1),
        line("0"),
        line(0, score=None),
        line(0, score="high"),
        b'{"index": 0, "score": NaN, "status": "ok"}\n',
        b"x" * 3_000_000,
    ],
)
async def test_a_lie_is_an_error_and_never_a_score(lie):
    with FakeService([(200, NDJSON, [lie])] * 3) as service:
        async with HttpScorer(HttpScorerConfig(url=service.url, **QUICK)) as scorer:
            (result,) = await scorer.score([SEVEN])
    assert (result.score, result.status) == (None, "error")
    assert service.url in result.reason


async def test_the_token_is_sent(monkeypatch):
    monkeypatch.setenv("TEST_TOKEN", "secret")
    with open_service(ServiceConfig(scorer=SCORER, token_env="TEST_TOKEN")) as (url, _):
        async with HttpScorer(HttpScorerConfig(url=url, token_env="TEST_TOKEN")) as scorer:
            assert (await scorer.score([SEVEN]))[0].score == 1
        monkeypatch.setenv("TEST_TOKEN", "wrong")
        async with HttpScorer(HttpScorerConfig(url=url, token_env="TEST_TOKEN")) as scorer:
            assert "status 401" in (await scorer.score([SEVEN]))[0].reason


@pytest.mark.parametrize("fields", [{"url": "127.0.0.1:80"}, {"url": "http://x", "chunk_size": 0}, {"timeout": 1}])
def test_the_config_is_strict(fields):
    with pytest.raises(ValueError, match=list(fields)[-1]):
        HttpScorerConfig(**fields)
