"""Group filters: the first reason to drop a group, by name."""

import pytest

from rl.filters import build_group_filter
from tests.fakes import make_scored


@pytest.mark.parametrize("scores", [[None, None], [1.0, None, None], [0.0]])
def test_too_few_scored_is_always_on(scores):
    assert build_group_filter([])(make_scored(scores)) == "too_few_scored"


def test_zero_variance_looks_at_scored_samples_alone():
    keep = build_group_filter(["zero_variance"])
    assert keep(make_scored([1.0, 1.0, None])) == "zero_variance"
    assert keep(make_scored([1.0, 0.0, None])) is None
    assert build_group_filter([])(make_scored([1.0, 1.0])) is None


def test_all_truncated():
    keep = build_group_filter(["all_truncated"])
    assert keep(make_scored([1.0, 0.0], finish_reason="length")) == "all_truncated"
    assert keep(make_scored([1.0, 0.0])) is None


def test_the_first_reason_counts():
    group = make_scored([0.0, 0.0], finish_reason="length")
    assert build_group_filter(["zero_variance", "all_truncated"])(group) == "zero_variance"
    assert build_group_filter(["all_truncated", "zero_variance"])(group) == "all_truncated"


def test_an_unknown_name_gives_the_nearest_and_all_known():
    with pytest.raises(ValueError, match="did you mean 'zero_variance'") as caught:
        build_group_filter(["zero_varience"])
    assert "all_truncated, too_few_scored, zero_variance" in str(caught.value)


def drop_all(group):
    return "mine"


def test_a_filter_from_outside():
    assert build_group_filter([f"{__file__}:drop_all"])(make_scored([1.0, 0.0])) == "mine"
