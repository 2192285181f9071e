"""Near-duplicates of held-out questions, by RapidFuzz over words: whole questions, and questions inside a text."""

import re
from collections import defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from rewards.response import clean

SHINGLE = 4  # words in a row that a text must share with a question to be compared with it
MAX_TEXT_WORDS = 100_000

_WORD = re.compile(r"\w+|[^\w\s]")


class SimilarityConfig(BaseModel):
    """A question is near another where their words, in any order, agree to the share `questions`.

    A text is near one where some stretch of it agrees in words and order to the share `inside`; questions of fewer
    than `min_words` words are not looked for inside texts, where they occur by chance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    questions: float = Field(0.9, gt=0, le=1)
    inside: float = Field(0.8, gt=0, le=1)
    min_words: int = Field(8, ge=SHINGLE)


class HeldOut:
    """Questions that training must not see."""

    def __init__(self, questions: Sequence[str], config: SimilarityConfig) -> None:
        self.config = config
        self._words = [_words(question) for question in questions]
        self._sorted = [sorted(found) for found in self._words]
        self._with_shingle: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for number, found in enumerate(self._words):
            if len(found) >= config.min_words:
                for shingle in _shingles(found):
                    self._with_shingle[shingle].add(number)

    def near_question(self, question: str) -> bool:
        """Whether a question is one of them in other words or another order: twins are near."""
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        cutoff = self.config.questions
        words = sorted(_words(question))
        similarity = Indel.normalized_similarity
        return process.extractOne(words, self._sorted, scorer=similarity, score_cutoff=cutoff) is not None

    def near_text(self, text: str) -> bool:
        """Whether a text holds one of them, nearly word for word."""
        from rapidfuzz import fuzz

        words = _words(text)[:MAX_TEXT_WORDS]
        shared = {number for shingle in _shingles(words) for number in self._with_shingle.get(shingle, ())}
        cutoff = 100 * self.config.inside
        return any(
            len(self._words[number]) <= len(words) and fuzz.partial_ratio(self._words[number], words) >= cutoff
            for number in sorted(shared)
        )


def _words(text: str) -> list[str]:
    return _WORD.findall(clean(text).casefold())


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return set(zip(*(words[start:] for start in range(SHINGLE)), strict=False))
