"""Whether a text can be an answer at all, before a model is asked whether it is a right one. Linear in its length."""

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from rewards.response import clean
from rewards.verifiers.master_keys import MASTER_KEYS

LONG_REFERENCE_WORDS = 12  # a reference of as many words is no name and no number
SHORT_ANSWER_WORDS = 3

_APOSTROPHES = re.compile("['’`´]")
_NUMBERED = "(?:step |schritt |paso |passo |étape |шаг |adım |bước |第)[0-9]{1,2}(?:步)?"


def no_content(answer: str, references: Sequence[str] = ()) -> str | None:
    """Why a text is no answer to anything, or None: it is empty, punctuation, a bare opener, or far too short.

    `references` are what it should be like, if there are such: a number wants a number, in digits or in words, and a
    long text more than two words. What is a reference to the word has content, whatever it looks like.
    """
    words = _words(answer)
    if not words:
        return "no word or number in the answer"
    if words in map(_words, references):
        return None
    if _openers().fullmatch(words):
        return "an opener without an answer"
    reasons = [_too_short(words, reference) for reference in references]
    return reasons[0] if reasons and all(reasons) else None


def _too_short(words: str, reference: str) -> str | None:
    if _is_number(clean(reference)):
        has_number = any(unicodedata.numeric(character, None) is not None for character in words)
        return None if has_number or len(words) > 1 else "no number in the answer"
    num_words = len(_words(reference).split())
    is_short = len(words.split()) < SHORT_ANSWER_WORDS and len(words) < 4 * SHORT_ANSWER_WORDS
    return "far shorter than the reference" if num_words >= LONG_REFERENCE_WORDS and is_short else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9][0-9,]*(?:\.[0-9]+)?", text) is not None


def _words(text: str) -> str:
    """Letters, digits and marks of a text, casefolded, with one blank between what else parts them."""
    text = _APOSTROPHES.sub("", clean(text).casefold()).replace("ı", "i")  # Turkish has two
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).split())


@functools.cache
def _openers() -> Any:
    """Any number of openers in a row; RE2 takes linear time over them."""
    import re2

    keys = sorted({_words(key) for key in MASTER_KEYS}, key=len, reverse=True)
    return re2.compile(f"(?:(?:{'|'.join([re2.escape(key) for key in keys])}|{_NUMBERED}) ?)+")
