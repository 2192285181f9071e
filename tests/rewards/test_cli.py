"""`sharpen rewards` as a user meets it: in a process of its own, by its standard streams."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewards.types import RewardResult
from tests.fakes import FakeModelServer

PLUGIN = str(Path(__file__).parent / "plugins.py")
PROGRAM = """
import argparse, sys
from rewards.cli import add_commands
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    options = parser.parse_args()
    try:
        sys.exit(options.run(options))
    except ValueError as error:
        sys.exit(f"sharpen: {error}")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "program.py"
    path.write_text(PROGRAM)
    return [sys.executable, str(path), "rewards"]


def run(program, *arguments, stdin=b""):
    return subprocess.run([*program, *arguments], input=stdin, capture_output=True, timeout=100, check=False)


LINES = [
    (b'{"task": "math", "response": "\\\\boxed{7}", "reference": 7, "id": "a"}', ("a", 1, "ok", "")),
    (b'{"task": "math", "response": "\\\\boxed{8}", "reference": 7.0}', (None, 0, "ok", "")),
    (b"not JSON", (None, None, "error", "not a line of JSON")),
    (b"", (None, None, "error", "not a line of JSON")),
    (b"[]", (None, None, "error", "the request")),
    (b"null", (None, None, "error", "the request")),
    (b'{"id": "b"}', ("b", None, "error", "task: Field required")),
    (b'{"task": "mth", "response": "", "id": "c"}', ("c", None, "error", "did you mean 'math'")),
    (b'{"task": "math", "response": 7}', (None, None, "error", "response")),
    (b'{"task": "math", "response": "7", "id": 7}', (None, None, "error", "id: ")),
    (b'{"task": "math", "response": "7", "extra": 7}', (None, None, "error", "extra: ")),
    (b'{"task": "math", "response": "7", "params": []}', (None, None, "error", "params: ")),
    (b'{"task": "math", "response": "7", "reference": NaN}', (None, None, "error", "NaN is not JSON")),
    (b'{"task": "math", "response": "7", "reference": null}', (None, None, "unscorable", "reference")),
    (b'{"task": "math", "response": "\\\\boxed{7}", "reference": 1e999}', (None, None, "unscorable", "inf")),
    (b'{"task": "math", "response": "\\ud800 \\\\boxed{7}", "reference": 7}', (None, 1, "ok", "")),
    (b'{"task": "\\ud800", "response": ""}', (None, None, "error", "unknown task")),
    (b"\xff\xfe", (None, None, "error", "not a line of JSON")),
    (b"[" * 100_000, (None, None, "error", "not a line of JSON")),
    (b'{"task": "math", "response": "' + b"7" * 2_000_000 + b'", "reference": 7}', (None, 0, "ok", "characters")),
    (b'{"task": "breaks", "response": "print", "id": "p"}', ("p", 1, "ok", "")),
    (b'{"task": "breaks", "response": "os exit", "id": "x"}', ("x", None, "error", "died with code 3")),
    (b'{"task": "breaks", "response": "hang", "id": "h"}', ("h", None, "timeout", "wall time")),
    (b'{"task": "math_int", "response": "\\\\boxed{070}", "reference": "70", "id": "z"}', ("z", 1, "ok", "")),
]


