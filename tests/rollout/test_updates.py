"""Requests around a weight update, and a sleep before it: one that comes meanwhile waits, and has the new version."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout.engine import Engine, EngineConfig
from rollout.types import SamplingParams


@pytest.fixture
def engine():
    """An engine whose vLLM answers at once, and keeps the salt that each request's cache entries are found by."""
    engine = Engine("model", EngineConfig(), [0])
    engine.salts = []

    async def generate(prompt, params, request_id):
        engine.salts.append(prompt["cache_salt"])
        position = {7: SimpleNamespace(logprob=-0.5)}
        outputs = [SimpleNamespace(token_ids=[7], logprobs=[position], text="7", finish_reason="stop")]
        yield SimpleNamespace(outputs=outputs, prompt_logprobs=[None, position])

    def note(name):
        async def called(*args, **_):
            engine.calls.append((name, *args))

        return called

    engine.calls = []
    names = ("pause_generation", "start_weight_update", "finish_weight_update", "resume_generation", "sleep", "wake_up")
    engine._llm = SimpleNamespace(generate=generate, **{name: note(name) for name in names})
    return engine


@pytest.mark.parametrize("call", ["generate", "score"])
async def test_a_request_that_comes_during_an_update_waits_for_its_end(engine, call):
    def ask():
        if call == "score":
            return engine.score((3, 7))
        return engine.generate((1, 2), SamplingParams(), num_samples=1, seed=0)

    await ask()
    await engine.begin_update()
    asked = asyncio.create_task(ask())
    await asyncio.sleep(0.01)
    assert engine.salts == ["v0"]
    await engine.end_update(4)
    answer = await asyncio.wait_for(asked, 5)
    assert engine.salts == ["v0", "v4"], "no entry of the weights before can be found under the new version"
    if call == "generate":
        assert answer[0] == 4


async def test_a_request_that_comes_during_sleep_waits_for_new_weights(engine):
    await engine.sleep()
    asked = asyncio.create_task(engine.generate((1, 2), SamplingParams(), num_samples=1, seed=0))
    await asyncio.sleep(0.01)
    assert engine.salts == []
    await engine.begin_update()
    await engine.end_update(1)
    assert (await asyncio.wait_for(asked, 5))[0] == 1
    assert engine.calls == [
        ("sleep",),
        ("wake_up", ["weights"]),
        ("pause_generation",),
        ("start_weight_update",),
        ("finish_weight_update",),
        ("wake_up", ["kv_cache"]),
        ("resume_generation",),
    ], "memory of weights before they are loaded, and of the cache before requests go on"

    engine.calls.clear()
    await engine.begin_update()
    await engine.end_update(2)
    assert "wake_up" not in [name for name, *_ in engine.calls]
