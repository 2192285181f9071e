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


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "batch_std"])
def test_order_of_groups_and_samples_changes_nothing_to_the_bit(name):
    groups = [[0.1, 0.7, 0.3, 1.0], [1.0, 0.0, 0.0], [0.25, None, 0.9]]
    compute = make_advantage(name)
    straight = compute(groups)
    backwards = compute([group[::-1] for group in reversed(groups)])
    assert [values[::-1] for values in reversed(backwards)] == straight
    assert all(sum(values) == pytest.approx(0, abs=1e-12) for values in straight)


def test_grpo_has_unit_deviation_whatever_the_scale_and_dr_grpo_keeps_it():
    small, large = make_advantage("grpo")([[0.0, 0.01, 0.02], [0.0, 100.0, 200.0]])
    assert small == pytest.approx([-0.9999, 0.0, 0.9999], abs=1e-6)
    assert large == pytest.approx([-1.0, 0.0, 1.0], abs=1e-6)
    assert make_advantage("dr_grpo")([[0.0, 100.0, 200.0]]) == [[-100.0, 0.0, 100.0]]


def test_batch_std_leaves_out_lone_scores():
    alone = make_advantage("batch_std")([[1.0, 0.0], [1.0, 0.5], [9.0, None]])
    assert alone == [*make_advantage("batch_std")([[1.0, 0.0], [1.0, 0.5]]), [0.0, 0.0]]


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "batch_std"])
def test_no_groups_have_no_advantages(name):
    assert make_advantage(name)([]) == []


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("[[1.0 for s in group] for group in scores]", "gave an unscored sample"),
        ("[[float('nan') for s in group] for group in scores]", "gave nan"),
    ],
)
def test_what_a_plug_in_gives_is_checked(tmp_path, body, complaint):
    path = tmp_path / "mine.py"
    path.write_text(f"def signal(scores):\n    return {body}\n")
    with pytest.raises(AssertionError, match=complaint):
        make_advantage(f"{path}:signal")([[1.0, None]])


def test_a_score_that_is_not_a_number_stops_here():
    with pytest.raises(AssertionError, match="finite or None"):
        make_advantage("grpo")([[float("nan"), 1.0]])
