"""Penalties of texts that repeat themselves: pure functions. `combine.soft_overlong` is the one of length."""

import re

from rewards.verifiers.segmentation import MAX_WORD_CHARS, prepare, words

NGRAM = 6  # words; shorter ones recur in any prose
ALLOWED_SHARE = 0.25  # of a text that may be repeated for nothing: proofs and lists do so
MIN_TOKENS = 32  # a text of fewer has no n-grams to speak of
CHUNK_CHARS = 6  # that a run without spaces is cut into: a multiple of the commonest periods

_FILLER = re.compile(r"[^\w]{64,}")
_DIGITS = re.compile(r"\d+")
_NUMBERS = frozenset(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
)


def repetition_penalty(text: str) -> float:
    """In [-1, 0]: 0 up to ALLOWED_SHARE of repeated text, then linear; -1 where one n-gram is all there is."""
    share = max(repeated_share(text), filler_share(text))
    return -max(0.0, share - ALLOWED_SHARE) / (1 - ALLOWED_SHARE)


def repeated_share(text: str) -> float:
    """The share of a text's n-grams of words that it has had before; numbers are one word, and so count as equal.

    Numbers in a row are one, so that tables and calculations with nothing but other numbers are no repetition.
    """
    masked = _masked(text)
    if len(masked) < MIN_TOKENS:
        return 0.0
    ngrams = list(zip(*(masked[start:] for start in range(NGRAM)), strict=False))
    return (len(ngrams) - len(set(ngrams))) / (len(ngrams) - 1)


def filler_share(text: str) -> float:
    """The share of a text's characters in long stretches without a word."""
    prepared = prepare(text)
    return sum(len(found) for found in _FILLER.findall(prepared)) / max(len(prepared), 1)


def _masked(text: str) -> list[str]:
    """Words in one case, numbers as `0` and only one of those in a row, and overlong words in chunks."""
    masked: list[str] = []
    for word in words(prepare(text).casefold()):
        if len(word) > MAX_WORD_CHARS:
            masked += [word[start : start + CHUNK_CHARS] for start in range(0, len(word), CHUNK_CHARS)]
            continue
        token = "0" if word in _NUMBERS else _DIGITS.sub("0", word)
        if token != "0" or masked[-1:] != ["0"]:
            masked.append(token)
    return masked
