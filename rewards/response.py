"""A raw response taken apart: thinking, answer, last box; and text made comparable. Linear in the text's length."""

import re
import unicodedata
from dataclasses import dataclass

MAX_TAIL_CHARS = 16_384  # of the answer, counted from its end, that are searched
MAX_SPAN_CHARS = 4_096  # of one extracted answer

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")


@dataclass(frozen=True, slots=True)
class Response:
    """`answer` is what follows the thinking; None when the thinking never ended."""

    thinking: str
    answer: str | None


class BoundExceeded(ValueError):
    """An answer beyond the stated bounds: wrong, with the bound as the reason."""


def split_response(text: str) -> Response:
    """Thinking is everything up to the last `</think>`; an open `<think>` without an end leaves no answer."""
    before, mark, after = text.rpartition(THINK_CLOSE)
    if mark:
        return Response(before.split(THINK_OPEN, 1)[-1].strip(), None if THINK_OPEN in after else after.strip())
    if THINK_OPEN in text:
        return Response(text.split(THINK_OPEN, 1)[1].strip(), None)
    return Response("", text.strip())


def in_open_block(text: str) -> str:
    """The whole of a response whose prompt ends with an open `<think>`: without an end its thinking is no answer."""
    return text if text.lstrip().startswith(THINK_OPEN) else f"{THINK_OPEN}\n{text}"


def clean(text: str) -> str:
    """NFKC, digits of every script as ASCII, without zero-width and direction marks; minus signs as `-`.

    What NFKC would make into other numbers is spelled out first: `2²` as `2^{2}`, `1½` as `1 1/2`.
    """
    if text.isascii():
        return text.strip()
    text = _SUPERSCRIPT.sub(lambda found: "^{" + found.group() + "}", _INVISIBLE.sub("", text))
    text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(r" \g<0>", text))
    folded = (str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)
    return _INVISIBLE.sub("", "".join(folded)).replace("\u2212", "-").replace("\u2044", "/").strip()


def tail(text: str) -> str:
    return text[-MAX_TAIL_CHARS:]


def last_boxed(text: str) -> str | None:
    r"""Contents of the last `\boxed{...}` or `\fbox{...}` with balanced braces, or of an unbraced `\boxed 7`.

    None where there is no box. An unbalanced last box counts as no box: an earlier one is not fallen back to.
    Raises BoundExceeded where the contents are longer than MAX_SPAN_CHARS.
    """
    text = tail(text)
    matches = list(_BOX.finditer(text))
    if not matches:
        return None
    start = matches[-1].end()
    if text[start : start + 1] != "{":
        word = re.match(r"[^\s$.,;{}]+", text[start:])
        return word.group() if word else ""
    depth = 0
    for position in range(start, len(text)):
        if text[position] in "{}" and text[position - 1] != "\\":
            depth += 1 if text[position] == "{" else -1
            if depth == 0:
                inside = text[start + 1 : position]
                if len(inside) > MAX_SPAN_CHARS:
                    raise BoundExceeded(f"the boxed answer has more than {MAX_SPAN_CHARS} characters")
                return inside.strip()
    return None
