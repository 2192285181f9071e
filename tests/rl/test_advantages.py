import pytest
from pydantic import ValidationError

from rl.advantages import AdvantageConfig, is_flat, make_advantage
from tests.rl.golden import SCORES


@pytest.mark.parametrize(("name", "size"), [("grpo", 0.866024), ("dr_grpo", 0.5), ("rloo", 0.666667)])
def test_golden(name, size):
    (values,) = make_advantage(name)([SCORES])
    assert values == pytest.approx([size, -size, -size, size], abs=1e-6)


def test_batch_std_divides_all_groups_by_one_deviation():
    first, second = make_advantage("batch_std")([[1.0, 0.0], [1.0, 0.5]])
    # All four scores: mean 0.625, ddof-1 deviation sqrt(0.6875 / 3) = 0.478714.
    assert first == pytest.approx([0.5 / 0.478715, -0.5 / 0.478715], abs=1e-5)
    assert second == pytest.approx([0.25 / 0.478715, -0.25 / 0.478715], abs=1e-5)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "batch_std"])
def test_no_signal_is_exactly_zero(name):
    groups = [[0.1] * 8, [0.1 + 0.2, 0.3], [1.0, None], [None, None], [0.7]]
    assert make_advantage(name)(groups) == [[0.0] * 8, [0.0] * 2, [0.0] * 2, [0.0] * 2, [0.0]]


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "batch_std"])
def test_an_unscored_sample_counts_in_nothing(name):
    without = make_advantage(name)([SCORES])[0]
    with_hole = make_advantage(name)([[1.0, None, 0.0, 0.0, 1.0]])[0]
    assert with_hole == [without[0], 0.0, *without[1:]]


def test_rloo_is_dr_grpo_times_a_constant():
    scores = [[0.3, 1.0, 0.0, 0.9, 0.2]]
    rloo, centred = make_advantage("rloo")(scores)[0], make_advantage("dr_grpo")(scores)[0]
    assert rloo == pytest.approx([5 / 4 * value for value in centred])
    others_mean = (0.3 + 0.0 + 0.9 + 0.2) / 4
    assert rloo[1] == pytest.approx(1.0 - others_mean)


def test_flat_means_equal_up_to_rounding():
    assert is_flat([0.1 + 0.2, 0.3])
    assert not is_flat([0.3, 0.3001])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValidationError, match="known are batch_std, dr_grpo, grpo, rloo"):
        AdvantageConfig(name="gpro")
