"""Tasks by name, plug-ins, and what the package imports."""

import dataclasses
import subprocess
import sys

import pytest

from rewards.registry import TASKS, Case, find_task, load_plugin, load_tasks, reward
from rewards.types import RewardRequest, RewardResult


@pytest.fixture(autouse=True)
def _tasks_as_before():
    before = dict(load_tasks())
    yield
    TASKS.clear()
    TASKS.update(before)


def test_a_task_is_known_by_its_name_with_what_a_user_needs():
    @reward("of_test", version="2", params={"p": "help"}, cases=[Case(name="c", response="", score=0)])
    def of_test(request):
        """One line."""
        return 0

    task = find_task("of_test", load_tasks())
    assert (task.description, task.version, task.params, len(task.cases)) == ("One line.", "2", {"p": "help"}, 1)
    assert task.function is of_test
    assert task.example.task == "of_test"


@pytest.mark.parametrize("task", ["math", "math_int", "mcq"])
@pytest.mark.parametrize("extract", ["boxed", "lenient"])
def test_thinking_that_never_ended_is_no_answer_where_the_prompt_opened_it(task, extract):
    """Templates of QwQ and of Qwen3's thinking models end prompts with an open `<think>`, which no response repeats."""
    reference = "B" if task == "mcq" else "5"
    answer = "B" if task == "mcq" else "5"
    cut = f"Let me think. Maybe \\boxed{{{answer}}}, the answer is {answer}, but wait"

    def score(response, block):
        params = {"think_block": block} | ({"options": 4} if task == "mcq" else {"extract": extract})
        request = RewardRequest(task=task, response=response, reference=reference, params=params)
        return load_tasks()[task].judge(request).score

    assert score(cut, "open") == 0
    assert score(f"{cut}</think>So \\boxed{{{answer}}}.", "open") == 1
    assert score(f"<think>{cut}</think>So \\boxed{{{answer}}}.", "open") == 1, "a model that writes it again"


def test_each_turn_of_an_interaction_begins_in_the_block_that_its_prompt_opened():
    seen = []
    task = dataclasses.replace(load_tasks()["agent_env"], function=lambda request: seen.append(request.response) or 0)
    turns = [{"role": "assistant", "content": "Hm."}, {"role": "tool", "content": "4"}]
    request = RewardRequest(task="agent_env", response=turns, params={"think_block": "open"})
    task.judge(request)
    task.judge(request.model_copy(update={"params": {}}))
    assert seen == [[{"role": "assistant", "content": "<think>\nHm."}, turns[1]], turns]


def test_every_task_that_ships_is_described_and_has_an_example_and_hostile_cases():
    for name in ("math", "math_int", "exact"):
        task = load_tasks()[name]
        assert task.description
        assert task.example.response
        assert task.respond is not None
        assert {case.score for case in task.cases} == {0, 1}


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown task 'mat'; did you mean 'math'\? known are .*math_int"):
        find_task("mat", load_tasks())


def test_two_modules_cannot_register_one_name(tmp_path):
    path = tmp_path / "clash.py"
    path.write_text("def math(request):\n    return 0\n")
    with pytest.raises(ValueError, match=r"task 'math' of .* is already registered by rewards.tasks.math; rename it"):
        load_plugin(f"{path}:math")


def test_a_plugin_is_a_file_a_module_or_a_function_in_either(tmp_path, monkeypatch):
    (tmp_path / "mod_a.py").write_text("def one(request):\n    return 1\n\ndef two(request):\n    return 2\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mod_a.py").write_text("def three(request):\n    return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    tasks = load_tasks((f"{tmp_path}/mod_a.py:one", "mod_a:two", f"{other}/mod_a.py:three"))
    request = RewardRequest(task="", response="")
    assert [tasks[name].function(request) for name in ("one", "two", "three")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "plugin", "message"),
    [
        (None, "{path}", "no file"),
        ("", "{path}:f", "has no function 'f'"),
        ("f = 1", "{path}:f", "has no function 'f'"),
        ("1 +", "{path}", "SyntaxError"),
        ("1 / 0", "{path}", "ZeroDivisionError"),
        (None, "no.such.module", "No module named .no."),
    ],
)
def test_what_cannot_be_imported_is_an_error_of_the_config(tmp_path, content, plugin, message):
    path = tmp_path / "plugin.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"rewards.plugins: .*{message}"):
        load_plugin(plugin.format(path=path))


@pytest.mark.parametrize(("score", "status"), [(None, "ok"), (0.0, "error"), (float("nan"), "ok"), (1.0, "timeout")])
def test_a_score_is_null_exactly_on_failure(score, status):
    with pytest.raises(ValueError, match="score"):
        RewardResult(score=score, status=status)


def test_the_scorer_and_the_command_load_nothing_heavy():
    program = (
        "import sys, rewards.scorer, rewards.cli, rewards.registry; rewards.registry.load_tasks()\n"
        "heavy = {'torch', 'ray', 'vllm', 'transformers', 'deepspeed', 'sympy', 'math_verify', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
