"""Schoolwork: what is held out is never trained on, the teacher is right but for its faults, flags say the mode."""

import random

import pytest

from rl.schoolwork import (
    calculation,
    in_answer,
    lesson,
    mode_task,
    plain_conversation,
    solve,
    spell,
    teacher,
    with_flag,
    word_task,
    work,
)
from rl.sources import SourceConfig, to_prompt
from rollout.chat import last_flag


def many(make, count=400, **options):
    rng = random.Random(0)
    return [make(rng, **options) for _ in range(count)]


@pytest.mark.parametrize("make", [calculation, word_task])
def test_what_is_held_out_is_never_trained_on(make):
    """Commuted sums and both tasks with one word are on one side."""

    def key(row):
        words = row["question"].replace("?", "").split()
        return tuple(sorted(words[2:])) if row["task"] == "math" else words[1]

    trained = {key(row) for row in many(make, 3000)}
    held_out = {key(row) for row in many(make, split="held_out")}
    assert len(held_out) > 50
    assert not trained & held_out


def test_references_are_right():
    for row in many(calculation):
        a, symbol, b = row["question"].removeprefix("What is ").removesuffix("?").split()
        assert int(row["reference"]) == (int(a) + int(b) if symbol == "+" else int(a) - int(b)) >= 0
    for row in many(word_task):
        kind, word = row["question"].split(": ")
        assert row["reference"] == (word if kind == "Repeat" else word[::-1])


@pytest.mark.parametrize(
    ("a", "b", "symbol"), [(58, 67, "+"), (904, 8, "+"), (710, 193, "-"), (100, 99, "-"), (5, 5, "-")]
)
def test_the_steps_lead_to_the_result(a, b, symbol):
    values = [int(step.partition("=")[2]) for step in work(a, b, symbol).split(", ")]
    result = sum(value % 10 * 10**place for place, value in enumerate(values[:-1])) + values[-1] * 10 ** (
        len(values) - 1
    )
    assert result == (a + b if symbol == "+" else a - b)


def test_words_are_spelled_in_the_order_in_which_they_are_written():
    assert spell("maso", back=False) == "m a s o, so maso"
    assert spell("maso", back=True) == "m a s o, back: o s a m, so osam"
    assert solve("Backwards: maso /think") == ("m a s o, back: o s a m, so osam", "osam")
    with pytest.raises(ValueError, match=r"all the teacher knows; got 'Why\?"):
        solve("Why?")


def test_the_teacher_is_right_but_for_its_faults():
    rows = many(calculation, 300) + many(word_task, 300)
    prompts = [to_prompt(row, SourceConfig(path="x"), "row") for row in rows]
    rng = random.Random(1)
    sound = [teacher(rng, prompt, fault_rate=0) for prompt in prompts]
    assert all(
        text.endswith(f"</think>\n\n{in_answer(row['reference'])}") for text, row in zip(sound, rows, strict=True)
    )
    rng = random.Random(1)
    faulty = sum(
        len(teacher(rng, prompt, fault_rate=1)) != len(text) for prompt, text in zip(prompts, sound, strict=True)
    )
    assert faulty > 300, "most faults show in the length; a wrong answer may not"


def test_the_last_flag_is_the_mode_asked_for():
    for row in many(mode_task):
        asked = last_flag([{"role": "user", "content": row["question"]}])
        assert row["reference"] == ("think" if asked else "no_think")
        assert row["task"] == "think_format"


def test_lessons_are_right_and_never_held_out():
    held_out = {row["question"] for make in (calculation, word_task) for row in many(make, 600, split="held_out")}
    for row in many(lesson):
        question, said = (message["content"] for message in row["messages"])
        steps, answer = solve(question)
        assert said == f"<think>\n{steps}\n</think>\n\n{in_answer(answer)}"
        assert question not in held_out


def test_plain_conversations_are_solved_without_thinking():
    for row in many(plain_conversation):
        question, answer = (message["content"] for message in row["messages"])
        assert "<think>" not in answer
        assert last_flag(row["messages"]) is None
        assert question
        assert answer


def test_an_unknown_flag_is_named():
    with pytest.raises(ValueError, match="known are think, no_think, any"):
        with_flag("q", "thnk", random.Random(0))
