"""Numbers of an evaluation and their errors; `scores` has one list a prompt."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The unbiased chance that one of k samples is correct, 1 - C(n-c, k) / C(n, k) (Codex, 2107.03374 eq. 1)."""
    assert 0 < k <= num_samples, f"pass@{k} needs at least {k} samples, has {num_samples}"
    if num_samples - num_correct < k:
        return 1.0
    return 1.0 - math.prod(1 - k / j for j in range(num_samples - num_correct + 1, num_samples + 1))


def consensus(answers: Sequence[str | None], scores: Sequence[float]) -> float:
    """cons@k: the score of the most frequent answer, the earliest of equals; no answer (None) is no vote."""
    votes = Counter(answer for answer in answers if answer is not None)
    return scores[answers.index(votes.most_common(1)[0][0])] if votes else 0.0


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over prompts and its standard error, clustered: prompts, not samples, are independent."""
    if not values:
        return float("nan"), float("nan")
    array = np.asarray(values, dtype=float)
    error = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else float("nan")
    return float(array.mean()), error


def ratio_and_error(parts: Sequence[float], wholes: Sequence[float]) -> tuple[float, float]:
    """The sum of the parts over that of the wholes, one of each a prompt, and its standard error over prompts.

    Of a ratio, linearised (Cochran, Sampling Techniques, eq. 6.13).
    """
    part, whole = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    ratio, count = float(part.sum() / whole.sum()), len(part)
    if count < 2:
        return ratio, float("nan")
    spread = float(((part - ratio * whole) ** 2).sum()) * count / (count - 1)
    return ratio, math.sqrt(spread) / float(whole.sum())


def sampling_error(scores: Sequence[Sequence[float]]) -> float:
    """The part of the error that more samples a prompt would remove: the prompts held fixed."""
    variances = [float(np.var(s, ddof=1)) / len(s) for s in scores if len(s) > 1]
    return math.sqrt(sum(variances)) / len(scores) if len(variances) == len(scores) else float("nan")


def paired_gain(before: dict[str, float], after: dict[str, float]) -> tuple[float, float]:
    """The mean difference over the prompts in both, and its standard error."""
    return mean_and_error([after[key] - before[key] for key in after if key in before])
