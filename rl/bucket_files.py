"""The files in shared memory through which weights go, and the end of those that a killed run has left behind."""

import fcntl
import os
import tempfile
import uuid
from pathlib import Path

NUM_FILES = 2  # one is written while the other is read


def shared_memory() -> Path:
    return Path("/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir())


class BucketFiles:
    """Names for a run's files, beside a file that it keeps locked as long as it lives.

    The kernel ends the lock with the process, however that ends. A process id in the name would not do: in another
    container that shares the memory it belongs to somebody else.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or shared_memory()
        remove_leftovers(folder)
        self._owner = folder / f"sharpen-{uuid.uuid4().hex[:12]}.lock"
        self._lock = open(self._owner, "wb")  # noqa: SIM115 - held until `close`
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.paths = _files_of(self._owner)

    def close(self) -> None:
        _remove(self._owner)
        self._lock.close()


def remove_leftovers(folder: Path) -> None:
    """Remove the files of runs that live no more."""
    for owner in folder.glob("sharpen-*.lock"):
        try:
            with open(owner, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(owner)
        except OSError:  # it lives, is another user's, or is gone by now
            continue


def _files_of(owner: Path) -> list[Path]:
    return [owner.with_name(f"{owner.stem}-{number}") for number in range(NUM_FILES)]


def _remove(owner: Path) -> None:
    for path in (*_files_of(owner), owner):
        path.unlink(missing_ok=True)
