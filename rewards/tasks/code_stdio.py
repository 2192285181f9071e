"""Task `code_stdio`: a program that answers each test's standard input with its standard output."""

import time
from collections.abc import Callable
from typing import Any

from rewards.params import choice, number
from rewards.programs import (
    PARAMS,
    Settings,
    Tally,
    no_program,
    program_of,
    read_settings,
    start_cost_s,
    unscorable,
)
from rewards.registry import Case, reward
from rewards.response import BoundExceeded
from rewards.sandbox import Limits, Program, Run, SandboxError, allows_unsafe_local, run_program
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.programs import WHITESPACE, same_output

MAX_EXTRA_BYTES = 65_536  # of output beyond the length of what is wanted
MAX_START_SHARE = 2 / 3  # of the time of all tests that starting them may take
FEW_TESTS = 32  # whose starts are not worth a trial
GRACE_S = 1.0  # beyond that time, in which the last of them starts

Test = tuple[str, str]


def block(source: str, language: str = "python") -> str:
    """A response that is a fenced block."""
    return f"```{language}\n{source}\n```"


_ADD = "a, b = map(int, input().split())\nprint(a + b)"
_PEEK = """import gc, sys
texts = [o for o in gc.get_objects() if isinstance(o, (dict, list, str))]
frame = sys._getframe()
while frame.f_back: frame = frame.f_back
print("5" if "output" in str(frame.f_locals) else frame.f_locals.get("wanted", texts[:1]))"""


@reward(
    "code_stdio",
    params={
        **PARAMS,
        "total_s": "8 (default): seconds of wall time for the runs of all tests, the sandbox's starts among them; the "
        "scorer's timeout_s is at least 2 s above it",
        "whitespace": "lines (default): white space at the end of a line and blank lines at the end do not count; "
        "tokens: only the words do; exact: all does",
        "tolerance": "0 (default): how far decimal numbers may be off, absolutely or in proportion",
    },
    example={
        "question": "Read two integers on one line and print their sum.",
        "response": block(_ADD),
        "reference": [{"input": "2 3\n", "output": "5\n"}, {"input": "-4 1\n", "output": "-3\n"}],
    },
    cases=[
        Case(name="honest", response=f"<think>easy</think>So:\n{block(_ADD)}\nDone.", score=1),
        Case(name="no language named", response=block(_ADD, ""), score=1),
        Case(name="example output after it", response=f"{block(_ADD)}\nprints\n{block('5', '')}", score=1),
        Case(name="last program counts", response=f"{block(_ADD)}\n{block('print(5)')}", score=0),
        Case(name="blanks at line ends", response=block(_ADD + "\nprint()\nprint('  ')"), score=1),
        Case(name="exact white space", response=block(_ADD + "\nprint()"), params={"whitespace": "exact"}, score=0),
        Case(name="wrong", response=block(_ADD.replace("+", "-")), score=0),
        Case(name="hard-coded", response=block("print(5)"), score=0),
        Case(name="hard-coded, fraction", response=block("print(5)"), params={"reward": "fraction"}, score=0.5),
        Case(
            name="another line, with a tolerance",
            response=block(_ADD + "\nprint(1)"),
            params={"tolerance": 0.1},
            score=0,
        ),
        Case(name="all answers", response=block("print(5)\nprint(-3)"), score=0),
        Case(name="empty", response="", score=0),
        Case(name="empty block", response=block(""), score=0),
        Case(name="no block", response=_ADD, score=0),
        Case(name="another language", response=block("#include <cstdio>", "cpp"), score=0),
        Case(name="block never closed", response=f"{block(_ADD)}\n```python\nimport", score=0),
        Case(name="in the thinking only", response=f"<think>{block(_ADD)}</think>done", score=0),
        Case(name="thinking never ends", response=f"<think>{block(_ADD)}", score=0),
        Case(name="no syntax", response=block("print('"), score=0),
        Case(name="right, then fails", response=block(_ADD + "\nraise SystemExit(3)"), score=0),
        Case(name="exits early", response=block("import os; os._exit(0)"), score=0),
        Case(name="look-alike letters", response=block(_ADD.replace("print", "\u0440rint")), score=0),
        Case(name="huge", response=block("#" * 100_000 + "\n" + _ADD), score=0),
        Case(name="claims success", response=block("print('all tests passed')\nprint(1.0)"), score=0),
        Case(name="reads frames", response=block(_PEEK), score=0),
        Case(name="output flood", response=block("while True: print('5' * 10_000)"), score=0),
        Case(name="sleeps", response=block("import time; time.sleep(99)"), params={"timeout_s": 0.3}, score=0),
        Case(name="fork bomb", response=block("import os\nwhile True: os.fork()"), score=0),
        Case(name="memory bomb", response=block("x = [0] * 10**9\nprint(5)"), score=0),
        Case(name="calls the network", response=block("import socket; socket.socket()\n" + _ADD), score=0),
    ],
)
def code_stdio(request: RewardRequest) -> RewardResult:
    """1 where the answer's last Python block prints each test's output when it reads that test's input, else 0.

    A program that has taken more time than our starts when `total_s` is over is too slow; else we are, and there is no
    score. Nor is there one where the starts of so many tests leave too little of it.
    """
    assert isinstance(request.response, str), "checked by the scorer"
    params, settings = request.params, read_settings(request.params)
    total_s = number(params, "total_s", 8, least=0.1, most=600)
    whitespace = choice(params, "whitespace", WHITESPACE)
    tolerance = number(params, "tolerance", 0, least=0, most=1)
    tests = _read_tests(request.reference)
    if tests is None:
        return unscorable('the reference is no list of {"input": text, "output": text}', "code_stdio")
    if not any(wanted.strip() for _, wanted in tests):
        return unscorable("no test of the reference wants any output", "code_stdio")
    if fault := _fault_of_count(len(tests), total_s):
        return unscorable(fault, "code_stdio")

    def is_right(output: str, wanted: str) -> bool:
        return same_output(output, wanted, whitespace=whitespace, tolerance=tolerance)

    try:
        source = program_of(request.response)
        if source is None:
            return no_program("code_stdio")
        tally = _run_tests(source, tests, settings, total_s, is_right)
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error), verifier="code_stdio")
    except SandboxError as error:
        return RewardResult(score=None, status="error", reason=str(error)[:500], verifier="code_stdio")
    return tally.result(source, settings, "code_stdio")


