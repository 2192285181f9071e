"""A think block is judged by where the rendered prompt leaves the response: from the template to the score."""

import pytest
import pytest_asyncio
from transformers import AutoTokenizer

from rewards.scorer import Scorer, ScorerConfig
from rl.judgement import judge, make_collect_group
from rl.prompts import Draw
from rollout.chat import Chat
from rollout.environments.registry import Step
from rollout.types import EnvironmentConfig, Prompt, SamplingParams
from tests.fakes import FakeEnvironment, FakePolicy, open_environment_sampler

PLAIN, THOUGHT, EMPTY = "The Red Sea.", "<think>\nHm.\n</think>\n\nThe Red Sea.", "<think>\n\n</think>\n\nThe Red Sea."
GO_ON, SHUT = "Hm.\n</think>\n\nThe Red Sea.", "\n</think>\n\nThe Red Sea."


@pytest.fixture(scope="module")
def chat(tiny_model):
    return Chat(tiny_model)


@pytest.fixture(scope="module")
def opening_chat(tiny_model, tmp_path_factory):
    """A model whose template opens the block of every response, as those of models that always think do."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template += "{%- if add_generation_prompt %}{{- '<think>\\n' }}{%- endif %}"
    folder = tmp_path_factory.mktemp("opening")
    tokenizer.save_pretrained(folder)
    return Chat(str(folder))


@pytest_asyncio.fixture(scope="module")
async def scorer():
    vetoed = {"veto": ["think_format"]}
    async with Scorer(ScorerConfig.model_validate({"num_workers": 1, "combine": {"exact": vetoed}})) as opened:
        yield opened


def prompt_of(text: str, task: str, thinking: bool | None, **fields) -> Prompt:
    reference = "The Red Sea." if task == "exact" else None
    messages = ({"role": "user", "content": text},)
    return Prompt(id="p", messages=messages, task=task, reference=reference, thinking=thinking, **fields)


async def scores(chat, scorer, prompt: Prompt, response: str) -> float | None:
    sampler = open_environment_sampler(FakePolicy(chat, lambda text, seed: response), lambda prompt, seed: None)
    collect = make_collect_group(sampler, scorer, sampling=SamplingParams(max_tokens=200), num_samples=1, seed=0)
    group = await collect(Draw(index=0, prompt=prompt))
    (reward,) = group.rewards
    assert reward.status == "ok", reward
    return reward.score


@pytest.mark.parametrize("task", ["think_format", "exact"])  # by itself, and as a veto
@pytest.mark.parametrize(
    ("text", "thinking", "right", "wrong"),
    [
        ("A sea?", True, THOUGHT, [PLAIN, EMPTY]),
        ("A sea?", None, THOUGHT, [PLAIN, EMPTY]),
        ("A sea? /no_think", True, EMPTY, [PLAIN, THOUGHT]),
        ("A sea?", False, PLAIN, [THOUGHT, EMPTY]),
        ("A sea? /no_think", False, PLAIN, [THOUGHT, EMPTY]),
        ("A sea? /think", False, PLAIN, [THOUGHT, EMPTY]),
    ],
)
async def test_without_thinking_the_prompt_holds_the_block(chat, scorer, task, text, thinking, right, wrong):
    prompt = prompt_of(text, task, thinking)
    assert await scores(chat, scorer, prompt, right) == 1
    assert [await scores(chat, scorer, prompt, each) for each in wrong] == [0] * len(wrong)


@pytest.mark.parametrize("task", ["think_format", "exact"])
async def test_a_prompt_that_opens_the_block_is_gone_on_from(opening_chat, scorer, task):
    prompt = prompt_of("A sea?", task, None)
    found = [await scores(opening_chat, scorer, prompt, each) for each in (GO_ON, THOUGHT, PLAIN, SHUT)]
    assert found == [1, 0, 0, 0]
    flagged = prompt_of("A sea? /no_think", task, None)
    found = [await scores(opening_chat, scorer, flagged, each) for each in (GO_ON, THOUGHT, PLAIN, SHUT)]
    assert found == [0, 0, 0, 1]


async def test_a_row_s_own_params_have_the_last_word(chat, scorer):
    prompt = prompt_of("A sea?", "think_format", False, params={"opened_by": "response"})
    assert [await scores(chat, scorer, prompt, each) for each in (PLAIN, THOUGHT)] == [0, 1]


async def test_every_turn_of_an_episode_begins_as_the_first(chat, scorer):
    environment = EnvironmentConfig(name="any", max_turns=2)
    prompt = prompt_of("A sea?", "think_format", False, environment=environment)

    def make(prompt, seed):
        return FakeEnvironment(lambda text: Step(messages=[{"role": "tool", "content": "no"}]), [])

    for response, score in ((PLAIN, 1), (THOUGHT, 0)):
        policy = FakePolicy(chat, lambda text, seed, said=response: said)
        sampler = open_environment_sampler(policy, make)
        group = await sampler.sample(prompt, params=SamplingParams(max_tokens=400), num_samples=1, seed=0)
        assert len(group.samples[0].episode.turns) == 2
        assert group.think_block == "closed"
        (result,) = await judge(scorer, group, "0", combine=False)  # as evaluations ask
        assert result.score == score
