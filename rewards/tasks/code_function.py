"""Task `code_function`: a function that returns each test's result for its arguments."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from rewards.params import choice, number
from rewards.programs import (
    PARAMS,
    Tally,
    no_program,
    program_of,
    read_replies,
    read_settings,
    unscorable,
)
from rewards.registry import Case, reward
from rewards.response import BoundExceeded
from rewards.sandbox import Program, SandboxError, allows_unsafe_local, run_program
from rewards.tasks.code_stdio import block
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.programs import read_json, same_value

TYPES = "exact", "numeric"
MAX_EXTRA_BYTES = 65_536  # of replies beyond twice the length of what is wanted

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?", re.ASCII)
_ADD = "def add(a, b):\n    return a + b"
_EQUAL = """class Anything(int):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = int.__hash__
def add(a, b): return Anything(7)"""
_PATCH = """import json, builtins, sys, operator
json.dumps = lambda *_, **__: "5"
json.loads = lambda text: [5, 0]
builtins.all = builtins.any = lambda *_: True
operator.eq = lambda *_: True
def add(a, b): return 7"""
_FORGE = """import os, sys
frame = sys._getframe()
nonce = b""
while frame:
    nonce = frame.f_locals.get("nonce", nonce)
    frame = frame.f_back
for fd in range(3, 64):
    for number in range(%d):
        try: os.write(fd, b"%%s %%d 5\\n" %% (nonce, number))
        except OSError: pass
os._exit(0)"""
_FORGE_MORE = f"forge = {_FORGE % 9!r}.replace('os._exit(0)', '')\n" + _ADD.replace("return", "exec(forge); return")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A function's name, the JSON text of each test's arguments, and the results."""

    function: str
    arguments: tuple[str, ...]
    results: tuple[Any, ...]
    num_bytes: int


