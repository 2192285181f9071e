"""DeepSpeed's operator for CPUs, built in a folder of its own."""

import subprocess
import sys

import pytest
from filelock import FileLock

from rl import deepspeed_operators
from rl.deepspeed_operators import extensions_folder, load_operators

BUILT = "from rl.deepspeed_operators import load_operators; load_operators()"


def test_a_build_that_was_killed_holds_up_nobody():
    mark = extensions_folder() / "deepspeed_shm_comm" / "lock"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    subprocess.run([sys.executable, "-c", BUILT], check=True, timeout=400)
    assert not mark.exists()


def test_a_build_under_way_is_waited_for_and_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path))
    monkeypatch.setattr(deepspeed_operators, "BUILD_TIMEOUT_S", 0.1)
    extensions_folder().mkdir(parents=True)
    with FileLock(extensions_folder() / "sharpen.lock"), pytest.raises(TimeoutError, match=r"sharpen\.lock is held"):
        load_operators()
