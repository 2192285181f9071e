"""Reward functions of verl's and TRL's signatures as tasks of ours."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from rewards.foreign import adopt
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest
from tests.rewards.serving import PLUGIN

REQUEST = RewardRequest(task="t", question="?", response="two words", reference="7", params={"level": 3})


def judge(function, request=REQUEST):
    return asyncio.run(adopt(function)(request))


def test_a_function_of_trls_gets_a_batch_of_one():
    def function(prompts, completions, **kwargs):
        assert (prompts, completions) == (["?"], ["two words"])
        assert (kwargs["level"], kwargs["reference"], kwargs["completion_ids"]) == ([3], ["7"], [[]])
        return [0.5]

    result = judge(function)
    assert (result.score, result.status) == (0.5, "ok")


def test_it_gets_no_more_than_it_names():
    assert judge(lambda completions: [float(len(completions[0].split()))]).score == 2
    assert judge(lambda completions, level: [float(level[0])]).score == 3


def test_the_one_column_that_nobody_else_has_is_the_reference():
    def function(completions, solution, level, **kwargs):
        return [float(solution == ["7"] and level == [3])]

    assert judge(function).score == 1
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        judge(lambda completions, solution, answer: [1.0])


def test_a_question_of_messages_has_a_completion_of_messages():
    request = REQUEST.model_copy(update={"question": [{"role": "user", "content": "?"}]})
    assert judge(lambda completions: [float(completions[0][0]["content"] == "two words")], request).score == 1
    dialogue = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
    request = request.model_copy(update={"response": dialogue})
    assert judge(lambda completions: [float(completions == [dialogue])], request).score == 1


def test_it_may_be_async_log_metrics_and_return_an_array():
    async def function(completions, log_metric, log_extra, trainer_state):
        log_metric("length", 9)
        log_extra("text", completions)
        return np.array([0.25])

    result = judge(function)
    assert (result.score, result.components) == (0.25, {"length": 9})


def test_none_is_a_response_without_a_score():
    result = judge(lambda completions: [None])
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize("answer", [[], [1.0, 2.0], 1.0, None, "1", {"score": 1}])
def test_another_answer_is_an_error(answer):
    with pytest.raises(ValueError, match="a list of one number is wanted"):
        judge(lambda completions: answer)


def test_a_function_of_ours_is_left_alone():
    def function(request):
        return 1.0

    assert adopt(function) is function


async def test_trls_own_function_is_a_plugin():
    pytest.importorskip("trl")
    config = ScorerConfig(plugins=["trl.rewards:think_format_reward", f"{PLUGIN}:word_count"], memory_mib=4096)
    question = [{"role": "user", "content": "?"}]
    async with Scorer(config) as scorer:
        good, bad, count = await scorer.score(
            [
                RewardRequest(task="think_format_reward", question=question, response="<think>\nx\n</think>\nyes"),
                RewardRequest(task="think_format_reward", question=question, response="yes"),
                RewardRequest(task="word_count", response="one two three"),
            ]
        )
    assert (good.score, bad.score, count.score) == (1, 0, 3)


async def test_verls_signature_is_still_taken():
    plugin = Path(__file__).parent / "plugins.py"
    async with Scorer(ScorerConfig(plugins=[f"{plugin}:compute_score"])) as scorer:
        (result,) = await scorer.score([RewardRequest(task="compute_score", response="x", reference="x")])
    assert (result.score, result.components) == (1, {"length": 1})
