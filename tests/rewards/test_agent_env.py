"""The task `agent_env`: what is believed, and what is counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.tasks.agent_env import read_feedback
from rewards.types import RewardRequest

GOAL = {"state": {"a": {"b": 1, "c": [2]}, "d": None}}
REACHED = {"a": {"b": 1, "c": [2]}, "d": None}


def judge(response, reference=GOAL, **params):
    return load_tasks()["agent_env"].function(
        RewardRequest(task="agent_env", response=response, reference=reference, params=params)
    )


def say(text="", **fields):
    return {"role": "assistant", "content": text, **fields}


def env(role="tool", **fields):
    return {"role": role, "content": "", **fields}


@pytest.mark.parametrize(
    ("state", "equal", "contains", "fraction"),
    [
        (REACHED, 1, 1, 1),
        (REACHED | {"d": 0}, 0, 0, 2 / 3),
        (REACHED | {"e": 1}, 0, 1, 3 / 4),
        ({"a": {"b": 1.0, "c": [2]}, "d": None}, 1, 1, 1),
        ({"a": {"b": True, "c": [2]}, "d": None}, 0, 0, 2 / 3),
        ({"a": {"b": 1, "c": [2, 3]}, "d": None}, 0, 0, 2 / 3),
        ({"a": {"b": 1, "c": [2]}}, 0, 0, 2 / 3),
        ({"a": 1}, 0, 0, 0),
        ({}, 0, 0, 0),
        (None, 0, 0, 0),
        ("reached", 0, 0, 0),
    ],
)
def test_states(state, equal, contains, fraction):
    messages = [say(), env(state=state)]
    assert judge(messages).score == equal
    assert judge(messages, state="contains").score == contains
    assert judge(messages, score="fraction").score == pytest.approx(fraction)


@pytest.mark.parametrize("role", ["assistant", "user", "system", "developer", "Tool", "TOOL", "tool ", None, ""])
def test_only_the_environment_is_believed(role):
    messages = [say(), env(state={}), {"role": role, "content": "", "state": REACHED, "reward": 1, "done": True}]
    assert judge(messages).score == 0
    assert judge([*messages[:1], env(reward=0), *messages[2:]], {"min_reward": 1}).score == 0


@pytest.mark.parametrize("role", ["tool", "environment"])
def test_both_roles_of_the_environment(role):
    assert judge([say(), env(role, state=REACHED)]).score == 1


SAID = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.sampled_from(["", "state: reached", '{"reward": 1}', "done"])},
    optional={
        "state": st.just(REACHED),
        "reward": st.just(1.0),
        "done": st.just(True),
        "violations": st.just([]),
        "tool_calls": st.just([{"state": REACHED, "role": "tool"}]),
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=6))
def test_nothing_that_the_model_writes_is_feedback(messages):
    bare = [{"role": "assistant", "content": ""} for _ in messages]
    assert read_feedback(messages) == read_feedback(bare)
    assert judge(messages).score == 0
    assert judge([env(state={}), *messages], {"state": REACHED, "max_steps": 9}).score == 0


def test_the_budget():
    goal = GOAL | {"max_steps": 2}
    assert judge([say(), env(state=REACHED)] * 2, goal).score == 1
    assert judge([say(), env(state=REACHED)] * 3, goal).score == 0
    assert judge([say(), *[env(state=REACHED)] * 3], goal).score == 0, "three calls in one message"
    assert judge([*[env(state={})] * 5, say(), env(state=REACHED)], goal).score == 1, "before the agent's first word"
    assert judge([say(), env(state=REACHED, done=True), *[env()] * 5], goal).score == 1, "after the end"
    assert judge([env(state=REACHED), say("Nothing to do.")], GOAL | {"max_steps": 0}).score == 1


def test_rewards():
    goal = {"min_reward": 0.5}
    assert judge([say(), env(reward=0.5)], goal).score == 1
    assert judge([say(), env(reward=1), env(reward=0)], goal).score == 0
    assert judge([say(), env(reward=1), env()], goal).score == 1
    assert judge([say(), env(reward=float("nan"))], goal).score == 0
    assert judge([say(), env(reward=1, state={})], GOAL | goal).score == 0
    assert judge([say(), env(reward=1, state=REACHED)], GOAL | goal).score == 1
    assert judge([say(), env(reward=0, state=REACHED)], GOAL | goal, score="fraction").score == 0


@pytest.mark.parametrize("text", ["<tool_response>", "x</tool_response>", "<think>a</think><tool_response>"])
def test_forged_responses(text):
    assert judge([say(text), env(state=REACHED)]).score == 0


def test_thinking_about_responses_is_no_forgery():
    assert judge([say("<think>the <tool_response> says so</think>ok"), env(state=REACHED)]).score == 1


@pytest.mark.parametrize("goal", [GOAL, {"min_reward": 1}])
def test_an_environment_that_reports_nothing_is_our_failure(goal):
    result = judge([say(), env(), say("Done.")], goal)
    assert (result.score, result.status) == (None, "error")


@pytest.mark.parametrize("fields", [{"reward": "1"}, {"reward": True}, {"violations": "none"}, {"violations": {}}])
def test_messages_that_no_runner_writes_are_errors(fields):
    with pytest.raises(ValueError, match="response:"):
        judge([say(), env(**fields)])


@pytest.mark.parametrize(
    "reference",
    [
        None,
        {},
        [],
        "x",
        {"max_steps": 3},
        {"min_reward": "1"},
        {"min_reward": True},
        {"min_reward": None},
        {"min_reward": float("nan")},
        {"state": 1, "min_reward": None},
        GOAL | {"max_steps": -1},
        GOAL | {"max_steps": 1.5},
        GOAL | {"max_steps": True},
    ],
)
@pytest.mark.parametrize("response", ["text", [say(), env(state=REACHED)]])
def test_references_that_cannot_be_read(reference, response):
    result = judge(response, reference)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize("params", [{"state": "some"}, {"score": 1}, {"require_done": "yes"}])
def test_unknown_params_are_errors(params):
    with pytest.raises(ValueError, match=r"params\."):
        judge([say()], **params)
