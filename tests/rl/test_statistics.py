"""Statistics of an evaluation, by hand and by enumeration."""

import math
from itertools import combinations

import pytest

from rl.statistics import consensus, mean_and_error, paired_gain, pass_at_k, ratio_and_error, sampling_error


def test_pass_at_k_golden_numbers():
    assert pass_at_k(16, 4, 8) == pytest.approx(0.961538, abs=1e-6)
    assert pass_at_k(10, 3, 5) == pytest.approx(0.916667, abs=1e-6)
    assert pass_at_k(4, 3, 2) == 1
    assert pass_at_k(4, 0, 2) == 0
    assert pass_at_k(8, 2, 1) == pytest.approx(0.25)


def test_errors_by_hand():
    assert mean_and_error([0.0, 0.5, 1.0]) == (0.5, pytest.approx(0.5 / math.sqrt(3)))
    assert sampling_error([[0, 1], [0, 1]]) == pytest.approx(math.sqrt(0.25 + 0.25) / 2)
    assert sampling_error([[1, 1], [0, 0]]) == 0
    gain, error = paired_gain({"a": 0.0, "b": 0.5, "c": 1.0}, {"a": 0.5, "b": 1.0, "d": 0.0})
    assert (gain, error) == (0.5, 0.0)


def test_a_ratio_and_its_error_by_hand():
    parts, wholes = [1, 0, 2], [2, 1, 3]
    assert ratio_and_error(parts, wholes) == (0.5, pytest.approx(math.sqrt((0 + 0.25 + 0.25) * 3 / 2) / 6))
    shares = [0.0, 0.5, 1.0]
    assert ratio_and_error([4 * share for share in shares], [4] * 3) == pytest.approx(mean_and_error(shares))
    ratio, error = ratio_and_error([1], [4])
    assert (ratio, math.isnan(error)) == (0.25, True)


def test_consensus_is_the_score_of_the_most_frequent_answer():
    assert consensus(["1", "2", "2"], [1.0, 0.0, 0.0]) == 0
    assert consensus(["1", "2", None, None, None], [1.0, 0.0, 0.0, 0.0, 0.0]) == 1
    assert consensus([None], [0.0]) == 0


@pytest.mark.filterwarnings("error")
def test_a_gain_without_common_prompts_is_not_a_number():
    assert paired_gain({"a": 1.0}, {"b": 1.0}) == (pytest.approx(float("nan"), nan_ok=True),) * 2


@pytest.mark.parametrize("correct", range(7))
@pytest.mark.parametrize("k", range(1, 7))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(correct, k):
    outcomes = [True] * correct + [False] * (6 - correct)
    subsets = list(combinations(outcomes, k))
    assert pass_at_k(6, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_k_samples(k):
    with pytest.raises(AssertionError, match="needs at least"):
        pass_at_k(4, 2, k)


def test_a_paired_gain_by_hand():
    before, after = {"a": 0.0, "b": 0.5, "c": 1.0}, {"a": 0.6, "b": 0.5, "c": 1.0}
    gain, error = paired_gain(before, after)
    # Differences 0.6, 0, 0: mean 0.2, variance (0.16 + 0.04 + 0.04) / 2 = 0.12, error sqrt(0.12 / 3) = 0.2.
    assert (gain, error) == (pytest.approx(0.2), pytest.approx(0.2))


def test_one_value_has_a_mean_and_no_error():
    mean, error = mean_and_error([0.5])
    assert mean == 0.5
    assert math.isnan(error)
    assert all(map(math.isnan, mean_and_error([])))


def test_without_repeated_samples_there_is_no_sampling_error():
    assert math.isnan(sampling_error([[1.0], [0.0, 1.0]]))
