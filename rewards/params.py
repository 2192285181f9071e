"""A request's params, read with defaults; a value that no task knows is the user's error."""

from collections.abc import Mapping
from typing import Any


def flag(params: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """Raises ValueError for what is neither true nor false."""
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"params.{name}: {value!r:.100} is neither true nor false")
    return value


def choice(params: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    """One of the known values, the first by default. Raises ValueError for another."""
    value = params.get(name, known[0])
    if value not in known:
        raise ValueError(f"params.{name}: {value!r:.100} is none of {', '.join(known)}")
    return str(value)


def number(params: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number within bounds. Raises ValueError for another, or for what is no number."""
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"params.{name}: {value!r:.100} is no number from {least:g} to {most:g}")
    return value
