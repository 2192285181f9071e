"""The documents of the reward tasks say what is so."""

import re
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
