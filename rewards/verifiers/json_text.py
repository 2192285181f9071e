"""JSON as RFC 8259 has it, within bounds, and when two of its values are the same. Linear in the text's length."""

import json
import math
import re
from typing import Any

MAX_DOCUMENT_CHARS = 65_536
MAX_DEPTH = 32
MAX_INTEGER_BITS = 4_096

# An open string runs to the end of the text, or else each quote in it would be tried as the start of another.
_STRUCTURE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Malformed(ValueError):
    """A text that is not the document that it should be, or one beyond the bounds."""


def parse_json(text: str) -> Any:
    """The value of a strict JSON text. Raises Malformed.

    Refused are repeated keys, NaN and infinities (spelled or by overflow), lone surrogates, anything around the value.
    """
    check_text(text)
    depth = 0
    for mark in _STRUCTURE.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark.group(), 0)
        if depth > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}")
    try:
        value = json.loads(
            text, object_pairs_hook=unique_keys, parse_constant=_refuse_constant, parse_float=finite_float
        )
    except Malformed:
        raise
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from error
    check_value(value)
    return value


def check_text(text: str) -> None:
    """Raises Malformed for a text that is empty, too long, or that no encoder takes."""
    if not text.strip():
        raise Malformed("an empty document")
    if len(text) > MAX_DOCUMENT_CHARS:
        raise Malformed(f"a document of more than {MAX_DOCUMENT_CHARS} characters")
    if _SURROGATE.search(text):
        raise Malformed("a lone surrogate")


def check_value(value: Any, depth: int = 0) -> None:
    """Raises Malformed for a value that JSON cannot hold, or one beyond the bounds."""
    if isinstance(value, dict | list) and depth >= MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            check_value(key, depth + 1)
            check_value(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_value(item, depth + 1)
    elif isinstance(value, str):
        if _SURROGATE.search(value):
            raise Malformed("a lone surrogate")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed(f"{value} is no number of JSON")
    elif isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise Malformed(f"an integer of more than {MAX_INTEGER_BITS} bits")
    elif value is not None:
        raise Malformed(f"JSON has no {type(value).__name__}")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its members. Raises Malformed where a key is repeated: readers differ in which one they take."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Malformed("a repeated key")
    return members


def finite_float(literal: str) -> float:
    """Raises Malformed for what overflows."""
    number = float(literal)
    if not math.isfinite(number):
        raise Malformed(f"the number {literal:.20} is out of range")
    return number


def same_json(left: Any, right: Any) -> bool:
    """Equality as JSON Schema has it: `1` is `1.0`, neither is `true` nor `"1"`; the order of keys does not count."""
    return canonical(left) == canonical(right)


def canonical(value: Any) -> Any:
    """A hashable form, equal for equal values."""
    if isinstance(value, dict):
        return "object", frozenset((key, canonical(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(canonical, value))
    return type(value).__name__ if isinstance(value, bool | str | None) else "number", value


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON")
