"""Becomes `sharpen run` in a process that is asked to save and leave when its parent dies, however it dies."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, arguments: list[str]) -> None:
    """The wish outlives `exec`. A parent that died before it was made is noticed as well."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the pipeline is gone")
    os.execv(sys.executable, [sys.executable, "-m", "rl.cli", "run", *arguments])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
