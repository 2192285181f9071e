r"""Tuples, intervals, sets and bare lists as their items, split where no bracket is open."""

import re
from dataclasses import dataclass

_OPEN, _CLOSE = "([{", ")]}"
_MEMBER = re.compile(r"[A-Za-z] ?\\in(?![a-z]) ?")
_BETWEEN = re.compile(r",|;| or | and ")
_SEPARATOR = re.compile(r"[()\[\]{},;]| or | and ")
_BARE_SEPARATOR = re.compile(r"[()\[\]{};]|(?<!\d),|,(?!\d{3}(?!\d))| or | and ")  # not the comma of `1,000`
_NAMED = re.compile(r" ?([A-Za-z](?:_\{?\w\}?)?) ?= ?([^=]+)")


@dataclass(frozen=True, slots=True)
class Items:
    """Two or more parts and the brackets around them: `(`, `[`, or none for a bare list; a set counts as bare."""

    opening: str
    closing: str
    parts: tuple[str, ...]

    @property
    def ordered(self) -> bool:
        return self.opening != ""


def split_items(text: str) -> Items | None:
    r"""The items of `(1, 2)`, `[1, 2)`, `\{1, 2\}`, `1, 2` or `1 or 2`; None for anything else."""
    text = _MEMBER.sub("", text, count=1) if _MEMBER.match(text) else text
    text = text.replace("\\{", "{").replace("\\}", "}").strip()
    opening, closing = (text[0], text[-1]) if len(text) > 1 and _encloses(text) else ("", "")
    parts = _split(text[1:-1], _SEPARATOR) if opening else _split(text, _BARE_SEPARATOR)
    if parts is None or len(parts) < 2 or not all(parts):
        return None
    return Items("", "", parts) if opening == "{" else Items(opening, closing, parts)


def without_names(text: str) -> str:
    """`x = 1, x = 2` as `1, 2`; any other text as it is."""
    found = [_NAMED.fullmatch(part) for part in _BETWEEN.split(text)]
    if len(found) < 2 or not all(found) or len({match[1] for match in found if match}) != 1:
        return text
    return ", ".join(match[2].strip() for match in found if match)


def _encloses(text: str) -> bool:
    """Whether the first bracket is the partner of the last character."""
    if text[0] not in _OPEN or text[-1] not in _CLOSE or (text[0] == "{") != (text[-1] == "}"):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def _split(text: str, separator: re.Pattern[str]) -> tuple[str, ...] | None:
    """Parts between separators outside brackets; None if unbalanced."""
    parts, depth, start = [], 0, 0
    for match in separator.finditer(text):
        token = match.group()
        if token in _OPEN or token in _CLOSE:
            depth += 1 if token in _OPEN else -1
            if depth < 0:
                return None
        elif depth == 0:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return None if depth else (*parts, text[start:].strip())
