"""The demo of general RL: its config loads, and each of its prompts is judged by the task that it names."""

import json
from collections import defaultdict

import pytest

from rewards.registry import boxed
from rewards.scorer import Scorer
from rewards.types import RewardRequest
from rl.config_file import find_config, load_config
from tests.fakes import FakeModelServer
from tests.rl.examples import drawn_prompts

TEXT = "The old grey cat by our door sleeps all day long and hunts for mice in every dark corner at night"
PROSE = "You could read a good book by the window and then bake some bread with your friends."
TASKS = {"math", "mcq", "json_schema", "length_control", "reference_judge", "preference_open"}
ANSWERS = {
    "math": boxed,
    "mcq": boxed,
    "json_schema": lambda reference: json.dumps(reference["value"]),
    "length_control": lambda reference: " ".join(TEXT.split()[:reference]),
    "reference_judge": lambda reference: f"It is {reference}, of course.",
    "preference_open": lambda reference: PROSE,
}


@pytest.fixture(scope="module")
def config():
    return load_config(find_config("configs/demo/general.yaml"))


@pytest.fixture(scope="module")
def prompts(config):
    return drawn_prompts(config, 80)


def test_all_kinds_of_rewards_are_mixed(config, prompts):
    assert {prompt.task for prompt in prompts} == TASKS
    assert len({prompt.id for prompt in prompts}) > 40
    assert config.rewards.judge.serve
    assert config.rewards.preference.serve
    assert set(config.rewards.combine) <= TASKS


async def test_each_prompt_is_judged_by_the_task_that_it_names(config, prompts):
    by_task = defaultdict(list)
    for prompt in prompts:
        by_task[prompt.task].append(prompt)
    chosen = [prompt for members in by_task.values() for prompt in members[:3]]
    requests = [
        RewardRequest(
            task=prompt.task,
            question=[dict(message) for message in prompt.messages],
            response=ANSWERS[prompt.task](prompt.reference),
            reference=prompt.reference,
            params=dict(prompt.params),
        )
        for prompt in chosen
    ]
    with FakeModelServer() as judge, FakeModelServer(logit=2.0) as preference:
        served = {
            "judge": config.rewards.judge.model_copy(update={"url": f"{judge.url}/v1"}),
            "preference": config.rewards.preference.model_copy(update={"url": preference.url}),
        }
        async with Scorer(config.rewards.model_copy(update=served)) as scorer:
            good = await scorer.score(requests)
            bad = await scorer.score([request.model_copy(update={"response": "?"}) for request in requests])
    liked = {"reference_judge": 1 + 0.3 * 2, "preference_open": 0.3 * 2}
    for prompt, result in zip(chosen, good, strict=True):
        assert result.score == pytest.approx(liked.get(prompt.task, 1)), (prompt, result)
    for prompt, best, worst in zip(chosen, good, bad, strict=True):
        assert worst.score is not None, (prompt, worst)
        assert worst.score < best.score
