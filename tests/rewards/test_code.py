"""The tasks of code: references, parameters, and what they say where programs cannot be isolated."""

import time
from types import SimpleNamespace

import pytest

from rewards import sandbox
from rewards.registry import load_tasks
from rewards.sandbox import Limits, Program, Run, SandboxError, run_program
from rewards.tasks import code_stdio
from rewards.tasks.code_stdio import block
from rewards.types import RewardRequest

ECHO = block("print(input())")
PASS = [{"input": "1", "output": "1"}]
IDENTITY = block("def f(x): return x")


def judge(task: str, response: str, reference, **params):
    request = RewardRequest(task=task, response=response, reference=reference, params=params)
    return load_tasks()[task].function(request)


def function_of(*tests, name: str = "f"):
    return {"function": name, "tests": [{"args": args, "result": result} for args, result in tests]}


@pytest.fixture
def isolated():
    try:
        sandbox.isolation()
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture
def not_isolated(monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewraps", lambda: iter(()))
    sandbox.isolation.cache_clear()
    yield
    sandbox.isolation.cache_clear()


@pytest.mark.parametrize("reference", [PASS, {"inputs": ["1", "2\n"], "outputs": ["1\n", "2"]}])
def test_references_of_code_stdio(isolated, reference):
    assert judge("code_stdio", ECHO, reference).score == 1


@pytest.mark.parametrize(
    "reference",
    [
        None, "", [], {}, 7, [1], [{}], [{"input": "1"}], [{"input": 1, "output": "1"}], [{"input": "1", "output": 1}],
        [{"input": "1", "output": "1", "more": 1}], [{"input": "1", "output": ""}], [{"input": "1", "output": " \n"}],
        {"inputs": ["1"], "outputs": []}, {"inputs": "1", "outputs": "1"}, {"inputs": [], "outputs": []},
    ],
)  # fmt: skip
@pytest.mark.parametrize("response", [ECHO, ""])
def test_references_of_code_stdio_that_cannot_be_read(reference, response):
    result = judge("code_stdio", response, reference)
    assert (result.score, result.status) == (None, "unscorable")


NESTED: list = []
for _ in range(5_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "reference",
    [
        None, "", [], {}, function_of(), function_of(([1], None)), function_of((1, 1)), function_of(([1], {1, 2})),
        function_of(([1], float("nan"))), function_of(([float("inf")], 1)), function_of(([1], 1), name="f()"),
        function_of(([1], 1), name="a.b.c"), function_of(([1], 1), name=""), function_of(([1], 1), name=None),
        function_of(([1], object())), {"function": "f", "tests": [{"args": [1]}]}, {"function": "f", "tests": 1},
        function_of(([1], NESTED)),
    ],
    ids=lambda reference: "nested" if "[[[[" in f"{type(reference)}" else None,
)  # fmt: skip
@pytest.mark.parametrize("response", [IDENTITY, ""])
def test_references_of_code_function_that_cannot_be_read(reference, response):
    result = judge("code_function", response, reference)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    ("source", "tests", "params", "score"),
    [
        ("def f(x): return x", [([1], 1), (["a"], "a"), ([None], None), ([[1.5, {"a": 1}]], [1.5, {"a": 1}])], {}, 1),
        ("def f(x): return (x, x)", [([1], [1, 1])], {}, 1),
        ("def f(x): return {x: 1}", [(["a"], {"a": 1})], {}, 1),
        ("def f(x): return x / 3", [([1], 0.333333333)], {}, 1),
        ("def f(x): return x / 3", [([1], 0.3333)], {}, 0),
        ("def f(x): return x / 3", [([1], 0.3333)], {"tolerance": 1e-3}, 1),
        ("def f(x): return x / 2", [([2], 1)], {}, 0),
        ("def f(x): return x / 2", [([2], 1)], {"types": "numeric"}, 1),
        ("def f(x): return x > 1", [([2], 1)], {"types": "numeric"}, 0),
        ("def f(x): return 10**5000", [([2], 1)], {}, 0),
        ("import sys; sys.set_int_max_str_digits(0)\ndef f(x): return 10**5000", [([2], 1)], {}, 0),
        ("def f(x):\n y = []\n for _ in range(900): y = [y]\n return y", [([2], 1)], {}, 0),
        ("def f(x): x.append(1); return len(x)", [([[]], 1), ([[]], 1)], {}, 1),
        ("def f(x): return 1 / x", [([0], 1.0), ([1], 1.0)], {"reward": "fraction"}, 0.5),
        ("import os\ndef f(x): return x if x < 2 else os._exit(0)", [([1], 1), ([2], 2)], {"reward": "fraction"}, 0.5),
        ("class f:\n def g(self, x): return x", [([1], 1)], {"name": "f.g"}, 1),
        ("class f:\n def g(self, x): return x", [([1], 1)], {"name": "f.h"}, 0),
        ("f = 7", [([1], 1)], {}, 0),
    ],
)  # fmt: skip
def test_functions(isolated, source, tests, params, score):
    name = params.pop("name", "f")
    assert judge("code_function", block(source), function_of(*tests, name=name), **params).score == score