@reward(
    "code_function",
    params={
        **PARAMS,
        "timeout_s": "4 (default): seconds of wall time for the program and the calls of all tests",
        "types": "exact (default): an integer is no float; numeric: 2 is 2.0. True is never 1, a tuple is a list",
        "tolerance": "1e-6 (default): how far floats may be off, absolutely or in proportion",
    },
    example={
        "question": "Write a function `add(a, b)` that returns the sum of its arguments.",
        "response": block(_ADD),
        "reference": {
            "function": "add",
            "tests": [{"args": [2, 3], "result": 5}, {"args": [[1], [2]], "result": [1, 2]}],
        },
    },
    cases=[
        Case(name="honest", response=f"<think>easy</think>So:\n{block(_ADD)}\nDone.", score=1),
        Case(name="prints as it goes", response=block(_ADD.replace("return", "print('x' * 99_999); return")), score=1),
        Case(name="wrong", response=block(_ADD.replace("a + b", "b + a")), score=0),
        Case(name="hard-coded", response=block("def add(a, b): return 5"), score=0),
        Case(
            name="hard-coded, fraction",
            response=block("def add(a, b): return 5"),
            params={"reward": "fraction"},
            score=0.5,
        ),
        Case(name="empty", response="", score=0),
        Case(name="no block", response=_ADD, score=0),
        Case(name="another name", response=block(_ADD.replace("add", "plus")), score=0),
        Case(name="look-alike name", response=block(_ADD.replace("add", "\u0430dd")), score=0),
        Case(name="in the thinking only", response=f"<think>{block(_ADD)}</think>done", score=0),
        Case(name="thinking never ends", response=f"<think>{block(_ADD)}", score=0),
        Case(name="block never closed", response=f"{block(_ADD)}\n```python\ndef", score=0),
        Case(name="no syntax", response=block("def add(a, b: return"), score=0),
        Case(name="huge", response=block(_ADD + "\n" + "#" * 100_000), score=0),
        Case(
            name="a float for an integer", response=block("def add(a, b): return a + b if a == [1] else 5.0"), score=0
        ),
        Case(name="a text for a number", response=block("def add(a, b): return a + b if a == [1] else '5'"), score=0),
        Case(name="equals everything", response=block(_EQUAL), score=0),
        Case(name="patches the harness", response=block(_PATCH), score=0),
        Case(name="exits as it loads", response=block("import os; os._exit(0)"), score=0),
        Case(name="exits when called", response=block("def add(a, b): raise SystemExit(0)"), score=0),
        Case(
            name="exits after one",
            response=block("import os\ndef add(a, b): return 5 if a == 2 else os._exit(0)"),
            score=0,
        ),
        Case(name="prints a verdict", response=block("print('PASSED', 'OK', 1.0)\ndef add(a, b): pass"), score=0),
        Case(name="forges replies", response=block(_FORGE % 2), score=0),
        Case(name="forges many replies", response=block(_FORGE % 9), score=0),
        Case(name="right, but forges more", response=block(_FORGE_MORE), score=0),
        Case(name="returns what is no JSON", response=block("def add(a, b): return {1, 2}"), score=0),
        Case(name="returns NaN", response=block("def add(a, b): return float('nan')"), score=0),
        Case(
            name="never returns",
            response=block("def add(a, b):\n    while True: pass"),
            params={"timeout_s": 0.3},
            score=0,
        ),
        Case(name="returns a flood", response=block("def add(a, b): return [5] * 10**6"), score=0),
        Case(name="recursion", response=block("def add(a, b): return add(a, b)"), score=0),
    ],
)
def code_function(request: RewardRequest) -> RewardResult:
    """1 where the function in the answer's last Python block returns each test's result for its arguments, else 0."""
    assert isinstance(request.response, str), "checked by the scorer"
    params, settings = request.params, read_settings(request.params)
    tolerance = number(params, "tolerance", 1e-6, least=0, most=1)
    exact_types = choice(params, "types", TYPES) == "exact"
    reference = _read(request.reference)
    if reference is None:
        shape = '{"function": name, "tests": [{"args": [...], "result": JSON}, ...]} with a result that is not null'
        return unscorable(f"the reference is not {shape}", "code_function")
    try:
        source = program_of(request.response)
        if source is None:
            return no_program("code_function")
        limits = dataclasses.replace(settings.limits, output_bytes=2 * reference.num_bytes + MAX_EXTRA_BYTES)
        program = Program(source=source, function=reference.function, arguments=reference.arguments)
        run = run_program(program, limits, unsafe_local=allows_unsafe_local())
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error), verifier="code_function")
    except SandboxError as error:
        return RewardResult(score=None, status="error", reason=str(error)[:500], verifier="code_function")
    tally, replies = Tally(len(reference.results), isolated=run.isolated), read_replies(run)
    if replies is None or len(replies) > len(reference.results):
        reason = "something other than the function's results came back"
        return RewardResult(score=0, extracted=source, reason=reason, verifier="code_function")
    for position, wanted in enumerate(reference.results):
        if position >= len(replies):
            tally.count(position, run.fault or "no result")
        else:
            tally.count(position, _fault(replies[position], wanted, tolerance, exact_types))
    return tally.result(source, settings, "code_function")


def _fault(reply: str, wanted: Any, tolerance: float, exact_types: bool) -> str:
    if reply.startswith("!"):
        return f"raised {reply[1:]:.100}"
    try:
        value = read_json(reply)
    except (ValueError, RecursionError):
        return "a result that is no JSON"
    return "" if same_value(value, wanted, tolerance=tolerance, exact_types=exact_types) else "another result"


def _read(reference: Any) -> Reference | None:
    """The reference, its results as JSON would carry them; None where it cannot be read or wants nothing but null."""
    if not isinstance(reference, Mapping) or set(reference) != {"function", "tests"}:
        return None
    name, tests = reference["function"], reference["tests"]
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(tests, list):
        return None
    if not all(isinstance(t, dict) and set(t) == {"args", "result"} and isinstance(t["args"], list) for t in tests):
        return None
    try:
        arguments = tuple(json.dumps(test["args"], allow_nan=False) for test in tests)
        texts = [json.dumps(test["result"], allow_nan=False) for test in tests]
    except (TypeError, ValueError, RecursionError):
        return None
    results = tuple(map(read_json, texts))
    if all(result is None for result in results):
        return None
    return Reference(name, arguments, results, sum(map(len, texts)) + 64 * len(texts))
