"""`sharpen eval` before anything starts: what the flags become, and faults that are one message."""

import json

import pytest

from rl.cli import main
from rl.recipes import evaluate

ROW = {"problem": "What is 1 + 1?", "answer": "002"}


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """The configs that would have been evaluated."""
    seen = []

    async def stop_here(config, log):
        seen.append(config)
        raise ValueError("enough")

    monkeypatch.setattr(evaluate, "evaluate", stop_here)
    monkeypatch.chdir(tmp_path)
    return seen


def run(*arguments):
    return main(["eval", "--model", "package:tiny-qwen3", *arguments])


def test_the_flags_are_fields_of_each_suite(configs):
    assert run("--suite", "aime24, gpqa", "--mode", "non-thinking", "--max-tokens", "99", "evals.1.limit=5") == 2
    (config,) = configs
    assert [(e.suite, e.samples_per_prompt, e.sampling.max_tokens, e.limit) for e in config.evals] == [
        ("aime24", 64, 99, None),
        ("gpqa", 10, 99, 5),
    ]
    assert {e.sampling.presence_penalty for e in config.evals} == {1.5}


def test_a_resumed_evaluation_is_the_same_one(configs, capsys):
    flags = ["--suite", "arithmetic", "log.name=first"]
    run(*flags)
    assert run(*flags, "--resume", "runs/first", "log.sinks=[tensorboard]") == 2
    assert "enough" in capsys.readouterr().err
    assert len(configs) == 2
    assert run(*flags, "--resume", "runs/first", "--samples", "8") == 2
    error = capsys.readouterr().err
    assert "--resume: evals.0.samples_per_prompt (4 -> 8) changed since the run began; only hardware, log may" in error
    assert run(*flags, "--resume", "runs/none") == 2
    assert "runs/none is no run folder" in capsys.readouterr().err
    assert len(configs) == 2


def test_a_file_is_a_suite_of_its_own(configs):
    run("--suite", "mine.jsonl,arithmetic", "--samples", "3")
    (config,) = configs
    assert [
        (e.suite, e.source and e.source.path, e.samples_per_prompt, e.sampling.temperature) for e in config.evals
    ] == [
        ("mine", "mine.jsonl", 3, 1.0),
        ("arithmetic", None, 3, 1.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "aime42"], "unknown suite 'aime42'; known are aime24, aime25, math500, gsm8k, gpqa, ifeval"),
        (["--suite", "aime24,aime25", "--data", "a.jsonl"], "--data a.jsonl is the file of one suite"),
        (["--suite", "arithmetic", "--data", "a.jsonl"], "path is for a built-in suite of a dataset"),
        (["--suite", "aime24", "--samples", "0"], "samples_per_prompt"),
        (["--suite", "aime24", "--max-tokens", "0"], "max_tokens"),
        (["--suite", "aime24", "--out", "nowhere/metrics.json"], "--out nowhere/metrics.json: no folder nowhere"),
    ],
)
def test_a_fault_is_one_message(configs, capsys, arguments, message):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
    assert configs == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW | {"answer": "1/2"}], "row 0: answer '1/2' is no integer from 0 to 999"),
        ([ROW], "max_position_embeddings is 1024: --max-tokens"),
        ([ROW, ROW], "more than once"),
    ],
)
def test_bad_data_and_a_small_model_are_found_before_an_engine_starts(tmp_path, monkeypatch, capsys, rows, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(evaluate, "ray_session", lambda *_: pytest.fail("nothing may start"))
    assert run("--suite", "aime24", "--data", "a.jsonl") == 2
    assert message in capsys.readouterr().err


def test_no_file_no_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("--suite", "aime24", "--data", "missing.jsonl") == 2
    assert "suite aime24: no file missing.jsonl" in capsys.readouterr().err