@pytest.mark.parametrize("task", ["code_stdio", "code_function"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward", "most"), ("timeout_s", 0), ("timeout_s", "4"), ("timeout_s", True), ("timeout_s", float("nan")),
        ("memory_mib", 1), ("tolerance", -1),
    ],
)  # fmt: skip
def test_params_that_cannot_be_used_are_named(task, name, value):
    with pytest.raises(ValueError, match=f"params.{name}: "):
        judge(task, "", PASS, **{name: value})


def test_params_of_one_task_that_cannot_be_used_are_named():
    for params in ({"whitespace": "some"}, {"total_s": 0}):
        with pytest.raises(ValueError, match=f"params.{next(iter(params))}: "):
            judge("code_stdio", "", PASS, **params)
    with pytest.raises(ValueError, match=r"params\.types: "):
        judge("code_function", "", function_of(([1], 1)), types="some")


def test_all_runs_together_have_a_limit(isolated):
    source = block("import time; time.sleep(0.4); print(input())")
    result = judge("code_stdio", source, PASS * 9, total_s=1, reward="fraction")
    assert 0 < result.score < 0.5
    assert "wall time" in result.reason or "all tests together may take 1 s" in result.reason


def test_more_tests_than_can_be_started_in_the_time_are_the_references_fault(isolated):
    for response in (ECHO, block("print(2)"), ""):
        result = judge("code_stdio", response, PASS * 40, total_s=0.5)
        assert (result.score, result.status) == (None, "unscorable")
        assert "40 tests, whose starts alone take" in result.reason
        assert "raise params.total_s" in result.reason
    assert judge("code_stdio", ECHO, PASS * 40, total_s=60).score == 1


