"""Whether two texts are the same answer after SQuAD's normalisation (Rajpurkar et al. 2016, evaluation script)."""

import re
import string

from rewards.response import clean

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalise(text: str, *, case_sensitive: bool = False) -> str:
    """Text without case, punctuation, English articles and repeated white space."""
    text = clean(text)
    text = text if case_sensitive else text.casefold()
    return " ".join(_ARTICLES.sub(" ", text.translate(_PUNCTUATION)).split())


def same_text(answer: str, references: list[str], *, case_sensitive: bool = False) -> bool:
    """Whether the whole answer is one of the references; an answer that contains one among others is not."""
    wanted = {normalise(reference, case_sensitive=case_sensitive) for reference in references}
    return normalise(answer, case_sensitive=case_sensitive) in wanted
