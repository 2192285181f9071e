"""Words that two texts share, counted as SQuAD and HotpotQA do (their evaluation scripts)."""

import re
from collections import Counter
from dataclasses import dataclass

from rewards.verifiers.text import normalise

# Scripts written without spaces: each of their letters is a word, as in MLQA's evaluation.
_WORD = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|"
                   "[^\\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")  # fmt: skip
_VERDICTS = {"yes", "no", "noanswer"}


@dataclass(frozen=True, slots=True)
class Overlap:
    """Shares from 0 to 1: of the answer's words, of the reference's, and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def words(text: str) -> list[str]:
    """The words of a text after normalisation; none where it is punctuation alone."""
    normal = normalise(text)
    return _WORD.findall(normal) if any(character.isalnum() for character in normal) else []


def overlap(answer: list[str], reference: list[str]) -> Overlap:
    """How far two lists of words agree; a word counts as often as both have it. Against yes or no, only that word."""
    if answer != reference and (_is_verdict(answer) or _is_verdict(reference)):
        return Overlap(0.0, 0.0, 0.0)
    shared = sum((Counter(answer) & Counter(reference)).values())
    if shared == 0:
        return Overlap(0.0, 0.0, 0.0)
    return Overlap(shared / len(answer), shared / len(reference), 2 * shared / (len(answer) + len(reference)))


def _is_verdict(found: list[str]) -> bool:
    return len(found) == 1 and found[0] in _VERDICTS
