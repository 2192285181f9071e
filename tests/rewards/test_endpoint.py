"""Judge and preference model behind their endpoints, against a server on loopback that misbehaves as it is told."""

import asyncio
import logging
import math
import time
from email.utils import formatdate

import pytest

from rewards.calls import JudgeCall, ModelFailure, PreferenceCall
from rewards.endpoint import Breaker, Endpoint, EndpointConfig
from rewards.judge import JudgeConfig, open_judge
from rewards.preference import PreferenceConfig, open_preference
from tests.fakes import FakeModelServer

SCHEMA = {"type": "object", "properties": {"verdict": {"enum": ["correct"]}}}
FAST = {"timeout_s": 5, "max_retries": 0, "retry_pause_s": 0.01}


def judge_call(text: str = "is it right?") -> JudgeCall:
    return JudgeCall(messages=[{"role": "user", "content": text}], response_schema=SCHEMA)


def preference_call(text: str = "hello") -> PreferenceCall:
    return PreferenceCall(messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}])


def judge(server: FakeModelServer, **options) -> Endpoint:
    return open_judge(JudgeConfig(url=f"{server.url}/v1", model="the-judge", **(FAST | options)))


def preference(server: FakeModelServer, **options) -> Endpoint:
    return open_preference(PreferenceConfig(url=server.url, **(FAST | options)))


async def failure(endpoint: Endpoint, call) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await endpoint.answer(call)
    return caught.value


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.01)


async def test_a_judge_is_asked_greedily_with_a_schema_and_the_key(monkeypatch):
    monkeypatch.setenv("SHARPEN_API_KEY", "secret")
    with FakeModelServer() as server:
        endpoint = judge(server, extra={"chat_template_kwargs": {"enable_thinking": False}})
        assert await endpoint.answer(judge_call()) == '{"verdict": "correct"}'
        await endpoint.stop()
    (body,) = server.requests
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("the-judge", 0, 512)
    assert body["messages"] == judge_call().messages
    assert body["response_format"]["json_schema"] == {"name": "verdict", "schema": SCHEMA, "strict": True}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


async def test_a_preference_model_is_asked_for_its_raw_logit(monkeypatch):
    monkeypatch.delenv("SHARPEN_API_KEY", raising=False)
    with FakeModelServer(logit=-7.25) as server:
        endpoint = preference(server)
        assert await endpoint.answer(preference_call()) == -7.25
        await endpoint.stop()
    assert server.paths == ["/classify"]
    assert server.requests == [{"messages": preference_call().messages, "use_activation": False}]
    assert "Authorization" not in server.headers[0]


async def test_lone_surrogates_reach_the_server_spelled_out():
    with FakeModelServer() as server:
        endpoint = judge(server)
        assert await endpoint.answer(judge_call("\ud800"))
        await endpoint.stop()
    assert server.requests[0]["messages"][0]["content"] == "\ud800"


async def test_equal_calls_are_asked_once_and_others_apart():
    with FakeModelServer() as server:
        endpoint = judge(server)
        for _ in range(3):
            await endpoint.answer(judge_call("a"))
        await endpoint.answer(judge_call("b"))
        await endpoint.stop()
    assert len(server.requests) == 2


async def test_the_cache_forgets_what_was_asked_longest_ago():
    with FakeModelServer() as server:
        endpoint = judge(server, cache_size=2)
        for text in ("a", "b", "a", "c", "a", "b"):
            await endpoint.answer(judge_call(text))
        await endpoint.stop()
    assert [body["messages"][0]["content"] for body in server.requests] == ["a", "b", "c", "b"]


async def test_equal_calls_under_way_share_one_request():
    with FakeModelServer() as server:
        server.hold()
        endpoint = judge(server)
        callers = [asyncio.create_task(endpoint.answer(judge_call())) for _ in range(20)]
        await until(lambda: server.under_way)
        server.release()
        assert set(await asyncio.gather(*callers)) == {'{"verdict": "correct"}'}
        await endpoint.stop()
    assert len(server.requests) == 1


async def test_a_caller_that_gives_up_takes_the_reply_from_nobody():
    with FakeModelServer() as server:
        server.hold()
        endpoint = judge(server)
        first, second = (asyncio.create_task(endpoint.answer(judge_call())) for _ in range(2))
        await until(lambda: server.under_way)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        server.release()
        assert await second == '{"verdict": "correct"}'
        await endpoint.stop()
    assert len(server.requests) == 1


async def test_failures_are_not_kept():
    with FakeModelServer(["garbage"]) as server:
        endpoint = judge(server)
        await failure(endpoint, judge_call())
        assert await endpoint.answer(judge_call()) == '{"verdict": "correct"}'
        await endpoint.stop()


