"""Suites: rows of each dataset's schema become the right prompts; what is not the suite's is refused."""

import json

import pytest
from pydantic import ValidationError

from rl import suites
from rl.evals import EvalConfig, suite_prompts
from rl.suites import SETTINGS, SUITES
from rollout.types import SamplingParams

AIME = {"id": 60, "problem": "Find $x$.", "solution": "So $\\boxed{073}$.", "answer": "073", "url": "u", "year": "2024"}
MATH_500 = {
    "problem": "Convert $(0,3)$.",
    "solution": "We have ...",
    "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
    "subject": "Precalculus",
    "level": 2,
    "unique_id": "test/precalculus/807.json",
}
GSM8K = {"question": "How many eggs?", "answer": "She sells <<9*200=1800>>1800 eggs.\n#### 1,800"}
GPQA = {
    "Question": "Which particle?",
    "Correct Answer": "the muon\n",
    "Incorrect Answer 1": "the pion",
    "Incorrect Answer 2": "the kaon",
    "Incorrect Answer 3": "the lion",
    "Record ID": "rec1",
}
IFEVAL = {
    "key": 1000,
    "prompt": "Write a summary without commas.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [
        {"num_words": None, "relation": None},
        {"num_words": 300, "relation": "at least"},
    ],
}


def prompts_of(tmp_path, suite, rows, **config):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return suite_prompts(EvalConfig.model_validate({"suite": suite, "path": str(path)} | config))


@pytest.mark.parametrize(
    ("suite", "row", "task", "reference", "question"),
    [
        ("aime24", AIME, "math_int", "73", "Find $x$."),
        ("aime25", {"ID": "2025-I-1", "Problem": "Find y.", "Answer": 7}, "math_int", "7", "Find y."),
        ("aime25", {"question": "Find the arc.", "answer": "336^\\circ"}, "math_int", "336", "Find the arc."),
        ("aime24", {"problem": "Find z.", "answer": 25.0}, "math_int", "25", "Find z."),
        ("math500", MATH_500, "math", MATH_500["answer"], "Convert $(0,3)$."),
        ("gsm8k", GSM8K, "math", "1800", "How many eggs?"),
    ],
)
def test_a_problem_is_asked_for_its_box(tmp_path, suite, row, task, reference, question):
    (prompt,) = prompts_of(tmp_path, suite, [row])
    assert (prompt.task, prompt.reference) == (task, reference)
    (message,) = prompt.messages
    wording = "\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert message == {"role": "user", "content": question + wording}


def test_the_options_of_gpqa_are_shuffled_by_the_question(tmp_path):
    rows = [GPQA | {"Question": f"Which particle, {n}?"} for n in range(40)]
    prompts = prompts_of(tmp_path, "gpqa", rows)
    for prompt in prompts:
        lines = prompt.messages[0]["content"].split("\n")
        assert sorted(line[3:] for line in lines[2:6]) == ["the kaon", "the lion", "the muon", "the pion"]
        assert f"{prompt.reference}) the muon" in lines
        assert (prompt.task, prompt.params) == ("mcq", {"options": 4})
    assert {prompt.reference for prompt in prompts} == set("ABCD")
    again = prompts_of(tmp_path, "gpqa", rows[::-1])
    assert again == prompts[::-1], "whatever the order and the file"


def test_ifeval_keeps_the_instructions_and_adds_no_wording(tmp_path):
    (prompt,) = prompts_of(tmp_path, "ifeval", [IFEVAL])
    assert prompt.messages[0]["content"] == "Write a summary without commas."
    assert prompt.task == "ifeval"
    assert prompt.reference == {name: IFEVAL[name] for name in ("instruction_id_list", "kwargs")}


