"""What makes a text a summary, beside its words: ROUGE (Lin 2004) by rouge-score, and what is none at all."""

import functools
import re
from typing import Any

from rewards.verifiers.overlap import contained, longest_run, shares_run, tokens
from rewards.verifiers.prose import sentences

METRICS = "rougeL", "rouge1", "rouge2"
LEAD_SENTENCES = 3
MAX_LEAD = 0.7  # the share of 3-grams that may come from the first sentences of the source
MIN_CLAUSE_WORDS = 3.0  # on average between commas, stops and lines
MIN_SHORT_WORDS = 0.3  # of the reference's share of short words: lists of keywords have no articles and prepositions

_CLAUSE_END = re.compile(r"[.,;:!?…•|/。、，；：！？\n]+|\s[-–—*]\s|^[-–—*]\s", re.MULTILINE)


class _Tokenizer:
    """Every script's words, where rouge-score's own keeps a to z and digits."""

    def tokenize(self, text: str) -> list[str]:
        return tokens(text)


def load_rouge() -> None:
    """Import rouge-score, which brings NLTK: a third of a second."""
    _scorer(METRICS[0])


@functools.cache
def _scorer(metric: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([metric], tokenizer=_Tokenizer())


def rouge(summary: str, references: list[str], metric: str) -> float:
    """The F-measure against the nearest reference."""
    scorer = _scorer(metric)
    return float(max(scorer.score(reference, summary)[metric].fmeasure for reference in references))


def length_factor(num_words: int, low: float, high: float) -> float:
    """1 within the band; outside the ratio to its nearer end, and 0 from half or twice of that on."""
    ratio = min(num_words / low if low else 1.0, high / num_words if num_words else 0.0, 1.0)
    return ratio if ratio > 0.5 else 0.0


def novelty(words: list[str], source: list[str]) -> float:
    """The share of 3-grams that are not the source's."""
    return 1 - contained(words, source, 3)


def copying(
    words: list[str], source: str, references: list[list[str]], *, max_run: int, min_novelty: float
) -> str | None:
    """How the words are the source's own, if they are; what the references copy may be copied."""
    source_words = tokens(source)
    lead = tokens(" ".join(sentences(source)[:LEAD_SENTENCES]))
    allowed_run = max([max_run, *(longest_run(reference, source_words) for reference in references)])
    if shares_run(words, source_words, allowed_run + 1):
        return f"copies more than {allowed_run} words in a row"
    if contained(words, lead, 3) > max([MAX_LEAD, *(contained(reference, lead, 3) for reference in references)]):
        return f"the first {LEAD_SENTENCES} sentences of the source"
    wanted = min([min_novelty, *(novelty(reference, source_words) for reference in references)])
    if novelty(words, source_words) < wanted:
        return f"less than {wanted:.2f} of its 3-grams are its own"
    return None


def is_keyword_list(summary: str, words: list[str], references: list[list[str]]) -> bool:
    """Words without sentences: short pieces between separators, or hardly any short words beside the references."""
    if len(words) < 8:
        return False
    clauses = [len(clause) for clause in map(tokens, _CLAUSE_END.split(summary)) if clause]
    if sum(clauses) / len(clauses) < MIN_CLAUSE_WORDS:
        return True
    usual = min(_short_words(reference) for reference in references)
    return _short_words(words) < MIN_SHORT_WORDS * usual


def _short_words(words: list[str]) -> float:
    """The share of words of up to three letters; 0 where words are characters."""
    lengths = [len(word) for word in words]
    return sum(length in (2, 3) for length in lengths) / len(lengths)
