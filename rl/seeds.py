"""Seeds derived from seeds: every random choice is a function of the run's seed and of what is chosen."""

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed of 62 bits for the named choice, the same on every machine."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2
