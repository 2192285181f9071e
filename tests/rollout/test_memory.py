"""Freed memory stays with the process: its next piece costs no page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from rollout.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
size = 100 * 2**20
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    piece = libc.malloc(size)
    ctypes.memset(piece, 1, size)
    libc.free(piece)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_the_second_of_two_equal_pieces_costs_no_page_faults():
    def faults(word):
        command = [sys.executable, "-c", PROGRAM, word]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    pages = 100 * 2**20 // 2**21  # a fault brings at least 4 KiB, at most 2 MiB
    assert faults("keep") < pages / 2
    assert faults("as usual") >= pages
