"""The demo of over twenty tasks: its config loads, its first steps draw every task, and right answers are paid."""

import json
from collections import Counter, defaultdict

import pytest

from rewards.registry import boxed
from rewards.scorer import Scorer
from rewards.types import RewardRequest
from rl.abilities import FUNCTIONS
from rl.config_file import find_config, load_config
from tests.rl.examples import drawn_prompts

MODEL_BASED = {"reference_judge", "preference_open", "creative_checklist", "safety_over_refusal"}
PROSE = "The old grey cat by our door sleeps all day long and hunts for mice in every dark corner at night"
SENTENCES = {"de": "Wir liegen am Strand und schwimmen.", "es": "Nadamos y dormimos en la playa."}


def code(text: str) -> str:
    return f"```python\n{text}\n```"


def call(name: str, **arguments) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def function(prompt) -> str:
    bodies = {"doubles a number": "2 * n", "squares a number": "n * n", "adds one": "n + 1"}
    (what,) = [what for what in FUNCTIONS if what in prompt.messages[-1]["content"]]
    return code(f"def f(n):\n    return {bodies[what]}")


def program(prompt) -> str:
    symbol = "+" if "sum" in prompt.messages[-1]["content"] else "*"
    return code(f"print(int(input()) {symbol} int(input()))")


ANSWERS = {
    "math": lambda p: boxed(p.reference),
    "math_int": lambda p: boxed(p.reference),
    "math_numeric_unit": lambda p: boxed(p.reference),
    "math_set_interval_tuple_matrix": lambda p: boxed(p.reference),
    "math_equation_function": lambda p: boxed(p.reference),
    "mcq": lambda p: boxed(p.reference),
    "reasoning_gym": lambda p: boxed(p.reference["entry"]["answer"]),
    "code_function": function,
    "code_stdio": program,
    "sql": lambda p: p.reference["query"],
    "ifeval": lambda p: f"{PROSE}.",
    "ifbench_other_constraints": lambda p: "It rests. It waits. Why?",
    "multi_turn_if": lambda p: '"Rome"',
    "length_control": lambda p: " ".join(PROSE.split()[: p.reference]),
    "json_schema": lambda p: json.dumps(p.reference["value"]),
    "structured_other": lambda p: "\n".join(f"{name}: {value}" for name, value in p.reference["value"].items()),
    "answer_format_regex_template": lambda p: "City: Paris\nSure: yes",
    "language_consistency": lambda p: SENTENCES.get(p.reference, "Nous nageons et nous dormons sur la plage."),
    "think_format": lambda p: f"<think>\n{'Which?' if p.reference == 'think' else ''}\n</think>\n\nRome.",
    "exact": lambda p: p.reference,
    "qa_f1": lambda p: p.reference,
    "abstain_counterfactual": lambda p: p.reference["answer"][0],
    "rag_grounded": lambda p: f"It was built then [1].\nAnswer: {p.reference['answers'][0]}",
    "summarisation": lambda p: p.reference,
    "translation": lambda p: p.reference[0],
    "repetition": lambda p: PROSE,
    "tool_call": lambda p: call("weather", city=p.reference[0]["arguments"]["city"]),
    "agent_env": lambda p: [
        {"role": "assistant", "content": call("close")},
        {"role": "tool", "content": "closed", "state": p.reference["state"]},
    ],
}
WRONG = {
    "language_consistency": "Yes, that is what we do.",
    "repetition": "no no " * 50,
    "think_format": "<think>\nWhy",
}


@pytest.fixture(scope="module")
def config():
    return load_config(find_config("configs/demo/twenty_tasks.yaml"))


@pytest.fixture(scope="module")
def prompts(config):
    return drawn_prompts(config, config.num_steps * config.groups_per_step)


def test_every_task_is_drawn_within_the_steps_of_the_demo(config, prompts):
    counts = Counter(prompt.task for prompt in prompts)
    assert set(counts) == set(ANSWERS) | MODEL_BASED
    assert len(counts) > 20
    assert [prompt.environment.name for prompt in prompts if prompt.task == "agent_env"] == ["ledger"] * counts[
        "agent_env"
    ]


async def test_right_answers_are_paid_and_wrong_ones_less(config, prompts):
    by_task = defaultdict(list)
    for prompt in prompts:
        by_task[prompt.task].append(prompt)
    chosen = [prompt for task, members in by_task.items() if task in ANSWERS for prompt in members[:3]]

    def request(prompt, response) -> RewardRequest:
        if prompt.task == "agent_env" and isinstance(response, str):
            response = [{"role": "assistant", "content": response}]
        question = [dict(message) for message in prompt.messages]
        return RewardRequest(
            task=prompt.task,
            question=question,
            response=response,
            reference=prompt.reference,
            params=dict(prompt.params),
        )

    rules_alone = config.rewards.model_copy(update={"judge": None, "preference": None, "combine": {}})
    async with Scorer(rules_alone) as scorer:
        good = await scorer.score([request(prompt, ANSWERS[prompt.task](prompt)) for prompt in chosen])
        bad = await scorer.score([request(prompt, WRONG.get(prompt.task, "?")) for prompt in chosen])
    for prompt, best, worst in zip(chosen, good, bad, strict=True):
        assert best.score is not None, (prompt, best)
        assert best.score > 0.9, (prompt, best)
        assert worst.score is not None, (prompt, worst)
        assert worst.score < best.score, (prompt, worst)
