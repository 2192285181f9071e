"""The engine's context is fitted to prompt and response, within what the user or the model allows."""

import pytest

from rl.context import fit_context, fitting_prompts, max_positions
from rl.evals import EvalConfig
from rollout.chat import Chat
from rollout.engine import EngineConfig
from rollout.types import Prompt

SHORT, LONG = (
    Prompt(id=text, messages=({"role": "user", "content": text},), task="math", reference="1")
    for text in ("x", "y" * 50)
)


def config_of(max_tokens):
    return EvalConfig.model_validate({"suite": "aime24", "path": "a.jsonl", "sampling": {"max_tokens": max_tokens}})


def fit(tiny_model, max_tokens, engine=None):
    engine = EngineConfig() if engine is None else engine
    return fit_context(engine, tiny_model, [config_of(max_tokens)], {"aime24": [SHORT, LONG]}).max_context_tokens


def test_it_holds_the_longest_prompt_and_response(tiny_model):
    longest = len(Chat(tiny_model).render(LONG))
    assert fit(tiny_model, 500) == longest + 500
    assert max_positions(tiny_model) == 1024
    assert fit(tiny_model, 1024 - longest) == 1024, "all that the model has"


def test_beyond_the_model_the_remedy_is_a_number_that_fits(tiny_model):
    room = 1024 - len(Chat(tiny_model).render(LONG))
    with pytest.raises(
        ValueError, match=rf"suite aime24 .* max_position_embeddings is 1024: --max-tokens {room} or less"
    ):
        fit(tiny_model, room + 1)


def test_the_user_s_context_stays_and_is_checked(tiny_model):
    assert fit(tiny_model, 100, EngineConfig(max_context_tokens=400)) == 400
    assert fit(tiny_model, 1100, EngineConfig(max_context_tokens=4096)) == 4096, "a model may take more than it says"
    with pytest.raises(ValueError, match=r"engine\.max_context_tokens is 120: --max-tokens \d+ or less"):
        fit(tiny_model, 100, EngineConfig(max_context_tokens=120))
    with pytest.raises(ValueError, match="drop that prompt"):
        fit(tiny_model, 100, EngineConfig(max_context_tokens=20))


def test_a_hook_needs_no_room(tiny_model):
    hook = EvalConfig(suite="judge", hook="judge_canaries")
    assert fit_context(EngineConfig(), tiny_model, [hook], {}) == EngineConfig()


def test_training_says_before_it_starts_that_an_evaluation_will_not_fit(tiny_model, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"problem": "What is 1 + 1?", "answer": "2"}\n')
    values = {"suite": "aime24", "path": str(tmp_path / "a.jsonl"), "first": False, "sampling": {"max_tokens": 100}}
    config = EvalConfig.model_validate(values)
    (prompt,) = fitting_prompts(EngineConfig(max_context_tokens=400), tiny_model, [config])["aime24"]
    room = len(Chat(tiny_model).render(prompt)) + 100
    assert fitting_prompts(EngineConfig(max_context_tokens=room), tiny_model, [config])
    with pytest.raises(ValueError, match=rf"suite aime24 .* engine.max_context_tokens is {room - 1}"):
        fitting_prompts(EngineConfig(max_context_tokens=room - 1), tiny_model, [config])
    short = len(Chat(tiny_model).render(prompt))
    with pytest.raises(ValueError, match="drop that prompt"):
        fitting_prompts(EngineConfig(max_context_tokens=short), tiny_model, [config])
