"""The table of faults: its tests exist; and what a run says of a fault before it starts."""

import ast
import re
from pathlib import Path

import pytest

from rl.cli import main

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`( \(slow\))?", (ROOT / "docs/faults.md").read_text())


def test_every_row_of_the_table_names_a_test():
    rows = [line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith("| fault |")]
    assert len(faults) >= 20
    assert not [row for row in faults if "::test_" not in row]


@pytest.mark.parametrize(("file", "name", "slow"), NAMED, ids=[name for _, name, _ in NAMED])
def test_the_tests_of_the_table_exist(file, name, slow):
    text = (ROOT / file).read_text()
    tree = ast.parse(text)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions
    marks = [ast.unparse(decorator) for decorator in functions[name].decorator_list]
    all_slow = re.search(r"^pytestmark = .*mark\.slow", text, re.MULTILINE)
    assert bool(slow) == ("pytest.mark.slow" in marks or bool(all_slow))


@pytest.mark.parametrize(
    ("row", "said"),  # rows count from 0
    [('{"question": "1 + 1?", "reference": ', "row 1"), ('{"reference": "2"}', "row 1"), ("\x00\x01", "row 1")],
)
def test_a_corrupt_row_is_named_before_anything_starts(tmp_path, monkeypatch, capsys, row, said):
    def start(*_):
        raise AssertionError("nothing may start")

    monkeypatch.setattr("rl.recipes.grpo.open_parts", start)
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"question": "1 + 1?", "reference": "2"}\n' + row + "\n")
    source = f"prompts.sources=[{{path: {path}, task: math}}]"
    assert main(["run", "configs/smoke/grpo.yaml", source, f"log.dir={tmp_path}/runs", "log.sinks=[]"]) == 2
    message = capsys.readouterr().err
    assert f"{path}, {said}" in message.replace("\n", "")
    assert "Traceback" not in message