def test_score_answers_every_line_in_order(program):
    stdin = b"\n".join(line for line, _ in LINES)
    done = run(program, "score", "--workers", "2", "--timeout", "1", "--plugin", PLUGIN, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    results = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(results) == len(LINES)
    for (line, (identity, score, status, reason)), result in zip(LINES, results, strict=True):
        assert (result["id"], result["score"], result["status"]) == (identity, score, status), (line[:80], result)
        assert reason in result["reason"], (line[:80], result)
        assert list(result) == list(RewardResult.model_fields)
    assert b"not a result" in done.stderr, "what a plug-in prints is a log"


def test_score_answers_before_the_input_ends(program):
    arguments = [*program, "score", "--workers", "1"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line, (_, score, _, _) in LINES[:3]:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["score"] == score
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 0


def test_score_ends_where_nobody_reads_its_results(program):
    endless = f"yes '{LINES[0][0].decode()}'"
    command = f"{endless} | {shlex.join(program)} score --workers 1 | head -1; echo ${{PIPESTATUS[1]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    first, code = done.stdout.splitlines()
    assert (json.loads(first)["score"], code) == (1, "1")
    assert "Traceback" not in done.stderr


def test_score_reads_no_further_ahead_than_it_must(program):
    hang, line = (b'{"task": "breaks", "response": "hang"}\n', LINES[0][0] + b" " * 10_000 + b"\n")
    arguments = [*program, "score", "--workers", "1", "--timeout", "30", "--plugin", PLUGIN]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        taken, deadline = process.stdin.raw.write(hang), time.monotonic() + 3
        while time.monotonic() < deadline:
            taken += process.stdin.raw.write(line) or 0
            time.sleep(0.005)
        process.kill()
    assert taken < 1_000_000, "16 lines, and what a pipe and a buffer hold"


def test_list_as_json_and_as_a_table(program):
    done = run(program, "list", "--json", "--plugin", PLUGIN)
    tasks = {task["name"]: task for task in json.loads(done.stdout)}
    assert {"math", "math_int", "exact"} < set(tasks)
    assert list(tasks).index("odd") > list(tasks).index("math_int"), "what plug-ins add comes last"
    assert set(tasks["math"]) == {"name", "description", "params", "example", "version"}
    assert set(tasks["math"]["params"]) == {"extract", "evaluated", "judge"}
    assert tasks["math"]["example"]["reference"] == "3/4"
    assert tasks["odd"] | {"example": None} == {
        "name": "odd",
        "description": "1 where the response is an odd number.",
        "params": {},
        "example": None,
        "version": "7",
    }
    table = run(program, "list").stdout.decode()
    assert re.search("^math_int +1 where the final answer is the reference", table, re.MULTILINE)
    assert "evaluated: true (default)" in table


def test_check_passes_on_what_ships_and_names_what_fails(program, tmp_path):
    done = run(program, "check")
    assert done.returncode == 0, done.stdout
    assert b"math: 33 of 33 cases pass" in done.stdout

    broken = tmp_path / "broken.py"
    broken.write_text(
        "from rewards.registry import Case, reward\n"
        "@reward('always', cases=[Case(name='fine', response='', score=1), Case(name='never', response='', score=0)])\n"
        "def always(request):\n    print('loud')\n    return 1\n"
    )
    done = run(program, "check", "--plugin", str(broken))
    assert done.returncode == 1
    assert b"FAILED always, case 'never': score 1, expected 0\nalways: 1 of 2 cases pass" in done.stdout
    assert b"loud" not in done.stdout


def test_check_finds_rows_that_their_own_verifier_refuses(program, tmp_path):
    data = tmp_path / "rows.jsonl"
    rows = [
        {"task": "math", "reference": "\\frac{1}{2}"},
        {"task": "math_int", "reference": 1000},
        {"task": "exact", "reference": ["a cat", "cat"]},
        {"task": "odd", "reference": 3},
        {"task": "math", "reference": "\\frac{"},
    ]
    data.write_text("\n".join(map(json.dumps, rows)))
    done = run(program, "check", "--data", str(data), "--plugin", PLUGIN)
    assert done.returncode == 1
    output = done.stdout.decode()
    assert f"{data}:2: its own reference is not accepted: status unscorable" in output
    assert f"{data}:5: its own reference is not accepted: status unscorable" in output
    assert "2 FAILED, 2 accepted, 1 not checked" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "--workers", "0"], b"--workers: 0"),
        (["score", "--timeout", "0"], b"--timeout: 0"),
        (["score", "--plugin", "no_such_module"], b"rewards.plugins: cannot import 'no_such_module'"),
        (["check", "--judge", "http://127.0.0.1:1/v1"], b"--judge-model is missing"),
        (["check", "--judge-model", "judge"], b"--judge is missing"),
        (["score", "--preference", "127.0.0.1:1"], b"does not start with http:// or https://"),
        (["check", "--data", "no_such_file.jsonl"], b"cannot read no_such_file.jsonl"),
    ],
)
def test_mistakes_of_the_user_are_one_message(program, arguments, message):
    done = run(program, *arguments)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert message in done.stderr
    assert done.stdout == b"" or arguments[0] == "check"


def test_score_asks_the_judge_that_is_named(program):
    line = b'{"task": "reference_judge", "question": "Capital?", "response": "It is Canberra", "reference": "Canberra"}'
    with FakeModelServer() as server:
        judge = ["--judge", f"{server.url}/v1", "--judge-model", "gullible"]
        done = run(program, "score", "--workers", "1", *judge, stdin=line)
    assert json.loads(done.stdout) | {"ms": 0} == {
        "id": None, "score": 1, "status": "ok", "components": {}, "extracted": None, "reason": "the judge: correct",
        "verifier": "reference_judge", "version": "1", "ms": 0,
    }  # fmt: skip
    assert b"gullible accepts 100% of the hostile canaries" in done.stderr
    without = json.loads(run(program, "score", "--workers", "1", stdin=line).stdout)
    assert (without["score"], without["status"]) == (None, "error")
    assert "set rewards.judge.url" in without["reason"]
