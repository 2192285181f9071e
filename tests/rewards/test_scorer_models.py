"""The scorer with real workers and tasks that ask models, whose servers do as they are told."""

import asyncio
import logging
import time
from pathlib import Path

import pytest
import pytest_asyncio

from rewards.canaries import CANARIES, run_canaries
from rewards.conformance import BINDING, check
from rewards.judge import JudgeConfig
from rewards.preference import PreferenceConfig
from rewards.registry import load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest
from tests.fakes import FakeModelServer

PLUGIN = str(Path(__file__).parent / "plugins.py")
FAST = {"timeout_s": 5, "max_retries": 0, "retry_pause_s": 0.01}
HONEST = RewardRequest(task="math", response="\\boxed{7}", reference=7)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def asks(response: str, identity: str, kind: str = "judge") -> RewardRequest:
    return RewardRequest(task="asks", response=response, reference=kind, id=identity)


@pytest.fixture(scope="module")
def judge_server():
    with FakeModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def preference_server():
    with FakeModelServer(logit=1.5) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scorer(judge_server, preference_server):
    config = ScorerConfig(
        num_workers=1,
        timeout_s=2,
        plugins=[PLUGIN],
        judge=JudgeConfig(url=f"{judge_server.url}/v1", model="j", canaries=False, **FAST),
        preference=PreferenceConfig(url=preference_server.url, **FAST),
    )
    async with Scorer(config) as scorer:
        yield scorer


@pytest.fixture
def server(judge_server):
    """The judge's, as new."""
    judge_server.script.clear()
    judge_server.requests.clear()
    judge_server.release()
    judge_server.content, judge_server.most_under_way = '{"verdict": "correct"}', 0
    return judge_server


async def test_calls_go_to_their_models_and_replies_back(scorer, server, preference_server):
    before = len(preference_server.requests)
    server.content = "spoken"
    judged, preferred = await scorer.score([asks("2", "a"), asks("1", "b", "preference")])
    assert (judged.score, judged.status, judged.reason, judged.id) == (2, "ok", "['spoken', 'spoken']", "a")
    assert (preferred.score, preferred.reason) == (1, "[1.5]")
    assert (judged.verifier, judged.version) == ("asks", "1")
    assert judged.ms > 0
    assert {body["messages"][0]["content"] for body in server.requests} == {"a 0", "a 1"}
    assert len(preference_server.requests) == before + 1


async def test_a_task_may_judge_without_a_call(scorer, server):
    none, empty = await scorer.score([asks("none", "n"), asks("empty", "e")])
    assert (none.score, none.reason, empty.score) == (0.25, "no call", 0)
    assert server.requests == []


@pytest.mark.parametrize(
    ("response", "reason"),
    [("not calls", "ValidationError"), ("raises", "ValueError: cannot ask"), ("65", "65 calls, more than 64")],
)
async def test_calls_that_are_none_are_an_error(scorer, server, response, reason):
    (result,) = await scorer.score([asks(response, response)])
    assert (result.score, result.status) == (None, "error")
    assert reason in result.reason
    assert server.requests == []


async def test_a_call_that_is_no_json_costs_only_its_own_score(server, tmp_path):
    plugin = tmp_path / "calls_without_json.py"
    plugin.write_text(
        "import datetime\n"
        "from rewards.calls import JudgeCall\n"
        "from rewards.registry import reward\n"
        "VALUES = {'date': datetime.date(2025, 1, 1), 'NaN': float('nan'), 'keys': {(1, 2): 3}, 'pair': (1, {2: 3})}\n"
        "def ask(request):\n"
        "    return [JudgeCall(messages=[{'content': VALUES[request.response]}], response_schema={})]\n"
        "@reward('calls_without_json', ask=ask)\n"
        "def judge(request, replies):\n"
        "    return 1.0\n"
    )
    judge = JudgeConfig(url=f"{server.url}/v1", model="j", canaries=False, **FAST)
    bad = [RewardRequest(task="calls_without_json", response=response) for response in ("date", "NaN", "keys", "pair")]
    async with Scorer(ScorerConfig(plugins=[str(plugin)], judge=judge)) as scorer:
        before, *failed, plain, after = await scorer.score([HONEST, *bad, HONEST])
    assert [result.score for result in (before, plain, after)] == [1, 1, 1]
    assert [(result.score, result.status) for result in failed] == [(None, "error")] * 3
    for result, reason in zip(
        failed, ["date is not JSON serializable", "not JSON compliant", "keys must be"], strict=True
    ):
        assert result.reason.startswith("ValueError: the task's calls are no plain JSON: ")
        assert reason in result.reason
    assert [body["messages"] for body in server.requests] == [[{"content": [1, {"2": 3}]}]]


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        ("ask again", "error", "asks models again"),
        ("raise", "error", "ValueError: cannot read the reply"),
        ("hang", "timeout", "broke a worker's limits twice"),
    ],
)
async def test_replies_that_cannot_be_read_are_an_error(scorer, server, reply, status, reason):
    server.content = reply
    result, honest = await scorer.score([asks("1", f"reply {reply}"), HONEST])
    assert (result.score, result.status, honest.score) == (None, status, 1)
    assert reason in result.reason


