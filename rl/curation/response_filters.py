"""Response filters by name: the report's six (2505.09388 §4.1), each `(candidate) -> reason to drop it, or None`."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.hostile_text import neutralise
from rewards.penalties import repetition_penalty
from rewards.response import THINK_OPEN, clean
from rewards.verifiers.language import CANDIDATES, language_of, share_of
from rewards.verifiers.segmentation import count_words
from rewards.verifiers.think_format import format_fault
from rl.curation.candidates import Candidate
from rl.curation.similarity import HeldOut
from rl.plugins import check_name, find_function

ENDING_CHARS = 400  # of the thinking, where a guess is owned up to
MIN_LANGUAGE_WORDS = 12  # a text of fewer words of prose has no language to speak of
NAMES_SHARE = 0.3  # of a sentence's words, as in task `language_consistency`

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_GUESS = re.compile(
    r"\bI(?:'ll|’ll| will| have to| must| can only)?(?: just)? guess\b(?! that)|\b(?:wild|random|lucky|blind) guess\b|"
    r"\b(?:pick|choose)(?:ing)? (?:one )?at random\b|\bno idea\b[^.]{0,40}\b(?:say|answer)\b",
    re.IGNORECASE,
)


class ResponseLimits(BaseModel):
    """Where the rules draw their lines; the report names none of these numbers.

    `max_repetition` is of the repetition penalty, from 0 to 1. Thinking shorter than `min_thinking_words`, or than
    `min_thinking_ratio` times its summary, is no reasoning. `languages` (codes) are those that a response may be in;
    by default the question's, or where that is too short to tell, what most of the response is in.
    `min_language_share` is of the words of thinking and summary, each by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_repetition: float = Field(0.1, ge=0, le=1)
    min_thinking_words: int = Field(16, ge=1)
    min_thinking_ratio: float = Field(0.5, ge=0)
    languages: list[str] = []
    min_language_share: float = Field(0.8, ge=0, le=1)


class ResponseFiltersConfig(BaseModel):
    """The filters in their order; malformed and cut-off responses are dropped whatever is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: list[str] = [
        *["wrong_answer", "repetition", "guesswork", "disagreement", "language", "similar_to_validation"]
    ]
    limits: ResponseLimits = ResponseLimits()

    @field_validator("names")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return [check_name(name, RESPONSE_FILTERS, "response filter") for name in names]


def malformed(candidate: Candidate) -> str | None:
    """Cut off, or not one block of thinking with words, then an answer."""
    block = "none" if candidate.text.lstrip().startswith(THINK_OPEN) else "open"
    return _malformed(candidate, "think", block)


def direct_reason(candidate: Candidate, held_out: HeldOut) -> str | None:
    """Why a response without thinking is dropped: wrong, cut off, not an answer alone, or holding what is held out."""
    limits = ResponseLimits()
    return (
        wrong_answer(candidate, limits, held_out)
        or _malformed(candidate, "no_think", "closed")
        or similar_to_validation(candidate, limits, held_out)
    )


def _malformed(candidate: Candidate, mode: str, block: str) -> str | None:
    if candidate.finish_reason == "length":
        return "truncated"
    return "malformed" if format_fault(candidate.text, mode, block) else None


def wrong_answer(candidate: Candidate, limits: ResponseLimits, held_out: HeldOut) -> str | None:
    """Not right by the verifier, nor by a person. Without a score it is neither, and counted as that."""
    if candidate.passed:
        return None
    return "unscored" if candidate.score is None and candidate.right is None else "wrong_answer"


def repetition(candidate: Candidate, limits: ResponseLimits, held_out: HeldOut) -> str | None:
    """Much of it has been said before in it: the penalty of the rewards."""
    return "repetition" if -repetition_penalty(candidate.text) > limits.max_repetition else None


def guesswork(candidate: Candidate, limits: ResponseLimits, held_out: HeldOut) -> str | None:
    """Too little thinking for reasoning, by itself or beside its summary; or a guess that is owned up to (English)."""
    num_words = count_words(candidate.thinking)
    if num_words < max(limits.min_thinking_words, limits.min_thinking_ratio * count_words(candidate.answer)):
        return "guesswork"
    return "guesswork" if _GUESS.search(f"{candidate.thinking[-ENDING_CHARS:]}\n{candidate.answer}") else None


def disagreement(candidate: Candidate, limits: ResponseLimits, held_out: HeldOut) -> str | None:
    """The answer that the thinking commits to is not the summary's; or the summary's number is nowhere in it."""
    if candidate.right is None and candidate.thinking_score is not None and candidate.thinking_score < 1:
        return "disagreement"
    answer = _without_commas(candidate.extracted or "")
    if not _NUMBER.fullmatch(answer):
        return None
    numbers = {number.lstrip("+-") for number in _NUMBER.findall(_without_commas(candidate.thinking))}
    return None if answer.lstrip("+-") in numbers else "disagreement"


def language(candidate: Candidate, limits: ResponseLimits, held_out: HeldOut) -> str | None:
    """Thinking or summary in other languages than asked for, or marks of chat templates within: a shift of style."""
    parts = candidate.thinking, candidate.answer
    if any(neutralise(part) != part for part in parts):
        return "style_shift"
    guessed = language_of(candidate.query.text) or language_of("\n".join(parts))
    wanted = frozenset(limits.languages or ([guessed] if guessed else []))
    for part in parts if wanted else ():
        share = share_of(part, wanted, CANDIDATES, NAMES_SHARE)
        if share.words >= MIN_LANGUAGE_WORDS and share.language < limits.min_language_share:
            return "language_mixing"
    return None


def similar_to_validation(candidate: Candidate, limits: ResponseLimits, held_out: HeldOut) -> str | None:
    """A question of the validation set, nearly word for word, in the query or the response."""
    found = held_out.near_text(f"{candidate.query.text}\n{candidate.text}")
    return "similar_to_validation" if found else None


BuiltIn = Callable[[Candidate, ResponseLimits, HeldOut], str | None]
ResponseFilter = Callable[[Candidate], str | None]

RESPONSE_FILTERS: dict[str, BuiltIn] = {
    function.__name__: function
    for function in (wrong_answer, repetition, guesswork, disagreement, language, similar_to_validation)
}


def response_reasons(
    candidates: Sequence[Candidate], config: ResponseFiltersConfig, held_out: HeldOut
) -> list[str | None]:
    """The first reason for each candidate; `module:function` is a filter `(candidate)` outside the tree."""
    chosen: list[ResponseFilter] = []
    for name in config.names:
        if name in RESPONSE_FILTERS:
            check: Any = RESPONSE_FILTERS[name]
            chosen.append(functools.partial(check, limits=config.limits, held_out=held_out))
        else:
            chosen.append(find_function(name, {}, "response filter"))
    # What is not right is not looked at further, and the form counts only for what is.
    chosen.insert(1 if config.names[:1] == ["wrong_answer"] else 0, malformed)
    return [next((reason for drop in chosen if (reason := drop(each))), None) for each in candidates]


def _without_commas(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", clean(text))
