"""What a text cites and quotes, against the documents that it was given. Linear in the lengths of both."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rewards.response import clean

MIN_QUOTE_WORDS = 3  # shorter ones are titles, terms and scare quotes
MAX_QUOTES = 100

_BRACKETS = re.compile(r"\[([^\[\]\n]{0,200})\]")
_ELISION = re.compile(r"\[? ?(?:\.\.\.|…) ?\]?")
# A straight mark opens where it looks like it, whatever was opened before: an odd one must not hide the next quotation.
_QUOTE = re.compile(r'(?<!\w)"(?=(?=\w|\.\.\.|…)([^"\n]+)")|“(?=([^“”]+)”)|«(?=([^«»]+)»)')
_ANSWER = re.compile(r"^[ \t*_#>]*(?:final )?answer[ \t*_]*:[ \t*_]*", re.IGNORECASE | re.MULTILINE)
_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Citation:
    """An id between square brackets, and where the brackets are."""

    id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A quoted text, and where its quotation marks begin and end."""

    text: str
    start: int
    end: int


def split_answer(text: str) -> tuple[str, str]:
    """What follows the last `Answer:` at the start of a line, to the line's end; without one, all. And all."""
    found = list(_ANSWER.finditer(text))
    return (text[found[-1].end() :].partition("\n")[0] if found else text), text


def without_citations(text: str) -> str:
    """The text without brackets and what is in them."""
    return _BRACKETS.sub(" ", text).strip()


def citations(text: str) -> list[Citation]:
    """Whatever stands in square brackets, `[2]` or `[2, 5]`, but an elision; quotations are no place for citations."""
    blanked = list(text)
    for quote in _all_quotes(text):
        blanked[quote.start : quote.end] = " " * (quote.end - quote.start)
    found = []
    for brackets in _BRACKETS.finditer("".join(blanked)):
        if not _ELISION.fullmatch(brackets.group()):
            found += [
                Citation(part.strip(), brackets.start(), brackets.end()) for part in re.split("[,;]", brackets[1])
            ]
    return found


def quotes(text: str) -> list[Quote]:
    """Quotations of at least MIN_QUOTE_WORDS words."""
    return [quote for quote in _all_quotes(text) if len(_words(quote.text).split()) >= MIN_QUOTE_WORDS]


def cited_for(quote: Quote, cited: list[Citation], text: str) -> list[str]:
    """The ids of the first brackets after a quotation, and of those that touch them; all where its line has none."""
    end_of_line = text.find("\n", quote.end)
    end_of_line = len(text) if end_of_line < 0 else end_of_line
    group: list[Citation] = []
    for citation in cited:
        if quote.end <= citation.start < end_of_line:
            if group and text[group[-1].end : citation.start].strip():
                break
            group.append(citation)
    return [citation.id for citation in group or cited]


def occurs(quote: str, document: str) -> bool:
    """Whether the words of a quotation are in a document, in one run; those around an elision, one after the other.

    `document` is `as_words` of it: case, punctuation and white space do not count.
    """
    position = 0
    for part in _ELISION.split(quote):
        words = _words(part)
        if not words:
            continue
        position = document.find(f" {words} ", position)
        if position < 0:
            return False
        position += len(words) + 1
    return True


def as_words(document: str) -> str:
    """The words of a text with a blank around each."""
    return f" {_words(document)} "


def precision_and_recall(cited: set[str], wanted: set[str]) -> tuple[float, float, float]:
    """Of the ids cited against those wanted, and their F1; 0 where nothing is cited."""
    num_right = len(cited & wanted)
    f1 = 2 * num_right / (len(cited) + len(wanted)) if cited else 0.0
    return (num_right / len(cited) if cited else 0.0), (num_right / len(wanted) if wanted else 1.0), f1


def read_documents(documents: object) -> dict[str, str]:
    """Texts by id, of a mapping, a list of `{"id", "text"}`, or a list of texts (1, 2, ...). Raises ValueError."""
    pairs: list[tuple[object, object]] = []
    if isinstance(documents, Mapping):
        pairs = list(documents.items())
    elif isinstance(documents, list):
        for number, each in enumerate(documents, start=1):
            pairs.append((each.get("id"), each.get("text")) if isinstance(each, Mapping) else (number, each))
    texts = {
        clean(str(name)): text
        for name, text in pairs
        if isinstance(text, str) and isinstance(name, str | int) and clean(str(name))
    }
    if not texts or len(texts) < len(pairs):
        raise ValueError("the documents are no texts with an id of their own each")
    return texts


def _words(text: str) -> str:
    return " ".join(_NOT_WORDS.sub(" ", clean(text).casefold()).split())


def _all_quotes(text: str) -> list[Quote]:
    found = []
    for mark in _QUOTE.finditer(text):
        words = mark[mark.lastindex or 0]
        found.append(Quote(words, mark.start(), mark.end() + len(words) + 1))
    return found
