"""Requests around a weight update: one that comes while weights are replaced waits, and has the new version."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout.engine import Engine, EngineConfig
from rollout.types import SamplingParams


async def nothing(*_, **__):
    pass


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

    names = ("pause_generation", "start_weight_update", "finish_weight_update", "resume_generation")
    engine._llm = SimpleNamespace(generate=generate, **dict.fromkeys(names, nothing))
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
