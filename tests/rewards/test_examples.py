"""The examples do what their README says."""

import json
import random
import shlex
import subprocess
import sys
from pathlib import Path

from rewards.registry import find_task, load_tasks
from rewards.types import RewardRequest, RewardResult

ROOT = Path(__file__).parents[2]
PLUGIN = "examples/routes.py"
PROGRAM = "import sys; from rl.cli import main; sys.exit(main())"


def commands():
    lines = (ROOT / "examples" / "README.md").read_text().splitlines()
    return {line.split()[2]: line for line in lines if line.startswith("sharpen rewards ")}


def run(line):
    command, _, stdin = line.partition(" < ")
    arguments = shlex.split(command)[1:]
    data = (ROOT / stdin).read_bytes() if stdin else b""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], input=data, capture_output=True, timeout=300, cwd=ROOT
    )


def test_the_task_passes_its_cases_and_accepts_its_data():
    answer = run(commands()["check"])
    assert answer.returncode == 0, answer.stdout.decode() + answer.stderr.decode()
    assert b"routes: 20 of 20 cases pass" in answer.stdout
    assert b"math" not in answer.stdout, "the named task alone"
    assert b"examples/routes.jsonl: 5 accepted" in answer.stdout


def test_requests_have_their_scores():
    answer = run(commands()["score"])
    assert answer.returncode == 0, answer.stderr.decode()
    results = {result["id"]: result for result in map(json.loads, answer.stdout.splitlines())}
    assert {name: result["status"] for name, result in results.items()} == dict.fromkeys(results, "ok")
    scores = {name: round(result["score"], 3) for name, result in results.items()}
    assert scores == {"right": 1, "also right": 1, "longer": 0, "by ratio": 0.854, "made up": 0}


def test_each_problem_has_an_answer_that_scores_1_and_a_map_without_a_way_is_unscorable():
    from rl.plugins import find_function

    task = find_task("routes", load_tasks((str(ROOT / PLUGIN),)))
    assert task.respond is not None
    make = find_function(f"{ROOT / PLUGIN}:problem", {}, "generator")
    for seed in range(50):
        row = make(random.Random(seed))
        reference = row["reference"]
        request = RewardRequest(task="routes", response=task.respond(reference), reference=reference)
        result = task.judge(request)
        assert isinstance(result, RewardResult)
        assert result.score == 1, (row, result)
    islands = {"start": "A", "end": "C", "roads": [["A", "B", 1], ["C", "D", 1]]}
    result = task.judge(RewardRequest(task="routes", response="\\boxed{A -> C}", reference=islands))
    assert isinstance(result, RewardResult)
    assert (result.score, result.status) == (None, "unscorable")


def test_the_config_is_valid_and_names_the_task(monkeypatch):
    from rl.config_file import load_config
    from rl.sources import Source

    monkeypatch.chdir(ROOT)
    config = load_config("examples/routes.yaml", [])
    assert config.rewards.plugins == [PLUGIN]
    prompt = Source(config.prompts.sources[0], seed=0).prompt(0)
    assert (prompt.task, dict(prompt.params)) == ("routes", {"score": "ratio"})
