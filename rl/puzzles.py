"""reasoning-gym's puzzles as rows: each with the entry by which its generator judges answers."""

import enum
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]


def puzzle_rows(generator: str, options: Mapping[str, Any], *, seed: int, size: int, task: str) -> Callable[[int], Row]:
    """The rows of a generator by index. A task other than `reasoning_gym` has the bare answer as its reference.

    Raises ValueError for an unknown generator or option.
    """
    import reasoning_gym

    try:
        dataset = reasoning_gym.create_dataset(generator, seed=seed, size=size, **options)
    except (ValueError, TypeError, AssertionError) as error:  # it checks its options with assert
        raise ValueError(f"prompts: reasoning_gym {generator!r}: {error}") from error

    def row(index: int) -> Row:
        item = dataset[index]
        if task != "reasoning_gym":
            return {"question": item["question"], "reference": item["answer"], "task": task}
        entry = {name: as_json(item[name]) for name in ("question", "answer", "metadata")}
        reference = {"generator": generator, "entry": entry} | ({"options": dict(options)} if options else {})
        return {"question": item["question"], "reference": reference, "task": task}

    return row


def as_json(value: Any) -> Any:
    """Plain data: tuples and sets as lists, enumerations and NumPy's numbers as their values, other objects as text."""
    if isinstance(value, enum.Enum):
        return as_json(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((as_json(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if hasattr(value, "tolist"):  # of NumPy: an array, or a number
        return as_json(value.tolist())
    return str(value)
