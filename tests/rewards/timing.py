"""Whether a function's time is linear in the length of a hostile text: by ratios, as machines differ."""

import time
from collections.abc import Callable
from typing import Any

SHORT, LONG = 12_500, 100_000
MAX_RATIO = 4 * LONG / SHORT  # quadratic would be 64, and SHORT's own share of overhead only lowers it
FLOOR_S = 0.02  # what is faster than that for LONG needs no ratio


def assert_linear(function: Callable[[str], Any], make: Callable[[int], str]) -> None:
    """Fails where eight times the text takes more than 32 times as long, measured three times."""
    seconds = []
    for _ in range(3):
        short, long = (_time(function, make(length)) for length in (SHORT, LONG))
        if long < FLOOR_S or long <= MAX_RATIO * short:
            return
        seconds.append((short, long))
    raise AssertionError(f"not linear: {seconds}")


def _time(function: Callable[[str], Any], text: str) -> float:
    start = time.perf_counter()
    function(text)
    return time.perf_counter() - start
