"""What the C library does with freed memory, in processes that take and free the same gigabytes at each step."""

import ctypes

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
