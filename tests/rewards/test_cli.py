import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sharpen(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rl.cli", "rewards", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_score_answers_each_line_in_order_whatever_it_is():
    lines = [
        '{"task": "math", "response": "\\\\boxed{4}", "reference": "4", "id": "a"}',
        "nonsense",
        '{"task": "nope", "response": "", "id": "c"}',
        '{"task": "math", "response": 7}',
        "[]",
        '{"task": "exact", "response": "Paris", "reference": "paris", "id": "f"}',
    ]
    answer = sharpen("score", text="\n".join(lines) + "\n")
    results = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [r["id"] for r in results] == ["a", None, "c", None, None, "f"]
    assert [r["score"] for r in results] == [1.0, None, None, None, None, 1.0]
    assert [r["status"] for r in results] == ["ok", "error", "error", "error", "error", "ok"]
    assert "known are exact, math, math_int" in results[2]["reason"]


def test_list_as_json():
    tasks = json.loads(sharpen("list", "--json").stdout)
    assert [task["name"] for task in tasks] == ["math", "math_int", "exact"]
    assert set(tasks[0]) == {"name", "description", "version", "params", "example"}


def test_check_passes_and_tells_a_refused_reference(tmp_path):
    assert sharpen("check").returncode == 0
    data = tmp_path / "rows.jsonl"
    rows = [{"task": "math", "reference": "4"}, {"task": "math_int", "reference": "1000"}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = sharpen("check", "--data", str(data))
    assert answer.returncode == 1
    assert "row 1: its own reference gets None" in answer.stdout
