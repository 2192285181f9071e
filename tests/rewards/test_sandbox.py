"""Programs that try to get out, to take too much, or to stay; with isolation, and with `unsafe_local` in its place."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from rewards import sandbox
from rewards.isolation import interpreter
from rewards.sandbox import Limits, Program, SandboxError, run_program
from rewards.scorer import Scorer, ScorerConfig
from rewards.seccomp import _CLONE, _CLONE3, _DENIED, _PRLIMIT, seccomp_filter
from rewards.types import RewardRequest

ROOT = Path(__file__).parents[2]


def no_isolation() -> tuple[str, ...]:
    raise SandboxError("switched off")


@pytest.fixture
def isolated():
    try:
        sandbox.isolation()
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["isolated", "unsafe_local"])
def mode(request, monkeypatch):
    if request.param == "isolated":
        request.getfixturevalue("isolated")
    else:
        monkeypatch.setattr(sandbox, "isolation", no_isolation)
    return request.param


def run(source: str, *, stdin: str = "", **limits):
    program = Program(source=textwrap.dedent(source), stdin=stdin.encode())
    return run_program(program, Limits(**limits), unsafe_local=True)


def output_of(source: str, **options) -> str:
    outcome = run(source, **options)
    assert outcome.fault == ""
    return outcome.stdout.decode().strip()


def raised(source: str) -> str:
    """The error that a statement of a program raises."""
    outcome = run(source)
    assert outcome.fault.startswith("exit code 1: "), (outcome.fault, outcome.stdout)
    return outcome.fault.removeprefix("exit code 1: ")


def test_a_program_reads_and_writes(mode):
    outcome = run("print(sum(map(int, input().split())))\nprint(input())", stdin="1 2\nä\n")
    assert (outcome.stdout.decode(), outcome.fault, outcome.isolated) == ("3\nä\n", "", mode == "isolated")


def test_a_program_is_a_main_program(mode):
    source = """
        import sys, pickle, dataclasses
        @dataclasses.dataclass
        class Point: x: int
        assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
        assert sys.modules["__main__"].Point is Point and sys.argv == ["program.py"]
        def main(): print(sorted(name for name in globals() if "_" not in name))
        if __name__ == "__main__": main(); exit()
        print("not reached")
    """
    assert output_of(source) == "['Point', 'dataclasses', 'main', 'pickle', 'sys']"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("raise ValueError('x')", "exit code 1: ValueError: x"),
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os._exit(4)", "exit code 4"),
        ("import os; os.abort()", "ended by SIGSEGV"),
        ("import ctypes; ctypes.string_at(0)", "ended by SIGSEGV"),
        ("x = (", "exit code 1: SyntaxError: '(' was never closed"),
        ("\0", "exit code 1: "),
        ("print('\ud800')", "exit code 1: UnicodeEncodeError: "),
        ("def f(): f()\nf()", "exit code 1: RecursionError: maximum recursion depth exceeded"),
        ("(" * 60_000, "exit code 1: SyntaxError: too many nested parentheses"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_ends_that_are_not_well(mode, source, fault):
    assert run(source).fault.startswith(fault)


def test_threads_and_deep_recursion_work(mode):
    source = """
        import sys, threading
        sys.setrecursionlimit(10**6)
        threading.stack_size(2**26)
        def depth(n): return n and 1 + depth(n - 1)
        thread = threading.Thread(target=lambda: print(depth(50_000)))
        thread.start(); thread.join()
    """
    assert output_of(source) == "50000"


def test_sets_have_one_order(mode):
    assert len({output_of("print({'a', 'b', 'c', 'd', 'e'})") for _ in range(3)}) == 1


def test_there_is_no_environment(mode, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    names = set(eval(output_of("import os; print(list(os.environ))")))
    assert names <= {"HOME", "LANG", "LC_CTYPE", "PYTHONUTF8", "PYTHONHASHSEED", "MALLOC_ARENA_MAX", "PWD"}


def test_the_working_folder_is_empty_and_gone_afterwards(mode):
    folder = output_of("import os; print(os.getcwd(), os.listdir('.')); open('x', 'w').write('x')")
    assert folder.endswith(" []")
    assert output_of("import os; print(os.listdir('.'))") == "[]"
    if mode == "unsafe_local":
        assert not Path(folder.removesuffix(" []")).exists()


def test_the_standard_library_is_all_there_is(mode):
    assert raised("import psutil") == "ModuleNotFoundError: No module named 'psutil'"
    assert raised("import rewards") == "ModuleNotFoundError: No module named 'rewards'"


@pytest.mark.parametrize(
    "statement",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')",
        "import os; os.fork()",
        "import subprocess; subprocess.run([__import__('sys').executable, '-c', ''])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(1, 9)",
        "import os; os.killpg(0, 9)",
        "import os; os.pidfd_open(os.getppid())",
        "import os; os.memfd_create('x')",
        "import resource, os; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "import os; os.chroot('.')",
    ],
)
def test_what_the_filter_refuses(mode, statement):
    assert "Operation not permitted" in raised(statement)


@pytest.mark.parametrize("call", ["unshare(0x10000000)", "shmget(0, 1 << 20, 0o1600)", "ptrace(0, 0, 0, 0)"])
def test_what_the_filter_refuses_of_the_c_library(mode, call):
    source = f"import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.{call}, ctypes.get_errno())"
    assert output_of(source) == "-1 1"


@pytest.mark.parametrize(
    ("source", "limits", "fault"),
    [
        ("import time; time.sleep(99)", {"wall_s": 0.3}, "wall time of 0.3 s"),
        ("while True: pass", {"wall_s": 0.3}, "wall time of 0.3 s"),
        ("import os\nos.closerange(0, 99)\nwhile True: pass", {"wall_s": 0.3}, "wall time of 0.3 s"),
        (
            "import signal\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n"
            " except (OSError, ValueError): pass\nwhile True: pass",
            {"wall_s": 0.3},
            "wall time of 0.3 s",
        ),
        ("while True: print('x' * 9999)", {}, "more than 1048576 bytes of output"),
        ("import os\nwhile True: os.write(2, b'x' * 9999)", {}, "more than 1048576 bytes of output"),
        ("x = [0] * 10**9", {}, "exit code 1: MemoryError"),
        ("x = []\nwhile True: x.append(bytes(10**6))", {}, "exit code 1: MemoryError"),
        ("x = bytes(300 * 2**20)", {"memory_mib": 256}, "exit code 1: MemoryError"),
        ("import mmap\nx = [mmap.mmap(-1, 2**28) for _ in range(9)]", {}, "exit code 1: OSError: [Errno 12]"),
        ("open('x', 'wb').write(bytes(20 * 2**20))", {}, "exit code 1: OSError: [Errno 27] File too large"),
        ("import os; f = open('x', 'wb'); f.truncate(10**12)", {}, "exit code 1: OSError: [Errno 27]"),
        ("x = [open('x', 'wb') for _ in range(99)]", {}, "exit code 1: OSError: [Errno 24] Too many open files"),
        ("import os\nwhile True: os.fork()", {}, "exit code 1: PermissionError"),
    ],
)
def test_limits(mode, source, limits, fault):
    start = time.monotonic()
    assert run(source, **limits).fault.startswith(fault)
    assert time.monotonic() - start < limits.get("wall_s", 4) + 5


def test_memory_may_be_used_up_to_the_limit(mode):
    assert output_of("print(len(bytes(300 * 2**20)))", memory_mib=512) == str(300 * 2**20)


def test_threads_are_bounded(isolated):
    source = """
        import threading
        wait = threading.Event()
        try:
            for n in range(10_000): threading.Thread(target=wait.wait, daemon=True).start()
        except RuntimeError: print(n < 1000, flush=True)
        __import__("os")._exit(0)
    """
    assert output_of(source) == "True"


@pytest.mark.parametrize(
    "path", [str(Path.home()), "/root", "/home", "/work", "/etc/passwd", "/proc", "/sys", "/usr/bin"]
)
def test_other_files_are_not_there(isolated, path):
    if interpreter().startswith(path):
        names = output_of(f"import os; print(*os.listdir({path!r}))").split()
        assert len(names) == 1, "the way to the interpreter alone"
    else:
        assert raised(f"import os; os.stat({path!r})").startswith("FileNotFoundError")


def test_the_root_holds_little(isolated):
    names = set(output_of("import os; print(*os.listdir('/'))").split())
    interpreters = {Path(sys.base_prefix).parts[1]}
    assert names <= {"usr", "lib", "lib64", "etc", "dev", "tmp"} | interpreters
    assert set(output_of("import os; print(*os.listdir('/dev'))").split()) == {"null", "urandom"}
    assert output_of("import os; print(*os.listdir('/etc'))") == "ld.so.cache"


def test_symbolic_links_lead_nowhere(isolated, tmp_path):
    (tmp_path / "secret").write_text("x")
    source = f"import os; os.symlink({str(tmp_path / 'secret')!r}, 'link'); open('link')"
    assert raised(source).startswith("FileNotFoundError")
    assert raised("import os; os.symlink('../' * 20 + 'etc/passwd', 'link'); open('link')").startswith("FileNotFound")


@pytest.mark.parametrize("folder", ["/", "/dev", "/usr/lib", "/etc", os.path.dirname(os.__file__), sys.base_prefix])
def test_nothing_but_its_own_folder_can_be_written_to(isolated, folder):
    assert "[Errno 30] Read-only file system" in raised(f"open({folder + '/x'!r}, 'w')")


def test_its_own_folder_is_small(isolated):
    source = "for n in range(99):\n with open(str(n), 'wb') as f: f.write(bytes(2**20))"
    assert raised(source) == "OSError: [Errno 28] No space left on device"


def test_it_is_nobody_and_alone(isolated):
    source = "import os, socket; print(os.getuid(), os.getgid(), os.getgroups() in ([], [65534]), os.getppid() <= 2)"
    assert output_of(source) == "65534 65534 True True"
    assert "Operation not permitted" in raised("import os; os.setuid(0)") or "Invalid argument" in raised(
        "import os; os.setuid(0)"
    )
    assert output_of("import os; print(os.uname().nodename)") == "sandbox"


def test_file_descriptors_of_the_parent_stay_with_it(mode, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    source = """
        import os, stat
        kinds = []
        for fd in range(3, 64):
            try: kinds.append(stat.filemode(os.fstat(fd).st_mode)[0])
            except OSError: pass
        print(*kinds)
    """
    with open(secret) as file:
        os.set_inheritable(file.fileno(), True)
        assert output_of(source) == ""


def test_input_cannot_be_written_to(mode):
    assert "Errno" in raised("import os; os.write(0, b'x')")


def test_what_a_function_answers_comes_back_numbered(mode):
    program = Program(source="def f(x): return x * 2", function="f", arguments=("[1]", '["a"]', "[null]"))
    outcome = run_program(program, Limits(), unsafe_local=True)
    nonce = outcome.nonce.decode()
    assert outcome.replies.decode() == f'{nonce} 0 2\n{nonce} 1 "aa"\n{nonce} 2 !"TypeError"\n'
    assert outcome.fault == ""


@pytest.mark.parametrize("how", ["isolated", "unsafe_local"])
def test_a_program_dies_with_who_started_it(how, request):
    if how == "isolated":
        request.getfixturevalue("isolated")
    source = f"""
        from rewards import sandbox
        from rewards.sandbox import *
        if {how == "unsafe_local"}:
            sandbox.bubblewraps = lambda: iter(())
        run_program(Program(source="import time; time.sleep(60)"), Limits(wall_s=60), unsafe_local=True)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        wanted = 3 if how == "isolated" else 1
        time.sleep(1)
        while len(children := psutil.Process(parent.pid).children(recursive=True)) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        parent.kill()
        parent.wait(10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_without_bubblewrap_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewraps", lambda: iter(()))
    sandbox.isolation.cache_clear()
    with pytest.raises(SandboxError, match="cannot be isolated here \\(bubblewrap is not installed"):
        run_program(Program(source="print(1)"), Limits())
    sandbox.isolation.cache_clear()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions to create new namespace"),
        ("exit 0", "ended before it started"),
        ("exec sleep 60", "nothing started within"),
    ],
)
def test_where_bubblewrap_fails_nothing_runs_and_the_reason_is_its_own(script, reason, monkeypatch, tmp_path):
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(f"#!/bin/sh\n{script}\n")
    bwrap.chmod(0o755)
    monkeypatch.setattr(sandbox, "START_LIMIT_S", 1.0)
    monkeypatch.setattr(sandbox, "bubblewraps", lambda: iter([str(bwrap)]))
    sandbox.isolation.cache_clear()
    with pytest.raises(SandboxError, match=reason):
        run_program(Program(source="print(1)"), Limits())
    assert run_program(Program(source="print(1)"), Limits(), unsafe_local=True).isolated is False
    sandbox.isolation.cache_clear()


