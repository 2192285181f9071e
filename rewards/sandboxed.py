"""What an interpreter in a sandbox starts with: limits first, then the program, then the calls of its function.

rewards.sandbox hands the text of this file to that interpreter, which has the standard library and nothing else.
"""

import json
import resource
import sys
import types
from collections.abc import Callable
from typing import Any, BinaryIO


def main() -> None:
    """Take a job from one file descriptor, answer on another: that it starts, and what each call returned."""
    with open(int(sys.argv[1]), "rb") as file:
        job = json.load(file)
    reply = open(int(sys.argv[2]), "wb", buffering=0)  # noqa: SIM115 - open until the process ends
    sys.argv[:] = ["program.py"]
    set_limits(job["limits"])
    if job["filter"]:
        install_filter(bytes.fromhex(job["filter"]))
    nonce = job["nonce"].encode()
    reply.write(nonce + b" started\n")
    if job["function"] is None:
        reply.close()
        start(job["source"])
    else:
        call(job["function"], start(job["source"]), job["arguments"], nonce, reply)


def set_limits(limits: dict[str, int]) -> None:
    """Resource limits by their names; none above what this process may have."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def install_filter(steps: bytes) -> None:
    """Seccomp without bubblewrap, which else installs the filter. Raises OSError."""
    import ctypes

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    set_no_new_privileges, set_seccomp, filter_mode, set_death_signal, sigkill = 38, 22, 2, 1, 9
    for arguments in (
        (set_death_signal, sigkill, 0, 0, 0),
        (set_no_new_privileges, 1, 0, 0, 0),
        (set_seccomp, filter_mode, ctypes.byref(Filter(len(steps) // 8, steps)), 0, 0),
    ):
        if prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


def start(source: str) -> dict[str, Any]:
    """Run a program as `__main__`, with `exit` and `quit` as interpreters have them; its globals."""
    import site

    site.setquit()
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(source, "program.py", "exec", dont_inherit=True), vars(module))
    return vars(module)


def call(name: str, names: dict[str, Any], arguments: list[str], nonce: bytes, reply: BinaryIO) -> None:
    """One line a call: the nonce, the number of the call, and what it returned as JSON, or `!` and what it raised."""
    dumps, loads = json.dumps, json.loads
    for number, line in enumerate(arguments):
        try:
            answer = dumps(find(name, names)(*loads(line)), allow_nan=False)
        # Whatever the function raises is its answer to this one call.
        except Exception as error:
            answer = "!" + dumps(type(error).__name__)
        reply.write(b"%s %d %s\n" % (nonce, number, answer.encode()))


def find(name: str, names: dict[str, Any]) -> Callable[..., Any]:
    """The function of that name, or of `Class.method` the method of a new object."""
    first, _, method = name.partition(".")
    return getattr(names[first](), method) if method else names[first]


if __name__ == "__main__":
    main()
