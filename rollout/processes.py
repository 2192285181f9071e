"""The processes of an engine, and their end: memory of a GPU is free when the last of them is gone."""

import time
from collections.abc import Sequence

import psutil

POLL_S = 0.05

ProcessKey = tuple[int, float]  # a process's number, which may be given again, and when it was started


def own_processes() -> list[ProcessKey]:
    """This process, and all that it has started."""
    own = psutil.Process()
    return [(process.pid, process.create_time()) for process in (own, *own.children(recursive=True))]


def find_living(keys: Sequence[ProcessKey]) -> list[psutil.Process]:
    """Those of the processes that are there and hold memory."""
    found = []
    for pid, created in keys:
        try:
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def end_processes(keys: Sequence[ProcessKey], grace_s: float = 5.0) -> None:
    """Wait until all are gone; those that are still there after `grace_s` are killed, and waited for once more as long.

    A process that is frozen does not leave by itself.
    """
    start = time.monotonic()
    while (living := find_living(keys)) and (waited := time.monotonic() - start) < 2 * grace_s:
        if waited > grace_s:
            for process in living:
                process.kill()
        time.sleep(POLL_S)
