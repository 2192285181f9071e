"""Verifiable instructions: constraints on a text, named and with the arguments that IFEval and IFBench publish."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewards.response import clean
from rewards.verifiers.segmentation import has_word, prepare

MODES = "strict", "loose"
RELATIONS = "at least", "less than"
MAX_COUNT = 1_000_000
MAX_ARGUMENT_CHARS = 20_000
MAX_ARGUMENTS = 100  # of one list
MAX_CONSTRAINTS = 50


class UnreadableInstruction(ValueError):
    """A reference that states no instruction that can be checked."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A check of a prepared text, and the readers of its arguments: all are needed, none has a default.

    `sane` says whether the arguments together can both be met and be missed.
    """

    check: Callable[..., bool]
    arguments: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    sane: Callable[..., bool] | None = None


@dataclass(frozen=True, slots=True)
class Constraint:
    """An instruction with its arguments."""

    id: str
    instruction: Instruction
    arguments: Mapping[str, Any]

    def holds(self, text: str, mode: str = "strict") -> bool:
        """Whether a prepared text meets it; in loose mode, whether one of IFEval's eight variants of it does."""
        variants = [text] if mode == "strict" else loose_variants(text)
        return any(self.instruction.check(text, **self.arguments) for text in variants if has_word(text))


def loose_variants(text: str) -> Iterator[str]:
    """The text without its first line, its last, or both, each with and without asterisks (Zhou et al. 2023, §2.2)."""
    parts = text.split("\n")
    kept = ["\n".join(part).strip() for part in (parts, parts[1:], parts[:-1], parts[1:-1])]
    yield from dict.fromkeys([*kept, *(part.replace("*", "") for part in kept)])


def read_constraints(reference: Any, known: Mapping[str, Instruction]) -> list[Constraint]:
    """The constraints of `{"instruction_id_list": [...], "kwargs": [...]}` or `[{"id": ..., arguments}, ...]`.

    JSON text of either is read, too. Arguments that are null are absent, as in the published data.
    Raises UnreadableInstruction.
    """
    if isinstance(reference, str):
        try:
            reference = json.loads(reference)
        except (ValueError, RecursionError) as error:
            raise UnreadableInstruction("the reference is a text, but not JSON") from error
    entries = _entries(reference)
    if not entries:
        raise UnreadableInstruction("the reference holds no instruction")
    if len(entries) > MAX_CONSTRAINTS:
        raise UnreadableInstruction(f"more than {MAX_CONSTRAINTS} instructions")
    return [_read_constraint(name, arguments, known) for name, arguments in entries]


def _entries(reference: Any) -> list[tuple[Any, Any]]:
    if isinstance(reference, Mapping) and "instruction_id_list" in reference:
        names = reference["instruction_id_list"]
        arguments = reference.get("kwargs")
        if not isinstance(names, list) or not isinstance(arguments, list | None):
            raise UnreadableInstruction("`instruction_id_list` and `kwargs` are lists")
        arguments = arguments or [{}] * len(names)
        if len(arguments) != len(names):
            raise UnreadableInstruction(f"{len(names)} instructions, but {len(arguments)} `kwargs`")
        return list(zip(names, arguments, strict=True))
    if isinstance(reference, list) and all(isinstance(entry, Mapping) and "id" in entry for entry in reference):
        return [(entry["id"], _arguments(entry)) for entry in reference]
    raise UnreadableInstruction('the reference is neither {"instruction_id_list", "kwargs"} nor a list of {"id", ...}')


def _arguments(entry: Mapping[str, Any]) -> Any:
    named = {name: value for name, value in entry.items() if name not in ("id", "kwargs")}
    more = entry.get("kwargs") or {}
    return {**named, **more} if isinstance(more, Mapping) else more


def _read_constraint(name: Any, given: Any, known: Mapping[str, Instruction]) -> Constraint:
    if not isinstance(name, str) or name not in known:
        raise UnreadableInstruction(f"unknown instruction {name!r:.100}")
    if not isinstance(given, Mapping | None):
        raise UnreadableInstruction(f"{name}: its arguments are no object")
    given = {key: value for key, value in (given or {}).items() if value is not None}
    instruction = known[name]
    if given.keys() != instruction.arguments.keys():
        expected, got = ", ".join(sorted(instruction.arguments)) or "none", ", ".join(sorted(map(str, given))) or "none"
        raise UnreadableInstruction(f"{name}: its arguments are {expected}; got {got}"[:300])
    arguments = {}
    for key, read in instruction.arguments.items():
        try:
            arguments[key] = read(given[key])
        except ValueError as error:
            raise UnreadableInstruction(f"{name}: {key}: {error}") from error
    if instruction.sane is not None and not instruction.sane(**arguments):
        raise UnreadableInstruction(f"{name}: no text or every text meets these arguments")
    return Constraint(name, instruction, arguments)


def read_count(value: Any) -> int:
    """An integer from 0, also one that a table has made a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{value!r:.50} is no count from 0 to {MAX_COUNT}")
    if value != int(value):
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def read_positive(value: Any) -> int:
    """An integer from 1: `at least 0` would hold for every text, `less than 0` for none."""
    number = read_count(value)
    if number == 0:
        raise ValueError("0 asks for nothing")
    return number


def read_percentage(value: Any) -> int:
    number = read_count(value)
    if number > 100:
        raise ValueError(f"{number} is more than 100")
    return number


def read_text(value: Any) -> str:
    """A text with something to see, prepared as responses are."""
    if not isinstance(value, str) or not clean(value):
        raise ValueError("no text, or a blank one")
    if len(value) > MAX_ARGUMENT_CHARS:
        raise ValueError(f"a text of more than {MAX_ARGUMENT_CHARS} characters")
    return prepare(value)


def read_phrase(value: Any) -> str:
    phrase = read_text(value)
    if not has_word(phrase):
        raise ValueError(f"{phrase!r:.50} has no letter and no digit")
    return phrase


def read_texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ARGUMENTS:
        raise ValueError(f"no list of 1 to {MAX_ARGUMENTS} texts")
    return [read_text(item) for item in value]


def read_letter(value: Any) -> str:
    character = read_text(value)
    if len(character) != 1:
        raise ValueError(f"{character!r:.20} is not one character")
    return character.casefold()


def read_relation(value: Any) -> str:
    if value not in RELATIONS:
        raise ValueError(f"{value!r:.50} is neither {' nor '.join(map(repr, RELATIONS))}")
    return value


def compare(number: int, relation: str, bound: int) -> bool:
    return number >= bound if relation == "at least" else number < bound
