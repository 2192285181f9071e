"""DeepSpeed's operator for shared memory between the ranks of a CPU: built at first use, once on a machine."""

import hashlib
import os
import platform
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from rl.models import cache_folder

BUILD_TIMEOUT_S = 600.0  # a build takes a minute, on a busy machine some


def load_operators() -> None:
    """Build or load it, one process at a time; DeepSpeed finds it loaded then.

    torch marks a build by a file that stays if the process is killed, and whoever comes later waits for it for ever.
    The kernel frees our own lock with its holder, so a mark that is there while we hold it is a dead one's. Raises
    TimeoutError where the lock is not to be had.
    """
    from deepspeed.comm.torch import build_shm_op

    folder = extensions_folder()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    try:
        with FileLock(folder / "sharpen.lock", timeout=BUILD_TIMEOUT_S):
            for mark in folder.glob("*/lock"):
                mark.unlink()
            build_shm_op()
    except Timeout as error:
        raise TimeoutError(f"{error.lock_file} is held by another process that builds DeepSpeed's operators") from error


def extensions_folder() -> Path:
    """For this machine's processor and this Python environment alone: others would build theirs over it."""
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    return cache_folder() / "torch_extensions" / f"{platform.node()}-{environment}"