async def test_a_reply_of_no_use_is_forgotten_and_a_newer_one_is_not():
    with FakeModelServer(content="garbage") as server:
        endpoint = judge(server)
        endpoint.forget(judge_call(), "never asked")
        assert await endpoint.answer(judge_call()) == "garbage"
        endpoint.forget(judge_call(), "garbage")
        server.content = '{"verdict": "correct"}'
        assert await endpoint.answer(judge_call()) == server.content
        endpoint.forget(judge_call(), "garbage")  # by one who shared the first reply, and is late to read it
        assert await endpoint.answer(judge_call()) == server.content
        await endpoint.stop()
    assert len(server.requests) == 2


async def test_what_is_under_way_is_not_forgotten():
    with FakeModelServer() as server:
        server.hold()
        endpoint = judge(server)
        waiting = asyncio.create_task(endpoint.answer(judge_call()))
        await until(lambda: server.under_way)
        endpoint.forget(judge_call(), "an older reply")
        server.release()
        assert await waiting == await endpoint.answer(judge_call())
        await endpoint.stop()
    assert len(server.requests) == 1


@pytest.mark.parametrize("open_endpoint", [judge, preference])
@pytest.mark.parametrize(
    ("word", "status", "reason"),
    [
        ("hang", "timeout", "did not answer within 0.3 s"),
        ("late", "timeout", "did not answer within 0.3 s"),
        ("drip", "timeout", "did not answer within 0.3 s"),
        ("close", "error", "RemoteProtocolError"),
        ("500", "error", "status 500: "),
        ("429", "error", "status 429: "),
        ("400", "error", "status 400: "),
        ("401", "error", "status 401: "),
        ("302", "error", "status 302: "),
        ("garbage", "error", "no JSON: '<html>Bad gateway"),
        ("wrong schema", "error", ""),
        ("flood", "error", "more than 1048576 bytes"),
    ],
)
async def test_a_server_that_misbehaves_is_a_failure_with_a_reason(open_endpoint, word, status, reason):
    with FakeModelServer([word]) as server:
        endpoint = open_endpoint(server, timeout_s=0.3)
        error = await failure(endpoint, judge_call() if open_endpoint is judge else preference_call())
        await endpoint.stop()
    assert error.status == status
    assert reason in str(error)
    assert str(error).startswith("the judge" if open_endpoint is judge else "the preference model")


async def test_an_answer_without_choices_is_a_failure():
    with FakeModelServer(["empty choices"]) as server:
        endpoint = judge(server)
        assert "without a text" in str(await failure(endpoint, judge_call()))
        await endpoint.stop()


@pytest.mark.parametrize("logit", [float("nan"), float("inf"), None, "high"])
async def test_a_logit_that_is_none_is_a_failure(logit):
    with FakeModelServer(logit=logit) as server:
        endpoint = preference(server)
        assert "one finite logit" in str(await failure(endpoint, preference_call()))
        await endpoint.stop()


async def test_nobody_at_the_address_is_a_failure():
    with FakeModelServer() as server:
        pass
    endpoint = judge(server)
    error = await failure(endpoint, judge_call())
    assert (error.status, "ConnectError" in str(error)) == ("error", True)
    await endpoint.stop()


@pytest.mark.parametrize("word", ["500", "429", "503", "close", "hang"])
async def test_what_may_pass_is_tried_again(word):
    with FakeModelServer([word, word]) as server:
        endpoint = judge(server, max_retries=2, timeout_s=0.5)
        assert await endpoint.answer(judge_call()) == '{"verdict": "correct"}'
        await endpoint.stop()
    assert len(server.requests) == 3


@pytest.mark.parametrize(("word", "num_requests"), [("500", 3), ("400", 1), ("garbage", 1), ("wrong schema", 1)])
async def test_attempts_are_bounded_and_only_made_where_they_may_help(word, num_requests):
    with FakeModelServer([word] * 9) as server:
        endpoint = judge(server, max_retries=2)
        await failure(endpoint, judge_call())
        await endpoint.stop()
    assert len(server.requests) == num_requests


