"""reasoning-gym's own scores: each of its generators judges answers to the puzzles that it makes."""

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards.response import clean
from rewards.verifiers.puzzle_guards import holds_code, refuse

NOTHING = ('""', "''")  # what an answer of no characters is written as
ROUNDING = 1e-9


class UnusablePuzzle(ValueError):
    """A reference that names no puzzle of reasoning-gym, or one whose generator refuses its own answer."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A generator's entry, and the options that the generator was made with, as JSON."""

    generator: str
    entry: Mapping[str, Any]
    options: str


@dataclass(frozen=True, slots=True)
class PuzzleScore:
    score: float
    reason: str


def read_puzzle(reference: Any) -> Puzzle:
    """`{"generator": name, "entry": {"question", "answer", "metadata"}, "options": {...}}`. Raises UnusablePuzzle."""
    if not isinstance(reference, Mapping) or not isinstance(reference.get("generator"), str):
        raise UnusablePuzzle("the reference is no object with a generator and an entry")
    entry, options = reference.get("entry"), reference.get("options", {})
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metadata"), Mapping) or "answer" not in entry:
        raise UnusablePuzzle("the reference's entry has no answer or no metadata")
    if not isinstance(entry["answer"], str | None) or not isinstance(options, Mapping):
        raise UnusablePuzzle("the reference's answer is no text, or its options are no object")
    generator = reference["generator"]
    restored = dict(entry)
    if generator in ("arc_agi", "rearc"):  # they compare with tuples, which JSON does not have
        restored["metadata"] = {**entry["metadata"], "output": _as_tuples(entry["metadata"].get("output"))}
    return Puzzle(generator, restored, json.dumps(options, sort_keys=True))


def score_answer(puzzle: Puzzle, answer: str) -> PuzzleScore:
    """The generator's score of an answer. Raises UnusablePuzzle, and what the package raises for its own."""
    own = puzzle.entry["answer"]
    dataset = _dataset(puzzle.generator, puzzle.options)
    if (own is not None and clean(answer) == clean(own)) or (own == "" and answer in NOTHING):
        answer = own
    if holds_code(puzzle.generator, puzzle.entry):
        raise UnusablePuzzle(f"the reference holds what {puzzle.generator} would run, and it is no plain data")
    try:
        refusal = refuse(puzzle.generator, answer, puzzle.entry)
        if refusal:
            return PuzzleScore(0.0, refusal)
        score = _score(dataset, puzzle, answer)
        reason = f"scored by reasoning-gym's {puzzle.generator}"
    except MemoryError:
        raise
    except RecursionError:
        score, reason = 0.0, "nested too deep"
    # The package does not say what it raises for an answer that it cannot read: its own answer tells whose fault it is.
    except Exception as error:
        if own is None or answer == own:
            raise
        score, reason = 0.0, f"{puzzle.generator} cannot read it: {type(error).__name__}: {error}"[:300]
    if score < 1:
        _check_own(dataset, puzzle)
    return PuzzleScore(score, reason)


def _check_own(dataset: Any, puzzle: Puzzle) -> None:
    """Raises what the package raises for the puzzle's own answer, and UnusablePuzzle where it is not accepted."""
    own = puzzle.entry["answer"]
    if own is None or refuse(puzzle.generator, own, puzzle.entry):  # an integral that is left as it is, for one
        return
    score = _score(dataset, puzzle, own)
    if score < 1:
        raise UnusablePuzzle(f"{puzzle.generator} gives its own answer {score:g}: is the entry complete?")


def _score(dataset: Any, puzzle: Puzzle, answer: str) -> float:
    entry = copy.deepcopy(dict(puzzle.entry))  # some generators write into it
    score = float(dataset.score_answer(answer, entry))
    assert 0 <= score <= 1 + ROUNDING, f"{puzzle.generator} gave a score of {score}"
    return 1.0 if score >= 1 - ROUNDING else score


def load_generators() -> None:
    """Import reasoning-gym: a second."""
    import reasoning_gym  # noqa: F401


@functools.lru_cache(maxsize=32)
def _dataset(generator: str, options: str) -> Any:
    import reasoning_gym

    try:
        return reasoning_gym.create_dataset(generator, seed=0, size=1, **json.loads(options))
    except (ValueError, TypeError, AssertionError) as error:  # it checks its options with assert
        raise UnusablePuzzle(f"reasoning-gym has no such generator or option: {generator}: {error}") from error


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value
