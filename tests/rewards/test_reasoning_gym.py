"""The task `reasoning_gym`: every generator takes its own answer over JSON, and none pays for junk or runs it."""

import json

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rl.sources import Source, SourceConfig

PUZZLES = 3  # of each generator
SLOW_TO_MAKE = {"composite"}
NO_ANSWER = {
    "boxnet",
    "graph_color",
    "propositional_logic",
    "rubiks_cube",
    "rush_hour",
}  # entries without an answer of their own


def generators():
    import reasoning_gym.factory

    return sorted(set(reasoning_gym.factory.DATASETS) - SLOW_TO_MAKE)


def judge(response, reference, **params):
    request = RewardRequest(task="reasoning_gym", response=response, reference=reference, params=params)
    return load_tasks()["reasoning_gym"].function(request)


def tagged(answer, reference, **params):
    return judge(f"<answer>{answer}</answer>", reference, extract="answer_tag", **params)


@pytest.fixture(scope="module")
def puzzles():
    made = {}

    def make(name):
        if name not in made:
            source = Source(SourceConfig(reasoning_gym=name, limit=PUZZLES), seed=3)
            prompts = [source.prompt(index) for index in range(PUZZLES)]
            assert {prompt.task for prompt in prompts} == {"reasoning_gym"}
            made[name] = [json.loads(json.dumps(prompt.reference)) for prompt in prompts]
        return made[name]

    return make


@pytest.mark.parametrize("name", generators())
def test_a_generator_takes_its_own_answer_after_json(name, puzzles):
    for reference in puzzles(name):
        answer = reference["entry"]["answer"]
        if answer is None:
            assert name in NO_ANSWER
            continue
        if "Integral" in answer:  # it states the problem, and is no answer to it
            continue
        result = tagged(answer or '""', reference)
        assert (result.score, result.status) == (1, "ok"), (answer, result.reason)


JUNK = (
    "nan", "NaN", "inf", "-", ".", "?", "x", "perhaps", "None", "[]", "{}", "[NaN]", "()", "0/1", "1 or 2", "A, B, C",
    "I do not know the answer to this question.", "the answer is as above", "\\text{}", "'", "1e999999999", "__name__",
)  # fmt: skip


@pytest.mark.parametrize("name", generators())
def test_a_generator_pays_nothing_for_junk(name, puzzles):
    for reference in puzzles(name):
        answer = reference["entry"]["answer"]
        for junk in JUNK:
            if answer is not None and junk.strip().casefold() == answer.strip().casefold():
                continue
            result = tagged(junk, reference)
            assert (result.score, result.status) == (0, "ok"), (junk, answer, result)


@pytest.mark.parametrize("name", generators())
def test_a_generator_pays_nothing_for_an_answer_among_others(name, puzzles):
    for reference in puzzles(name):
        answer = reference["entry"]["answer"]
        if not answer:
            continue
        for stuffed in (
            f"{answer} or {answer}7",
            f"{answer}\n{answer}\n{answer}",
            f"not {answer}",
            f"{answer}, 7, 8, 9",
        ):
            if name == "sokoban" and stuffed.count(answer) == 3:  # moves after the last box are no fault
                continue
            result = tagged(stuffed, reference)
            assert (result.score, result.status) == (0, "ok"), (stuffed, result)


@pytest.mark.parametrize("name", generators())
def test_no_generator_runs_an_answer(name, puzzles, tmp_path):
    mark = tmp_path / "ran"
    reference = puzzles(name)[0]
    for code in (f"__import__('pathlib').Path({str(mark)!r}).touch()", f"[open({str(mark)!r}, 'w')]",
                 f"(lambda: open({str(mark)!r}, 'w'))()", f"sympify(\"open({str(mark)!r}, 'w')\")"):  # fmt: skip
        result = tagged(code, reference, floor=0)
        assert result.status == "ok"
        assert result.score < 1
        assert not mark.exists()
