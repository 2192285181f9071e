"""Memory of processes that take and free the same gigabytes at each step: kept for the next one, or given back."""

import ctypes
import mmap

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
NEVER = -1
TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Have glibc keep what this process frees, for its next step; False where the C library is another one.

    By default it gives large pieces back at once until it has adapted, and each page of the next one costs a page
    fault: a sixth of the first updates of SmolLM2 on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_TOP_PAD: TOP_PAD_BYTES}
    return all([mallopt(name, value) for name, value in settings.items()])


def give_back_freed_memory(_actor: object = None) -> None:
    """Give the system what was freed and kept, by glibc and by torch on a GPU."""
    import torch

    torch.cuda.empty_cache()  # nothing where CUDA was never used
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def give_back_pages(address: int, size: int) -> None:
    """Give the system the whole pages within `size` bytes at `address`, of memory that this process alone has.

    It may be used again at any time, and is zero then. Raises OSError where the system refuses.
    """
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE - start
    libc = ctypes.CDLL(None, use_errno=True)
    if length > 0 and libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED) != 0:
        raise OSError(ctypes.get_errno(), "madvise")