async def test_each_suite_s_reward_takes_its_own_answer(tmp_path):
    """The real rewards, by every parser of the suite, on a right and on a wrong answer."""
    from rewards.registry import load_tasks
    from rewards.types import RewardRequest

    answers = {
        "aime24": (AIME, "\\boxed{73}", "\\boxed{74}"),
        "math500": (MATH_500, "\\boxed{(3, \\frac{\\pi}{2})}", "\\boxed{(3, 0)}"),
        "gsm8k": (GSM8K, "\\boxed{1800}", "\\boxed{18}"),
        "ifeval": (IFEVAL, "word " * 300, "word, " * 300),
        "gpqa": (GPQA, None, None),
    }
    for suite, (row, right, wrong) in answers.items():
        (prompt,) = prompts_of(tmp_path, suite, [row])
        if suite == "gpqa":
            right, wrong = f"\\boxed{{{prompt.reference}}}", f"\\boxed{{{'A' if prompt.reference != 'A' else 'B'}}}"
        for parser in SUITES[suite].parsers:
            for text, score in ((right, 1), (wrong, 0)):
                request = RewardRequest(
                    task=prompt.task,
                    question="?",
                    response=text,
                    reference=prompt.reference,
                    params=dict(prompt.params) | suites.PARSERS[parser],
                )
                assert load_tasks()[prompt.task].function(request).score == score, (suite, parser, text)


@pytest.mark.parametrize(
    ("suite", "row", "message"),
    [
        ("aime24", AIME | {"answer": "1000"}, "row 0: answer '1000' is no integer from 0 to 999"),
        ("aime24", AIME | {"answer": "-3"}, "is no integer from 0 to 999"),
        ("aime24", AIME | {"answer": "\\frac{1}{2}"}, "is no integer from 0 to 999"),
        ("aime24", AIME | {"answer": True}, "answer True is no integer"),
        ("aime24", {"problem": "x"}, "no field answer or reference or expected_answer; it has problem"),
        ("aime24", {"text": "x", "answer": 3}, "no field problem or question or prompt"),
        ("math500", MATH_500 | {"problem": ["x"]}, "the question must be a text"),
        ("gsm8k", GSM8K | {"answer": "many"}, "ends in no number"),
        ("gpqa", {k: v for k, v in GPQA.items() if k != "Incorrect Answer 3"}, "no field Incorrect Answer 3"),
        ("ifeval", IFEVAL | {"kwargs": [{}]}, "must be lists of one length"),
    ],
)
def test_a_row_that_is_not_the_suite_s_is_named(tmp_path, suite, row, message):
    with pytest.raises(ValueError, match=message) as caught:
        prompts_of(tmp_path, suite, [row])
    assert "give a file of the suite's fields" in str(caught.value)


def aime_rows(count):
    return [AIME | {"problem": f"Problem {n}."} for n in range(count)]


def test_a_file_may_hold_a_part_of_the_suite_which_is_said(tmp_path, caplog):
    assert len(prompts_of(tmp_path, "aime24", aime_rows(3))) == 3
    assert "suite aime24: 3 of its 30 questions" in caplog.text
    caplog.clear()
    assert len(prompts_of(tmp_path, "aime24", aime_rows(30))) == 30
    assert caplog.text == ""


def test_more_than_the_suite_is_not_the_suite(tmp_path):
    with pytest.raises(ValueError, match=r"holds 31 rows, the suite 30; set limit"):
        prompts_of(tmp_path, "aime24", aime_rows(31))
    assert len(prompts_of(tmp_path, "aime24", aime_rows(31), limit=10)) == 10


def test_the_dataset_must_be_whole(monkeypatch):
    asked = []

    def read(config, label):
        asked.append((config.dataset, config.name, config.split))
        yield from ((f"row {n}", row) for n, row in enumerate(aime_rows(15)))

    monkeypatch.setattr(suites, "named_rows", read)
    with pytest.raises(ValueError, match="dataset HuggingFaceH4/aime_2024 holds 15 rows, the suite 30"):
        suite_prompts(EvalConfig(suite="aime24"))
    assert len(suite_prompts(EvalConfig(suite="aime24", limit=15))) == 15
    assert asked == [("HuggingFaceH4/aime_2024", None, "train")] * 2


@pytest.mark.parametrize(
    ("suite", "error"),
    [
        ("aime25", ConnectionError("Couldn't reach 'math-ai/aime25' on the Hub")),
        ("gpqa", FileNotFoundError("Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub.")),
    ],
)
def test_a_dataset_that_cannot_be_had_is_named_with_the_remedy(monkeypatch, suite, error):
    import datasets

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match=rf"suite {suite}: .*{SUITES[suite].dataset}.*--data FILE.*hf auth login"):
        suite_prompts(EvalConfig(suite=suite))


