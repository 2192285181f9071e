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
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "hundred",
        "thousand",
        "million",
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
    ]
)


def repetition_penalty(text: str) -> float:
    """In [-1, 0]: 0 up to ALLOWED_SHARE of repeated text, then linear; -1 where one n-gram is all there is."""
    share = max(repeated_share(text), filler_share(text))
    return -max(0.0, share - ALLOWED_SHARE) / (1 - ALLOWED_SHARE)


def repeated_share(text: str) -> float:
    """The share of a text's n-grams of words that it has had before, as they are or with all numbers as one.

    Numbers and variables in a row are one, so that tables and calculations with other numbers are no repetition.
    """
    found = _chunked(words(prepare(text).casefold()))
    return max(_share(found), _share(_masked(found)))


def _share(tokens: list[str]) -> float:
    if len(tokens) < MIN_TOKENS:
        return 0.0
    ngrams = list(zip(*(tokens[start:] for start in range(NGRAM)), strict=False))
    return (len(ngrams) - len(set(ngrams))) / (len(ngrams) - 1)


def filler_share(text: str) -> float:
    """The share of a text's characters in long stretches without a word."""
    prepared = prepare(text)
    return sum(len(found) for found in _FILLER.findall(prepared)) / max(len(prepared), 1)


def _chunked(found: list[str]) -> list[str]:
    """Words, overlong ones in chunks."""
    chunks: list[str] = []
    for word in found:
        size = CHUNK_CHARS if len(word) > MAX_WORD_CHARS else MAX_WORD_CHARS
        chunks += [word[start : start + size] for start in range(0, len(word), size)]
    return chunks


def _masked(found: list[str]) -> list[str]:
    """Words with numbers and single letters as `0`, of which only one in a row."""
    masked: list[str] = []
    for word in found:
        is_number = word in _NUMBERS or word.isdigit() or (len(word) == 1 and word.isascii())
        token = "0" if is_number else _DIGITS.sub("0", word)
        if token != "0" or masked[-1:] != ["0"]:
            masked.append(token)
    return masked
