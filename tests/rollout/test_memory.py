"""Freed memory stays with the process, so that its next piece costs no page faults, or is given back when asked."""

import mmap
import subprocess
import sys

import pytest
import torch
from psutil import Process

from rollout.memory import give_back_pages

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


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's madvise")
def test_pages_given_back_are_free_and_zero_and_their_neighbours_are_kept():
    size = 64 * 2**20
    before = Process().memory_info().rss
    piece = torch.ones(size, dtype=torch.uint8)
    inner = piece[100:-100]
    give_back_pages(inner.data_ptr(), inner.nbytes)
    assert Process().memory_info().rss - before < size / 8
    assert piece[:100].all()
    assert piece[-100:].all()
    assert piece.sum() < 3 * mmap.PAGESIZE
    piece.fill_(2)
    assert piece.sum() == 2 * size
    give_back_pages(piece.data_ptr(), 100)
    assert piece.sum() == 2 * size, "no whole page, nothing given back"