def test_a_problem_is_in_a_suite_once(tmp_path):
    twice = [AIME, AIME | {"id": 61, "answer": "73"}]
    with pytest.raises(ValueError, match=r"suite aime24: a prompt is in it more than once: 'Find \$x\$"):
        prompts_of(tmp_path, "aime24", twice)
    with pytest.raises(ValueError, match="holds no row"):
        prompts_of(tmp_path, "aime24", [])


@pytest.mark.parametrize(
    ("suite", "samples", "max_tokens"),
    [("aime24", 64, 38912), ("aime25", 64, 38912), ("math500", 1, 32768), ("gpqa", 10, 32768), ("ifeval", 1, 32768)],
)
def test_the_settings_are_the_report_s(suite, samples, max_tokens):
    config = EvalConfig(suite=suite)
    assert config.samples_per_prompt == samples
    assert config.sampling == SamplingParams(temperature=0.6, top_p=0.95, top_k=20, max_tokens=max_tokens)
    other = EvalConfig(suite=suite, mode="non-thinking")
    assert other.sampling == SamplingParams(
        temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, max_tokens=max_tokens
    )
    assert EvalConfig.model_validate(config.model_dump()) == config, "as a resume reads it"


def test_what_the_config_says_stands_field_by_field():
    config = EvalConfig.model_validate(
        {"suite": "aime24", "samples_per_prompt": 6, "sampling": {"max_tokens": 100}, "extracts": ["boxed"]}
    )
    assert config.sampling == SETTINGS["thinking"].model_copy(update={"max_tokens": 100})
    assert (config.pass_k, config.extracts) == ([1, 2, 4, 6], ["boxed"])
    assert EvalConfig(suite="aime24").pass_k == [1, 2, 4, 8, 16, 32, 64]
    assert EvalConfig(suite="gsm8k").pass_k == []
    assert EvalConfig(suite="ifeval").extracts == ["strict", "loose"]


@pytest.mark.parametrize(("mode", "thinking"), [(None, None), ("thinking", True), ("non-thinking", False)])
def test_the_mode_is_what_the_template_is_told(tmp_path, mode, thinking):
    (prompt,) = prompts_of(tmp_path, "aime24", [AIME], mode=mode)
    assert prompt.thinking is thinking
    source = {"path": str(tmp_path / "rows.jsonl"), "thinking": True}
    own = EvalConfig.model_validate({"suite": "own", "mode": mode, "source": source})
    (prompt,) = suite_prompts(own)
    assert prompt.thinking is (True if thinking is None else thinking)
    assert own.sampling == (SETTINGS[mode] if mode else SamplingParams())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"suite": "arithmetic", "path": "x.jsonl"}, "path is for a built-in suite of a dataset"),
        ({"suite": "own", "source": {"path": "x"}, "path": "y"}, "path is for a built-in suite of a dataset"),
        ({"suite": "aime24", "mode": "deep"}, "thinking"),
        ({"suite": "aime24", "mode": ["thinking"]}, "thinking"),
        ({"suite": ["aime24"]}, "valid string"),
        ({"suite": "aime24", "sampling": 3}, "sampling"),
        ({"suite": "aime24", "samples_per_prompt": "x"}, "valid integer"),
        ({"suite": "aime24", "options": {"year": 24}}, "options of suite aime24"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(bad, message):
    with pytest.raises(ValidationError, match=message):
        EvalConfig.model_validate(bad)


def test_a_generator_s_suite_is_made_of_different_prompts():
    source = {"generator": "rl.schoolwork:word_task", "options": {"split": "held_out", "kind": "copying"}}
    words = suite_prompts(EvalConfig(suite="words", source=source, limit=300))
    assert len({prompt.id for prompt in words}) == 300
    assert suite_prompts(EvalConfig(suite="words", source=source, limit=20)) == words[:20]
    with pytest.raises(ValueError, match=r"makes no more than \d+ different prompts in 100000 draws; lower limit"):
        suite_prompts(EvalConfig(suite="words", source=source, limit=1000))
