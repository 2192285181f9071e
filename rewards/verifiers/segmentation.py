"""Text in words, sentences, paragraphs and graphemes: what length and instruction checks count. Linear in the text."""

import functools
import math
import re
import string
from collections.abc import Iterator
from typing import Any

from rewards.response import clean

MAX_WORD_CHARS = 50  # what is longer is no word of any language: it counts as the words that it could hide
CHARS_A_WORD = 6  # in English prose, with the space
CHARS_AN_UNSPACED_WORD = 5  # in Thai, Lao, Khmer and Burmese, in letters and marks

IDEOGRAPHS = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc"
UNSPACED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
EDGES = string.punctuation + "“”„‘’‚«»‹›…—–‒―·•。、，！？：；「」『』（）【】《》〈〉¿¡।॥؟،؛۔"

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_BLANK_LINES = re.compile(r"\n\s*\n")
_DASHES = re.compile(r"[—–―]|--+")
_END = re.compile("[.!?…。！？।॥؟۔]+[\"'”’»)\\]*_]*")
_ENDS_WITHOUT_SPACE = frozenset("。！？।॥؟۔")
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "vs",
        "e.g",
        "i.e",
        "cf",
        "gen",
        "rev",
        "hon",
        "capt",
        "sgt",
        "lt",
        "col",
        "fr",
        "mt",
    ]
)
_BEFORE_NUMBERS = frozenset(["no", "nos", "fig", "figs", "eq", "eqs", "vol", "pp", "p", "sec", "ch", "approx", "ca"])
_MAY_END = frozenset(
    [
        "etc",
        "u.s",
        "u.k",
        "u.n",
        "u.s.a",
        "e.u",
        "a.m",
        "p.m",
        "inc",
        "ltd",
        "co",
        "corp",
        "jr",
        "sr",
        "ph.d",
        "b.c",
        "a.d",
        "b.c.e",
        "c.e",
        "al",
        "est",
        "dept",
    ]
)


def prepare(text: str) -> str:
    """Text as it is judged: one kind of line end, NFKC, without what cannot be seen."""
    return clean(_HIDDEN.sub("", _LINE_ENDS.sub("\n", text)))


def has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)


@functools.cache
def compiled(pattern: str) -> Any:
    """A pattern with Unicode properties and set operations. `regex` is imported here: it is not light."""
    import regex

    return regex.compile(pattern, regex.VERSION1)


def _word_pattern() -> Any:
    run = rf"(?=[\p{{L}}\p{{N}}])[[\p{{L}}\p{{M}}\p{{N}}]--[{IDEOGRAPHS}{UNSPACED}]]++"
    return compiled(rf"[{IDEOGRAPHS}]|(?=[\p{{L}}\p{{N}}])[{UNSPACED}]++|{run}(?:['’]{run})*+")


def words(text: str) -> list[str]:
    """Words as they stand: `don't` is one, `well-known` two, each Chinese or Japanese character one."""
    return [word for word in _word_pattern().findall(text) if has_word(word)]  # `regex` knows letters Python does not


def count_words(text: str) -> int:
    """How many words; a run without spaces counts as the words of its length, so that it hides none."""
    return sum(map(_count_one, words(text)))


def _count_one(word: str) -> int:
    if compiled(f"[{UNSPACED}]").match(word):
        return math.ceil(len(word) / CHARS_AN_UNSPACED_WORD)
    return 1 if len(word) <= MAX_WORD_CHARS else math.ceil(len(word) / CHARS_A_WORD)


def tokens(text: str) -> list[str]:
    """What white space and dashes separate, without the punctuation around it: `well-known`, `3.5`, `e.g`."""
    pieces = (piece.strip(EDGES) for piece in _DASHES.sub(" ", text).split())
    return [piece for piece in pieces if has_word(piece)]


def graphemes(text: str) -> list[str]:
    return compiled(r"\X").findall(text)


def paragraphs(text: str) -> list[str]:
    """What blank lines separate, without parts that have no word."""
    return [part.strip() for part in _BLANK_LINES.split(text) if has_word(part)]


def lines(text: str) -> list[str]:
    """Lines that are not blank."""
    return [line for line in text.split("\n") if line.strip()]


def sentences(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where sentences begin and end, with their punctuation. Blank lines end them, abbreviations do not.

    A part without a word belongs to the sentence after it.
    """
    spans, start, checked = [], 0, 0
    for end in _sentence_ends(text):
        if has_word(text[checked:end]):
            spans.append((start, end))
            start = end
        checked = end
    return spans


def _sentence_ends(text: str) -> Iterator[int]:
    blanks = [(found.start(), found.end()) for found in _BLANK_LINES.finditer(text)]
    for begin, end in zip([0, *(end for _, end in blanks)], [*(start for start, _ in blanks), len(text)], strict=True):
        for found in _END.finditer(text, begin, end):
            if found.end() < end and _ends_sentence(text, begin, found):
                yield found.end()
        yield end


def _ends_sentence(text: str, begin: int, found: re.Match[str]) -> bool:
    mark = found.group()
    if mark[0] in _ENDS_WITHOUT_SPACE:
        return True
    if not text[found.end()].isspace():
        return False
    following = text[found.end() : found.end() + 16].lstrip()[:1]
    dots = mark.rstrip("\"'”’»)]*_")
    if dots != ".":
        quoted_or_trailing = len(mark) > len(dots) or dots.strip(".…") == ""
        return not (quoted_or_trailing and following.islower())
    before = text[max(begin, found.start() - 16) : found.start()]
    last = before.split()[-1] if before and not before[-1].isspace() else ""
    word = last.strip(EDGES).lower()
    if word in _ABBREVIATIONS or (word in _BEFORE_NUMBERS and following.isdigit()):
        return False
    if word in _MAY_END:
        return following.isupper()
    if len(word) == 1 and last[-1:].isupper() and last[-1:] != "I":
        return False
    return not (word.isdigit() and _starts_line(text, begin, found.start() - len(last)))


def _starts_line(text: str, begin: int, position: int) -> bool:
    return position <= begin or text[max(begin, position - 8) : position].rstrip(" \t*_#>")[-1:] in ("", "\n")