@pytest.mark.parametrize(
    ("word", "status"), [("500", "error"), ("garbage", "error"), ("close", "error"), ("empty choices", "error")]
)
async def test_a_judge_that_fails_is_no_score_and_is_counted(scorer, server, word, status):
    count = scorer.counts["asks", status]
    server.script[:] = [word]
    result, honest = await scorer.score([asks("1", f"fails {word}"), HONEST])
    assert (result.score, result.status, honest.score) == (None, status, 1)
    assert result.reason.startswith("the judge")
    assert scorer.counts["asks", status] == count + 1
    assert (await scorer.score([asks("1", f"fails {word}")]))[0].score == 1, "and is asked anew"


async def test_a_judge_that_hangs_is_a_timeout(judge_server):
    judge_server.script[:] = ["hang"]
    judge = JudgeConfig(url=f"{judge_server.url}/v1", model="j", canaries=False, timeout_s=0.3, max_retries=0)
    async with Scorer(ScorerConfig(plugins=[PLUGIN], judge=judge)) as scorer:
        (result,) = await scorer.score([asks("1", "hang")])
    assert (result.score, result.status, result.reason) == (None, "timeout", "the judge did not answer within 0.3 s")


@pytest.mark.parametrize(
    "verdict", ["correct", '{"verdict": "great"}', '{"verdict": "correct", "x": 1}', "{}", "[[A]]"]
)
async def test_a_verdict_that_is_none_is_our_failure(scorer, server, verdict):
    server.content = verdict
    request = RewardRequest(task="reference_judge", question=verdict, response="It is Sydney", reference="Canberra")
    (result,) = await scorer.score([request])
    assert (result.score, result.status) == (None, "error")
    assert "unparseable" in result.reason


async def test_a_judge_is_asked_anew_after_a_reply_that_is_no_verdict(scorer, server):
    request = RewardRequest(task="reference_judge", question="anew?", response="It is Sydney", reference="Canberra")
    server.content = "I think that"
    garbage = await scorer.score([request] * 3)
    assert [result.status for result in garbage] == ["error"] * 3
    assert len(server.requests) == 1, "equal calls under way still share one request"
    server.content = '{"verdict": "correct"}'
    results = await scorer.score([request] * 3) + await scorer.score([request])
    assert [result.score for result in results] == [1] * 4
    assert len(server.requests) == 2, "and what can be read is kept"


async def test_waiting_for_a_model_takes_no_worker(scorer, server):
    server.hold()
    waiting = asyncio.create_task(scorer.score([asks("1", f"wait {n}") for n in range(8)]))
    async with asyncio.timeout(20):
        while server.under_way < 8:  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.01)
    assert (await scorer.score([HONEST] * 4))[0].score == 1, "by the one worker that there is"
    server.release()
    assert [result.score for result in await waiting] == [1] * 8


async def test_equal_responses_are_judged_once(scorer, server):
    results = await scorer.score([asks("1", "same")] * 16)
    assert [result.score for result in results] == [1] * 16
    assert len(server.requests) == 1


async def test_what_needs_no_judge_asks_none(scorer, server):
    requests = [
        RewardRequest(task="reference_judge", question="?", response=response, reference="Canberra")
        for response in ("Canberra", "", ":", "Thought process:", "<think>Canberra</think>")
    ]
    assert [result.score for result in await scorer.score(requests)] == [1, 0, 0, 0, 0]
    assert server.requests == []


@pytest.mark.parametrize("kind", ["judge", "preference"])
async def test_without_a_model_the_reason_names_the_remedy(kind):
    async with Scorer(ScorerConfig(plugins=[PLUGIN])) as scorer:
        result, honest = await scorer.score([asks("1", "x", kind), HONEST])
    assert (result.score, result.status, honest.score) == (None, "error", 1)
    assert f"set rewards.{kind}.url" in result.reason


async def test_a_model_that_nobody_serves_is_an_error_at_the_start():
    with pytest.raises(ValueError, match=r"set rewards\.judge\.url"):
        await Scorer(ScorerConfig(judge=JudgeConfig(model="j", serve=True))).start()


