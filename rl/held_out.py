"""Problems on two sides: what is held out is a property of the problem, so that nothing learned is ever asked."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal, get_args

Split = Literal["train", "held_out"]
Row = dict[str, Any]

MAX_TRIES = 1000  # a split with problems is missed this often with a chance below 1e-4 if it has 1 % of them


def digest(*parts: object) -> int:
    """64 bits of what the parts say, the same on every machine."""
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def is_held_out(share: float, *parts: object) -> bool:
    """On which side the problem is that these parts tell from others; `share` of all problems is held out."""
    return digest(*parts) < share * 2**64


def row_of(split: Split, make: Callable[[], tuple[bool | None, Row]], remedy: str) -> Row:
    """The first row on that side of those that `make` gives, each after whether it is held out (None: neither).

    Raises ValueError for an unknown split, and with the remedy where the split seems to hold no problem.
    """
    if split not in get_args(Split):
        raise ValueError(f"split: unknown {split!r}; known are {', '.join(get_args(Split))}")
    for _ in range(MAX_TRIES):
        held_out, row = make()
        if held_out == (split == "held_out"):
            return row
    raise ValueError(f"no {split} {remedy}")
