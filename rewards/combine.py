"""Components to scores: pure functions."""


def soft_overlong(length: int, max_tokens: int, cache_tokens: int) -> float:
    """DAPO's length penalty (2503.14476 eq. 13) in [-1, 0]: 0 up to max - cache tokens, then linear, -1 beyond max."""
    if length <= max_tokens - cache_tokens:
        return 0.0
    if length > max_tokens:
        return -1.0
    return (max_tokens - cache_tokens - length) / cache_tokens
