"""Whole-text matches of regular expressions, by RE2 in linear time, and of templates with named fields."""

import functools
import re
from typing import Any

from rewards.response import clean

MAX_PATTERN_CHARS = 10_000
MAX_MEMORY = 8 << 20  # of a compiled pattern, in bytes
FIELDS = {
    "line": r"[^\n]+",
    "text": r"(?s:.+)",
    "word": r"[^\s]+",
    "integer": r"[+-]?[0-9]+",
    "number": r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)",
    "letter": r"[A-Za-z]",
}

_FIELD = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z_][A-Za-z_0-9]{0,40})(?::(?P<kind>[a-z]+))?\}|(?P<stray>[{}])")


class UnreadablePattern(ValueError):
    """A pattern or template that cannot be matched with."""


def match_pattern(pattern: str, text: str) -> dict[str, str] | None:
    """The named groups of a match of the whole text; None where it does not match.

    `$` and `\\n` at the end are not what Python's `match` makes of them: the whole text is matched, or nothing.
    Raises UnreadablePattern, also for what RE2 does not have (backreferences, lookaround).
    """
    found = _compiled(pattern).fullmatch(text.encode("utf-8", "replace").decode())
    return None if found is None else {name: value or "" for name, value in found.groupdict().items()}


def match_template(template: str, text: str) -> dict[str, str] | None:
    """The fields of a text of the template's form; None where it has another one, or a field with nothing to see.

    `{name}` stands for part of a line, `{name:kind}` for one of FIELDS, `{{` and `}}` for braces. A name that comes
    twice stands for the same text. Raises UnreadablePattern.
    """
    pattern, names = _template_pattern(template)
    found = match_pattern(pattern, text)
    if found is None:
        return None
    fields: dict[str, str] = {}
    for number, name in enumerate(names):
        value = found[f"f{number}"]
        if not clean(value) or fields.setdefault(name, value) != value:
            return None
    return fields


@functools.lru_cache(256)
def _template_pattern(template: str) -> tuple[str, list[str]]:
    pattern, position = "", 0
    names: list[str] = []
    for found in _FIELD.finditer(template):
        pattern += re.escape(template[position : found.start()])
        position = found.end()
        if found["stray"]:
            raise UnreadablePattern(f"a brace at {found.start()} is part of no field; braces are written twice")
        if not found["name"]:
            pattern += re.escape(found.group()[0])
            continue
        kind = found["kind"] or "line"
        if kind not in FIELDS:
            raise UnreadablePattern(f"unknown kind {kind!r} of a field; known are {', '.join(FIELDS)}")
        pattern += f"(?P<f{len(names)}>{FIELDS[kind]})"
        names.append(found["name"])
    if not names:
        raise UnreadablePattern("a template without a field")
    return pattern + re.escape(template[position:]), names


@functools.lru_cache(256)
def _compiled(pattern: str) -> Any:
    import re2

    if len(pattern) > MAX_PATTERN_CHARS:
        raise UnreadablePattern(f"a pattern of more than {MAX_PATTERN_CHARS} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise UnreadablePattern(f"RE2 does not take the pattern: {error}"[:300]) from error
