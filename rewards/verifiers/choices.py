"""Labels of options that an answer commits to: one of them, or a set. Linear in the text."""

import re
import string
from dataclasses import dataclass
from typing import Any

from rewards.response import BoundExceeded, clean, last_boxed, split_response, tail
from rewards.verifiers.numbers import plain

MAX_COMMITTED_CHARS = 1_000
MAX_OPTIONS = 26
DEFAULT_OPTIONS = 10

_EMPHASIS = re.compile(r"\*\*|__|`")
_CUE = re.compile(
    r"\b(?:answers?|(?:correct|right|best) (?:options?|choices?))[ \t]*(?:(?:is|are)\b[ \t]*:?|:)\s*", re.IGNORECASE
)
_CALLED = r"(?:(?:the )?(?:option|choice|answer) ?:? ?)?"
_LABEL = re.compile(rf"{_CALLED}[(\[{{]?(?P<label>[A-Z0-9])[)\]}}]?[.:]?", re.IGNORECASE | re.ASCII)
_LABELLED = re.compile(
    rf"{_CALLED}[(\[]?(?P<label>[A-Z0-9])(?:[)\]][.:]?|[.:]| -(?= )) *(?P<text>\S.*)",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_CAPITAL = re.compile(r"(?<![A-Za-z0-9])[A-Z0-9](?![A-Za-z0-9])")
_BETWEEN = re.compile(r"[,;&]|\b(?:and|options?|choices?)\b", re.IGNORECASE)
_NONE = {"none", "none of them", "none of these", "none of the above", "\\emptyset", "\\varnothing", "\\{\\}", "{}"}


@dataclass(frozen=True, slots=True)
class Options:
    """The labels of a question's options, in capitals, and the options' texts; no texts where they are not known."""

    labels: tuple[str, ...]
    texts: tuple[str, ...] = ()


def read_options(options: Any) -> Options:
    """Options given as their number, as their texts, as texts by label, or not at all. Raises ValueError."""
    if options is None:
        options = DEFAULT_OPTIONS
    if isinstance(options, int) and not isinstance(options, bool) and 2 <= options <= MAX_OPTIONS:
        return Options(tuple(string.ascii_uppercase[:options]))
    if isinstance(options, list) and 2 <= len(options) <= MAX_OPTIONS:
        options = dict(zip(string.ascii_uppercase, options, strict=False))
    if not isinstance(options, dict) or not 2 <= len(options) <= MAX_OPTIONS:
        raise ValueError(f"params.options: a number from 2 to {MAX_OPTIONS}, as many texts, or texts by label")
    labels = tuple(str(label).upper() for label in options)
    if not all(re.fullmatch("[A-Z0-9]", label) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError("params.options: labels are single letters or digits, each once, whatever its case")
    texts = tuple(_comparable(text) if isinstance(text, str) else "" for text in options.values())
    if not all(texts):
        raise ValueError("params.options: each option has a text")
    return Options(labels, texts)


def committed_text(response: str) -> str | None:
    """The last box, else the line after the last `Answer:` or `answer is`, else the whole answer; None without one.

    Raises BoundExceeded where that is too long to be a choice.
    """
    answer = split_response(response).answer
    if not answer:
        return None
    boxed = last_boxed(answer)
    if boxed is not None:
        text = clean(boxed)
    else:
        text = clean(_EMPHASIS.sub("", tail(answer)))
        cues = list(_CUE.finditer(text))
        text = text[cues[-1].end() :].partition("\n")[0].strip() if cues else text
    if len(text) > MAX_COMMITTED_CHARS:
        raise BoundExceeded(f"a choice of more than {MAX_COMMITTED_CHARS} characters")
    return text or None


def read_choice(text: str, options: Options) -> str | None:
    """The one label that a text is: `B`, `(b)`, the text of option B, or `B. ` and that text; else None.

    Where no texts are known, what follows the label may be anything that names no other label.
    """
    text = plain(text)
    bare = _LABEL.fullmatch(text)
    if bare is not None and bare["label"].upper() in options.labels:
        return bare["label"].upper()
    comparable = _comparable(text)
    named = [label for label, option in zip(options.labels, options.texts, strict=False) if option == comparable]
    if named:
        return named[0] if len(named) == 1 else None
    labelled = _LABELLED.fullmatch(text)
    if labelled is None or (chosen := (labelled["label"] or "").upper()) not in options.labels:
        return None
    if options.texts:
        agrees = _comparable(labelled["text"]) == options.texts[options.labels.index(chosen)]
    else:
        agrees = not {*_CAPITAL.findall(labelled["text"])} & {*options.labels} - {chosen}
    return chosen if agrees else None


def read_selection(text: str, options: Options) -> frozenset[str] | None:
    """The labels that a text lists: `A, C`, `(A) and (C)`, `AC` or `none`; None for anything else."""
    text = plain(text)
    if text.casefold() in _NONE:
        return frozenset()
    if text and text == _in_order(options.labels, text):
        return frozenset(text)
    parts = _BETWEEN.sub(" ", text.replace("\\{", "").replace("\\}", "")).split()
    labels = [_LABEL.fullmatch(part) for part in parts]
    chosen = frozenset(label["label"].upper() for label in labels if label is not None)
    return chosen if labels and all(labels) and chosen <= {*options.labels} else None


def _in_order(labels: tuple[str, ...], text: str) -> str:
    """The labels that occur in a text, run together in their order: `AC` is a selection, `CAB` a word."""
    return "".join(label for label in labels if label in text)


def _comparable(text: str) -> str:
    return plain(clean(text)).casefold().strip(" .\"'")