def test_a_failing_bubblewrap_is_skipped_for_one_that_works(isolated, monkeypatch):
    works = list(sandbox.bubblewraps())
    monkeypatch.setattr(sandbox, "bubblewraps", lambda: iter(["/bin/false", *works]))
    sandbox.isolation.cache_clear()
    assert run("print(1)").isolated
    sandbox.isolation.cache_clear()


def test_filters_exist_for_known_processors_alone():
    assert {len(seccomp_filter(machine)) % 8 for machine in ("x86_64", "aarch64")} == {0}
    with pytest.raises(ValueError, match="no system-call filter for the processor 'mips'"):
        seccomp_filter("mips")


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_system_call_numbers_are_those_of_the_kernel(column, header):
    if not Path(header).exists():
        pytest.skip(f"no {header}")
    words = (line.split() for line in Path(header).read_text().splitlines() if line.startswith("#define __NR"))
    known = {w[1].removeprefix("__NR_").removeprefix("__NR3264_"): w[2] for w in words if len(w) > 2}
    calls = {**_DENIED, "clone": _CLONE, "clone3": _CLONE3, "prlimit64": _PRLIMIT}
    for name, numbers in calls.items():
        number = numbers[column] if len(numbers) > 1 else numbers[0]
        assert number is None or name not in known or int(known[name]) == number, name


async def test_a_worker_with_limits_of_its_own_runs_programs(isolated):
    reference = [{"input": "1 2", "output": "3"}]
    honest = "```python\nprint(sum(map(int, input().split())))\n```"
    sleeper = "```python\nimport time; time.sleep(60)\n```"
    bomb = "```python\nx = bytes(2**40)\n```"
    requests = [
        RewardRequest(task="code_stdio", response=text, reference=reference) for text in (honest, sleeper, bomb)
    ]
    async with Scorer(ScorerConfig(memory_mib=512)) as scorer:
        results = await scorer.score(requests)
    assert [(result.score, result.status) for result in results] == [(1, "ok"), (0, "ok"), (0, "ok")]
    assert [result.reason for result in results] == [
        "passes all 1 tests",
        "test 1 of 1: wall time of 4 s",
        "test 1 of 1: exit code 1: MemoryError",
    ]