def slow(monkeypatch, *, start_s, own_s):
    """Programs that take so long to start, and then to run."""
    clock = [0.0]

    def run(program, limits, *, unsafe_local):
        taken_s = min(start_s + min(own_s, limits.wall_s), limits.whole_s)
        clock[0] += taken_s
        late = taken_s < start_s + own_s
        fault = f"wall time of {limits.wall_s:g} s" if late else ""
        return Run(nonce=b"", stdout=bytearray(b"1"), start_s=start_s, is_late=late, fault=fault)

    monkeypatch.setattr(code_stdio, "start_cost_s", lambda enough_s: 0.01)
    monkeypatch.setattr(code_stdio, "run_program", run)
    monkeypatch.setattr(code_stdio, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


@pytest.mark.parametrize("reward", ["all", "fraction"])
@pytest.mark.parametrize(
    ("start_s", "own_s", "num_tests", "passed", "status"),
    [
        (0.1, 0.05, 50, 1, "ok"),
        (0.1, 0.05, 60, None, "error"),  # 5.3 of 8 s are ours
        (0.05, 0.1, 60, 53 / 60, "ok"),
        (0.01, 3.0, 4, 2 / 4, "ok"),
        (0.01, 9.0, 2, 0, "ok"),
        (3.0, 0.1, 9, None, "error"),
        (0.01, 3.99, 2, 1, "ok"),
    ],
)
def test_time_that_starting_takes_is_not_the_answers_fault(
    isolated, monkeypatch, reward, start_s, own_s, num_tests, passed, status
):
    clock = slow(monkeypatch, start_s=start_s, own_s=own_s)
    result = judge("code_stdio", ECHO, PASS * num_tests, reward=reward)
    score = passed if passed is None or reward == "fraction" else float(passed == 1)
    assert (result.score, result.status) == (pytest.approx(score) if score is not None else None, status)
    assert clock[0] <= 8 + code_stdio.GRACE_S, "within the scorer's 10 s, whatever the program does"


def test_a_program_that_sleeps_is_too_slow_and_a_start_has_a_limit(isolated):
    start = time.monotonic()
    sleeps = block("import time; time.sleep(99)")
    result = judge("code_stdio", sleeps, PASS * 9, total_s=1, reward="fraction")
    assert (result.score, result.status) == (0, "ok")
    assert time.monotonic() - start < 1 + 2 * code_stdio.GRACE_S
    with pytest.raises(SandboxError, match=r"nothing started within 0\.001 s"):
        run_program(Program(source=""), Limits(whole_s=0.001))


def test_a_wrong_answer_ends_the_tests(isolated):
    result = judge("code_stdio", block("print(2)"), PASS * 5)
    assert (result.score, result.reason, result.components) == (0, "test 1 of 5: another output", {"passed": 0})


@pytest.mark.parametrize(
    ("task", "response", "reference"),
    [("code_stdio", ECHO, PASS), ("code_function", IDENTITY, function_of(([1], 1)))],
)
def test_without_isolation_nothing_is_judged_unless_that_is_allowed(
    not_isolated, monkeypatch, task, response, reference
):
    result = judge(task, response, reference)
    assert (result.score, result.status) == (None, "error")
    assert "cannot be isolated here" in result.reason
    assert "SHARPEN_UNSAFE_LOCAL" in result.reason
    assert judge(task, "", reference).score == 0, "no program, no need for isolation"
    assert judge(task, response, reference, unsafe_local=True).score is None, "a request has no say in it"
    monkeypatch.setenv("SHARPEN_UNSAFE_LOCAL", "1")
    allowed = judge(task, response, reference)
    assert (allowed.score, allowed.status) == (1, "ok")
    assert "ran without isolation" in allowed.reason


@pytest.mark.parametrize("task", ["code_stdio", "code_function"])
def test_hostile_cases_score_the_same_without_isolation(not_isolated, monkeypatch, task):
    monkeypatch.setenv("SHARPEN_UNSAFE_LOCAL", "1")
    registered = load_tasks()[task]
    for case in registered.cases:
        assert registered.function(registered.request(case)).score == case.score, case.name


def test_with_isolation_that_permission_changes_nothing(isolated, monkeypatch):
    monkeypatch.setenv("SHARPEN_UNSAFE_LOCAL", "1")
    result = judge("code_stdio", ECHO, PASS)
    assert (result.score, result.reason) == (1, "passes all 1 tests")


def test_wanted_outputs_never_reach_the_program(isolated):
    """A program that prints all it can find in memory, frames, files and descriptors finds no wanted output."""
    source = """
import gc, os, sys
found = [repr(o) for o in gc.get_objects() if isinstance(o, (str, bytes, list, dict, tuple))]
frame = sys._getframe()
while frame:
    found.append(repr(frame.f_locals))
    frame = frame.f_back
for fd in range(99):
    try: found.append(repr(os.pread(fd, 99_999, 0)))
    except OSError: pass
for folder, _, names in os.walk("/tmp"): found += names
needle = "".join(["Zq7", "Xv9"])
print("found" if any(needle in text for text in found) else "nothing")
"""
    result = judge("code_stdio", block(source), [{"input": "1", "output": "Zq7Xv9"}])
    assert result.reason == "test 1 of 1: another output"
    assert judge("code_stdio", block(source), [{"input": "1", "output": "nothing"}]).score == 1
