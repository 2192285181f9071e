"""How near a translation is to its references, by sacreBLEU's chrF (Popović 2015) and BLEU (Papineni et al. 2002)."""

import functools
from typing import Any

METRICS = "chrf", "chrf++", "bleu"
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}  # sacreBLEU's own; 13a for the others


def similarity(answer: str, references: list[str], metric: str, language: str | None) -> float:
    """From 0 to 1. BLEU is that of a sentence: of the orders that it is long enough for, smoothed."""
    score = _scorer(metric, TOKENIZERS.get(language or "", "13a")).sentence_score(answer, references).score
    return min(max(score / 100, 0.0), 1.0) if score < 99.999 else 1.0


@functools.cache
def _scorer(metric: str, tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    if metric == "bleu":
        return BLEU(tokenize=tokenizer, effective_order=True)
    return CHRF(word_order=2 if metric == "chrf++" else 0)
