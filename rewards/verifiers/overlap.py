"""What two texts share: words, n-grams, copied runs. Linear in their lengths for a given n."""

from collections import Counter
from itertools import islice

import regex

from rewards.response import clean

# A word, a number, or one character of a script without spaces between words.
_TOKEN = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|"
    r"(?:(?![\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])[\p{L}\p{M}\p{N}])++"
)
Gram = tuple[str, ...]


def tokens(text: str) -> list[str]:
    """Words and numbers in lower case, without punctuation; characters where words are not spaced."""
    return _TOKEN.findall(clean(text).casefold())


def ngrams(words: list[str], n: int) -> list[Gram]:
    return list(zip(*(islice(words, start, None) for start in range(n)), strict=False))


def contained(words: list[str], source: list[str], n: int) -> float:
    """The share of a text's n-grams that are in the source; of shorter ones where the text has fewer than n words."""
    n = max(min(n, len(words), len(source)), 1)
    grams = ngrams(words, n)
    known = set(ngrams(source, n))
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


def shares_run(words: list[str], source: list[str], length: int) -> bool:
    """Whether `length` words in a row are the same in both."""
    return not set(ngrams(words, length)).isdisjoint(ngrams(source, length))


def longest_run(words: list[str], source: list[str]) -> int:
    """The most words in a row that are the same in both, by bisection."""
    low, high = 0, min(len(words), len(source))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if shares_run(words, source, middle) else (low, middle - 1)
    return low


def repeated(words: list[str], n: int) -> float:
    """The share of n-grams that have occurred before in the same text."""
    grams = ngrams(words, n)
    return sum(count - 1 for count in Counter(grams).values()) / len(grams) if grams else 0.0
