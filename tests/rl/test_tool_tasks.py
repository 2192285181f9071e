"""Prompts with tools: no split shares a problem, and what is to be learned reaches the state that is paid."""

import random

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rl.config_file import find_config, load_config
from rl.evals import SUITES, EvalConfig, suite_prompts
from rl.prompts import PromptsConfig, PromptStream
from rl.tool_tasks import bookkeeping, calculation, product, product_turn
from rollout.environments.calculator import calculator
from rollout.environments.ledger import ledger


@pytest.mark.parametrize("make", [calculation, bookkeeping, product])
def test_splits_share_no_problem(make):
    train = {make(random.Random(n))["prompt"][-1]["content"] for n in range(300)}
    held_out = {make(random.Random(n), split="held_out")["prompt"][-1]["content"] for n in range(300)}
    assert len(train) > 200
    assert not train & held_out
    with pytest.raises(ValueError, match="split: unknown 'test'; known are train, held_out"):
        make(random.Random(0), split="test")


def test_renamed_accounts_are_the_same_problem():
    def amounts(split):
        rows = [bookkeeping(random.Random(n), split=split, up_to=3) for n in range(300)]
        return {
            tuple(sorted((start[name], goal[name]) for name in start))
            for row in rows
            for start, goal in [(row["environment"]["options"]["accounts"], row["reference"]["state"]["accounts"])]
        }

    assert not amounts("train") & amounts("held_out")


@pytest.mark.parametrize("suite", ["calculations", "bookkeeping"])
def test_suites_are_finite_and_have_their_environment(suite):
    prompts = suite_prompts(EvalConfig(suite=suite))
    assert len(prompts) == 200
    assert all(prompt.environment is not None for prompt in prompts)
    assert SUITES[suite].max_tokens >= 256


def test_books_that_reach_the_goal_are_paid_by_the_task_of_agents():
    row = bookkeeping(random.Random(0), transfers=1)
    start, goal = row["environment"]["options"]["accounts"], row["reference"]["state"]["accounts"]
    (source_name,) = [name for name in start if goal[name] < start[name]]
    (target_name,) = [name for name in start if goal[name] > start[name]]
    calls = (
        f'<tool_call>{{"name": "transfer", "arguments": {{"source": "{source_name}", "target": "{target_name}", '
        f'"amount": {start[source_name] - goal[source_name]}}}}}</tool_call>',
        '<tool_call>{"name": "close", "arguments": {}}</tool_call>',
    )
    for count, score in ((2, 1.0), (1, 0.0)):
        books = ledger(None, 0, accounts=start)
        messages = []
        for text in calls[:count]:
            messages += [{"role": "assistant", "content": text}, *books.step(text).messages]
        request = RewardRequest(task="agent_env", response=messages, reference=row["reference"])
        assert load_tasks()["agent_env"].function(request).score == score


def test_commuted_products_are_the_same_problem():
    def factors(split):
        questions = [product(random.Random(n), split=split, digits=(1, 1))["prompt"][-1]["content"] for n in range(300)]
        return {tuple(sorted(question.removeprefix("What is ").rstrip("?").split(" * "))) for question in questions}

    assert factors("held_out")
    assert not factors("train") & factors("held_out")
    with pytest.raises(ValueError, match="digits must be two counts from 1 to 9"):
        product(random.Random(0), digits=(3,))


@pytest.mark.parametrize("thinks", [True, False])
def test_the_turns_to_learn_from_reach_the_state_that_is_paid(thinks):
    """Followed turn by turn they score 1; the first turns hand in at once in a share, which only products known do."""
    firsts, seconds = [], []
    for n in range(400):
        row = product_turn(random.Random(n), guess_share=0.25, thinks=thinks)
        messages = row["messages"]
        assert ("<think>" in messages[-1]["content"]) is thinks is bool(row["thinking"])
        (firsts if len(messages) == 2 else seconds).append(messages)
    guesses = sum('"hand_in"' in messages[-1]["content"] for messages in firsts)
    assert len(firsts) == pytest.approx(200, abs=40)
    assert guesses / len(firsts) == pytest.approx(0.25, abs=0.1)
    for question, calculate, told, hand_in in seconds[:20]:
        a, b = map(int, question["content"].removeprefix("What is ").rstrip("?").split(" * "))
        desk = calculator(None, 0, hand_in=True)
        (answer,) = desk.step(calculate["content"]).messages
        assert answer["content"] == told["content"] == str(a * b)
        step = desk.step(hand_in["content"])
        assert step.is_done
        episode = [calculate, answer, hand_in, *step.messages]
        reference = {"state": {"handed_in": a * b}}
        for response, score in (
            (episode, 1.0),
            (episode[:2], 0.0),
            ([{"role": "assistant", "content": str(a * b)}], 0),
        ):
            request = RewardRequest(task="agent_env", response=response, reference=reference)
            assert load_tasks()["agent_env"].function(request).score == score


def test_the_demo_of_tools_is_judged_on_problems_that_it_never_sees():
    config = load_config(find_config("configs/demo/tools.yaml"))
    held_out = {p.messages[-1]["content"] for p in suite_prompts(EvalConfig(**config.vars["suite"]))}
    reinforce = config.stages["reinforce"].config
    stream = PromptStream(PromptsConfig(**reinforce["prompts"]), 0)
    asked = {stream.draw().prompt.messages[-1]["content"] for _ in range(reinforce["num_steps"] * 8)}
    assert len(held_out) == 150
    assert len(asked) > 80
    assert not held_out & asked


def test_no_turn_teaches_a_product_that_is_held_out():
    def asked(row):
        return next(m["content"] for m in row["messages"] if m["role"] == "user")

    taught = {asked(product_turn(random.Random(n))) for n in range(1000)}
    held_out = {product(random.Random(n), split="held_out")["prompt"][-1]["content"] for n in range(1000)}
    assert len(taught) > 400
    assert not taught & held_out