def _fault_of_count(num_tests: int, total_s: float) -> str:
    """Why so many tests cannot be run in the time; empty where they can, or where none can be run at all."""
    if num_tests <= FEW_TESTS:
        return ""
    most_s = MAX_START_SHARE * total_s
    try:
        starts_s = num_tests * start_cost_s(most_s / num_tests)
    except SandboxError:
        return ""
    if starts_s <= most_s:
        return ""
    return (
        f"the reference has {num_tests} tests, whose starts alone take {starts_s:.1f} of the {total_s:g} s that all "
        "may take together: raise params.total_s, and the scorer's timeout_s above it"
    )


def _run_tests(
    source: str, tests: list[Test], settings: Settings, total_s: float, is_right: Callable[[str, str], bool]
) -> Tally:
    """The tests up to the first that fails, or all of them. Raises SandboxError where our starts took the time."""
    tally, begin, starts_s = Tally(len(tests)), time.monotonic(), 0.0
    for position, (text, wanted) in enumerate(tests):
        if tally.fault and not settings.by_fraction:
            break
        left_s = begin + total_s - time.monotonic()
        if left_s > 0:
            run = _run(source, text, wanted, settings, left_s)
            starts_s += run.start_s
            tally.isolated = run.isolated
            if not run.is_late or time.monotonic() < begin + total_s:
                equal = is_right(run.stdout.decode(errors="surrogateescape"), wanted)
                tally.count(position, run.fault or ("" if equal else "another output"))
                continue
        if starts_s > total_s / 2:
            raise SandboxError(f"starting the sandbox took {starts_s:.1f} of the {total_s:g} s of all tests")
        tally.count(position, f"all tests together may take {total_s:g} s")
        break
    return tally


def _run(source: str, text: str, wanted: str, settings: Settings, left_s: float) -> Run:
    limits = Limits(
        wall_s=min(settings.limits.wall_s, left_s),
        memory_mib=settings.limits.memory_mib,
        whole_s=left_s + GRACE_S,
        output_bytes=len(wanted.encode(errors="replace")) + MAX_EXTRA_BYTES,
    )
    program = Program(source=source, stdin=text.encode(errors="replace"))
    return run_program(program, limits, unsafe_local=allows_unsafe_local())


def _read_tests(reference: Any) -> list[Test] | None:
    """Pairs of input and output, from a list of objects or from the two lists of APPS; None for anything else."""
    if isinstance(reference, dict) and set(reference) == {"inputs", "outputs"}:
        inputs, outputs = reference["inputs"], reference["outputs"]
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            return None
        pairs = list(zip(inputs, outputs, strict=True))
    elif isinstance(reference, list) and all(isinstance(t, dict) and set(t) == {"input", "output"} for t in reference):
        pairs = [(test["input"], test["output"]) for test in reference]
    else:
        return None
    return pairs if pairs and all(isinstance(text, str) for pair in pairs for text in pair) else None