async def test_a_stop_ends_what_waits_for_a_model(judge_server):
    judge_server.script[:] = ["hang"]
    judge = JudgeConfig(url=f"{judge_server.url}/v1", model="j", canaries=False)
    num_requests = len(judge_server.requests)
    async with Scorer(ScorerConfig(plugins=[PLUGIN], judge=judge)) as scorer:
        waiting = asyncio.create_task(scorer.score([asks("1", "stopped")]))
        async with asyncio.timeout(20):
            while len(judge_server.requests) == num_requests:  # noqa: ASYNC110 - another thread makes it true
                await asyncio.sleep(0.01)
        start = time.perf_counter()
    (result,) = await waiting
    assert (result.score, result.status) == (None, "error")
    assert "stopped" in result.reason
    assert time.perf_counter() - start < judge.timeout_s


async def test_recorded_replies_are_replayed_and_must_be_as_many_as_the_calls(scorer, server):
    assert (await scorer.replay(asks("2", "r"), ["a", "b"])).score == 2
    assert (await scorer.replay(asks("none", "r"), [])).score == 0.25
    for request, replies in (
        (asks("2", "r"), ["a"]),
        (asks("2", "r"), []),
        (asks("none", "r"), ["a"]),
        (HONEST, ["a"]),
    ):
        result = await scorer.replay(request, replies)
        assert (result.score, result.status) == (None, "error")
        assert "replies" in result.reason
    assert server.requests == []


async def test_canaries_measure_the_judge_and_ask_anew_each_time(scorer, server):
    rates = await run_canaries(scorer)
    assert rates == {
        "canary/false_accept_rate": 1,
        "canary/false_reject_rate": 0,
        "canary/hostile_accept_rate": 1,
        "canary/unscored_rate": 0,
    }
    assert len(server.requests) == len(CANARIES)
    server.content = '{"verdict": "incorrect"}'
    rates = await run_canaries(scorer)
    assert (rates["canary/false_accept_rate"], rates["canary/false_reject_rate"]) == (0, 1)
    server.content = "nonsense"
    rates = await run_canaries(scorer)
    assert set(rates.values()) == {0, 1}
    assert rates["canary/unscored_rate"] == 1
    server.hold()
    assert (await run_canaries(scorer, limit_s=0.2))["canary/unscored_rate"] == 1
    server.release()


async def test_a_judge_that_its_canaries_fool_is_warned_of_or_refused(server, caplog):
    judge = {"url": f"{server.url}/v1", "model": "gullible", **FAST}
    caplog.set_level(logging.WARNING)
    async with Scorer(ScorerConfig(judge=JudgeConfig(**judge))) as scorer:
        assert scorer.canary_rates["canary/hostile_accept_rate"] == 1
    assert "gullible accepts 100% of the hostile canaries" in caplog.text
    with pytest.raises(ValueError, match="Take a stronger judge"):
        async with Scorer(ScorerConfig(judge=JudgeConfig(strict_canaries=True, **judge))):
            pass
    server.content = '{"verdict": "incorrect"}'
    async with Scorer(ScorerConfig(judge=JudgeConfig(strict_canaries=True, **judge))) as scorer:
        assert scorer.canary_rates["canary/hostile_accept_rate"] == 0


async def test_conformance_cases_are_judged_live_by_the_models_given(server, preference_server):
    server.content = '{"verdict": "incorrect"}'
    lines: list[str] = []
    config = ScorerConfig(
        num_workers=1,
        plugins=[PLUGIN],
        judge=JudgeConfig(url=f"{server.url}/v1", model="j", canaries=False, **FAST),
        preference=PreferenceConfig(url=preference_server.url, **FAST),
    )
    ours = [task.name for task in load_tasks().values() if task.is_ours]  # other tests may have registered more
    num_failures = await check(config, None, lines.append, ours)
    assert num_failures > 0
    assert "reference_judge, live case 'honest': FAILED: score 0 (the judge: incorrect), recorded 1" in lines
    assert "reference_judge, live case 'injected': agrees: score 0 (the judge: incorrect), recorded 0" in lines
    assert any(line.startswith("preference_open, live case 'honest': agrees: score 0.8") for line in lines)
    assert any(line.startswith("creative_checklist, live case 'honest': FAILED: status error") for line in lines)
    assert not [line for line in lines if line.startswith("FAILED")], "the recorded ones all hold"


async def test_every_task_that_asks_has_honest_and_hostile_cases_with_and_without_replies():
    asking = [task for task in load_tasks().values() if task.is_ours and task.ask is not None]
    assert len(asking) >= 6
    for task in asking:
        assert len(task.cases) >= 12, task.name
        assert any(case.replies for case in task.cases), task.name
        assert any(not case.replies for case in task.cases), task.name
        assert sum(case.name.startswith(BINDING) for case in task.cases if case.replies) >= 2, task.name