async def test_pauses_grow_and_are_random(monkeypatch):
    bounds = []
    monkeypatch.setattr("random.uniform", lambda low, high: bounds.append((low, high)) or 0.0)
    with FakeModelServer(["500"] * 7) as server:
        endpoint = judge(server, max_retries=6, retry_pause_s=0.5)
        await failure(endpoint, judge_call())
        await endpoint.stop()
    assert bounds == [(0, 0.5), (0, 1), (0, 2), (0, 4), (0, 8), (0, 8)]


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_server_that_says_when_is_asked_again_no_sooner(form):
    with FakeModelServer(["429"]) as server:
        due = math.ceil(time.time()) + 2
        server.answer_headers["Retry-After"] = "2" if form == "seconds" else formatdate(due, usegmt=True)
        endpoint = judge(server, max_retries=1)
        assert await endpoint.answer(judge_call()) == '{"verdict": "correct"}'
        arrived = time.time()
        await endpoint.stop()
    first, second = server.times_s
    assert second - first >= 2 if form == "seconds" else arrived >= due


async def test_a_server_that_says_much_later_ends_the_call():
    with FakeModelServer(["503"]) as server:
        server.answer_headers["Retry-After"] = "3600"
        endpoint = judge(server, max_retries=5)
        error = await failure(endpoint, judge_call())
        await endpoint.stop()
    assert (error.status, len(server.requests)) == ("error", 1)
    assert "status 503, to be asked again after 3600 s" in str(error)


async def test_the_server_never_sees_more_requests_than_allowed():
    with FakeModelServer() as server:
        server.hold()
        endpoint = judge(server, max_concurrent=3)
        callers = [asyncio.create_task(endpoint.answer(judge_call(str(n)))) for n in range(12)]
        await until(lambda: server.under_way == 3)
        server.release()
        await asyncio.gather(*callers)
        await endpoint.stop()
    assert (len(server.requests), server.most_under_way) == (12, 3)


async def test_a_dead_server_is_left_alone_and_tried_again_later():
    with FakeModelServer(["500"] * 3) as server:
        endpoint = judge(server, break_after=3, break_for_s=2)
        for n in range(3):
            await failure(endpoint, judge_call(str(n)))
        assert "3 times in a row" in str(await failure(endpoint, judge_call("x")))
        assert len(server.requests) == 3, "the fourth call was not made"
        await asyncio.sleep(2.1)
        assert await endpoint.answer(judge_call("x")) == '{"verdict": "correct"}'
        assert await endpoint.answer(judge_call("y")) == '{"verdict": "correct"}'
        await endpoint.stop()


async def test_refusals_and_nonsense_do_not_count_as_a_dead_server():
    with FakeModelServer(["400", "garbage", "wrong schema"] * 3) as server:
        endpoint = judge(server, break_after=2)
        for n in range(9):
            await failure(endpoint, judge_call(str(n)))
        await endpoint.stop()
    assert len(server.requests) == 9, "a prompt that is too long, say, is no reason to spare the server the others"


def test_one_trial_at_a_time_decides_about_a_broken_server():
    now = 0.0
    breaker = Breaker(break_after=2, break_for_s=10, clock=lambda: now)
    breaker.fail()
    breaker.check("it")
    breaker.fail()
    with pytest.raises(ModelFailure):
        breaker.check("it")
    now = 10.0
    breaker.check("it")  # the trial
    with pytest.raises(ModelFailure):
        breaker.check("it")
    breaker.fail()
    now = 19.0
    with pytest.raises(ModelFailure):
        breaker.check("it")
    now = 20.0
    breaker.check("it")
    breaker.succeed()
    breaker.check("it")
    breaker.check("it")


async def test_those_who_wait_at_the_stop_are_told():
    with FakeModelServer(["hang"]) as server:
        endpoint = judge(server, timeout_s=60)
        waiting = asyncio.create_task(endpoint.answer(judge_call()))
        await until(lambda: server.under_way)
        await endpoint.stop()
        with pytest.raises(ModelFailure, match="stopped before it answered"):
            await waiting


async def test_raw_replies_are_logged(caplog):
    caplog.set_level(logging.DEBUG, logger="rewards.endpoint")
    with FakeModelServer(content='{"verdict": "odd"}') as server:
        endpoint = judge(server)
        await endpoint.answer(judge_call())
        await endpoint.stop()
    records = [record for record in caplog.records if record.name == "rewards.endpoint"]
    assert [(record.endpoint, record.reply) for record in records] == [("the judge", '{"verdict": "odd"}')]


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (EndpointConfig, {}, "url is missing"),
        (EndpointConfig, {"url": "localhost:8000"}, "does not start with http"),
        (EndpointConfig, {"url": "http://x", "timeout": 1}, "timeout"),
        (JudgeConfig, {"url": "http://x"}, "model is missing"),
        (PreferenceConfig, {"url": "http://x", "max_concurrent": 0}, "max_concurrent"),
    ],
)
def test_the_config_is_strict(config, options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)
