"""Whether two texts are the same answer after SQuAD's normalisation (Rajpurkar et al. 2016, evaluation script)."""

import re
import string

from rewards.response import clean

_ARTICLES = re.compile(r"\b(?:a|an|the)\b(?= *\w)", re.IGNORECASE)
_OF_NUMBERS = r"(?<!\w)-(?=\.?\d)|(?<=\d)[-.,/:^*+](?=\d)|(?<!\w)\.(?=\d)"
_PUNCTUATION = re.compile(rf"(?P<kept>{_OF_NUMBERS})|(?P<deleted>[.'’])|[{re.escape(string.punctuation)}]")


def normalise(text: str, *, case_sensitive: bool = False) -> str:
    """Text without case, punctuation, English articles and repeated white space.

    Signs and points of numbers stay, as does an article at the end (`A`); a text of punctuation alone is itself.
    """
    text = clean(text)
    text = text if case_sensitive else text.casefold()
    words = " ".join(_PUNCTUATION.sub(lambda found: found["kept"] or ("" if found["deleted"] else " "), text).split())
    return " ".join(_ARTICLES.sub(" ", words).split()) or text


def same_text(answer: str, references: list[str], *, case_sensitive: bool = False) -> bool:
    """Whether the whole answer is one of the references; an answer that contains one among others is not."""
    wanted = {normalise(reference, case_sensitive=case_sensitive) for reference in references}
    return normalise(answer, case_sensitive=case_sensitive) in wanted
