"""The documents of the reward tasks say what is so."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.registry import load_tasks

DOCS = Path(__file__).parents[2] / "docs"
ROWS = re.findall(r"^\| `(\w+)` \|(.*)\|$", (DOCS / "tasks.md").read_text(), re.MULTILINE)
TASKS = {name: task for name, task in load_tasks().items() if task.is_ours}


def test_each_task_has_one_row_and_each_row_a_task():
    assert sorted(name for name, _ in ROWS) == sorted(TASKS)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_a_row_fills_its_columns_and_names_the_parameters(name, row):
    cells = [cell.strip() for cell in row.split("|")]
    assert len(cells) == 4
    assert all(cells)
    params = cells[1]
    same_as = re.findall(r"as `(\w+)`", params)
    named = set(re.findall(r"`(\w+)`", params)).union(*(TASKS[other].params for other in same_as if other in TASKS))
    assert set(TASKS[name].params) <= named


def test_the_other_documents_are_there():
    for page in ("tasks.md", "rewards.md", "instructions.md"):
        for link in re.findall(r"\]\((\w+\.md)\)", (DOCS / page).read_text()):
            assert (DOCS / link).is_file(), f"{page} links to {link}"


PAGE = (DOCS / "rewards.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROGRAM = "import sys; from rl.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's files, and a `sharpen` that is this tree's."""
    path = tmp_path_factory.mktemp("docs")
    plugin, script, verl = (text for language, text in BLOCKS if language == "python")
    for name, text in {"palindromes.py": plugin, "score.py": script, "mine.py": verl}.items():
        (path / name).write_text(text)
    sharpen = path / "bin" / "sharpen"
    sharpen.parent.mkdir()
    sharpen.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(PROGRAM)} "$@"\n')
    sharpen.chmod(0o755)
    return path


def run(command, folder):
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(DOCS.parent),
    }
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=300, cwd=folder, env=environment, check=False
    )


def test_the_page_has_its_blocks():
    assert [language for language, _ in BLOCKS] == ["python", *["console"] * 3, "python", "yaml", "python", "console"]


def test_commands_print_what_the_page_says(folder):
    lines = [line for language, text in BLOCKS if language == "console" for line in text.splitlines()]
    output = ""
    for line in lines:
        if not line.startswith("$ "):
            assert line in output
            continue
        answer = run(line.removeprefix("$ "), folder)
        assert answer.returncode == 0, f"{line}\n{answer.stdout}{answer.stderr}"
        output = answer.stdout


def test_the_script_prints_what_the_page_says(folder):
    answer = run(f"{shlex.quote(sys.executable)} score.py", folder)
    assert f"It prints `{answer.stdout.strip()}`." in PAGE, answer.stderr


def test_the_config_is_valid(folder):
    from rl.config_file import load_config

    (folder / "run.yaml").write_text(next(text for language, text in BLOCKS if language == "yaml"))
    config = load_config(folder / "run.yaml")
    assert config.rewards.plugins == ["palindromes.py"]
    assert config.prompts.sources[0].task == "palindrome"
