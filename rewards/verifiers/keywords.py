"""Keywords in a text: whole words, without regard to case, and without being fooled by hidden or look-alike letters."""

import re
import unicodedata

from rewards.verifiers.segmentation import IDEOGRAPHS, UNSPACED, compiled, words

_SPACE = re.compile(r"\s+")
_LOOK_ALIKES = str.maketrans(
    "аАвВсСеЕкКмМнНоОрРтТхХуУіІјЈѕЅԛԝһԁӏгпАαΑβΒεΕηΗιΙκΚμΜνΝοΟρΡτΤυΥχΧζΖɑɡıȷℓ",
    "aAbBcCeEkKmMhHoOpPtTxXyYiIjJsSqwhdlrnAaAbBeEnHiIkKuMvNoOpPtTuYxXzZagijl",
)


def folded(text: str) -> str:
    """Text in one case, with single spaces and straight apostrophes: what keywords are looked for in."""
    return _SPACE.sub(" ", text.casefold().replace("’", "'").replace("‘", "'"))


def find_keyword(keyword: str, text: str) -> list[int]:
    """Where a folded text has a folded keyword as whole words. `cat` is not in `concatenate`."""
    positions, start = [], text.find(keyword)
    while start >= 0:
        end = start + len(keyword)
        if not _joined(text, start) and not _joined(text, end):
            positions.append(start)
            start = text.find(keyword, end)
        else:
            start = text.find(keyword, start + 1)
    return positions


def count_keyword(keyword: str, text: str) -> int:
    return len(find_keyword(folded(keyword), folded(text)))


def has_keyword(keyword: str, text: str) -> bool:
    return bool(find_keyword(folded(keyword), folded(text)))


def has_keyword_in_disguise(keyword: str, text: str) -> bool:
    """As `has_keyword`, with accents and Cyrillic or Greek look-alikes read as the Latin letters that they imitate."""
    return has_keyword(keyword, text) or (keyword.isascii() and has_keyword(keyword, _undisguised(text)))


def is_stuffed(keywords: list[str], text: str) -> bool:
    """Whether more than half of a text's words are those of the keywords: a list of them is no answer."""
    forms = {word.casefold() for keyword in keywords for word in words(keyword)}
    all_words = words(text)
    return 2 * sum(word.casefold() in forms for word in all_words) > len(all_words)


def _undisguised(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.translate(_LOOK_ALIKES))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _joined(text: str, position: int) -> bool:
    """Whether a word goes on across a position. Scripts that are written without spaces have no such bounds."""
    if not 0 < position < len(text):
        return False
    part_of_word = compiled(rf"[[\p{{L}}\p{{M}}\p{{N}}_]--[{IDEOGRAPHS}{UNSPACED}]]")
    return bool(part_of_word.match(text[position - 1]) and part_of_word.match(text[position]))
