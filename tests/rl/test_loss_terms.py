"""What surrounds the clipped loss: the entropy coefficient, metrics, precision, and losses from elsewhere."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from rl.losses import LossConfig, make_policy_loss, metric_values
from tests.rl.golden import COUNTS, DELTA, flat, inputs


def test_an_applied_entropy_coefficient_takes_the_place_of_the_configured_one():
    given = replace(inputs(), entropy_N=flat(DELTA).abs().requires_grad_())
    compute = make_policy_loss(LossConfig(entropy={"adaptive": True}))
    plain, _ = compute(given, COUNTS, entropy_coefficient=0.0)
    steered, _ = compute(given, COUNTS, entropy_coefficient=0.01)
    # The absolute values of DELTA add up to 2.07, over ten tokens.
    assert float(plain.detach() - steered.detach()) == pytest.approx(0.01 * 0.207, rel=1e-5)


def test_an_adaptive_coefficient_must_be_passed():
    given = replace(inputs(), entropy_N=flat(DELTA).abs())
    with pytest.raises(AssertionError, match="adaptive entropy coefficient"):
        make_policy_loss(LossConfig(entropy={"adaptive": True}))(given, COUNTS)


@pytest.mark.parametrize(
    ("config", "stream"),
    [({"kl": {"place": "reward"}}, "frozen_logprobs_N"), ({"entropy": {"coefficient": 0.1}}, "entropy_N")],
)
def test_a_missing_stream_is_named(config, stream):
    with pytest.raises(AssertionError, match=stream):
        make_policy_loss(LossConfig(**config))(inputs(), COUNTS)


def test_metrics_of_golden_vectors():
    given = inputs(entropy_N=torch.full((10,), 0.4), frozen_logprobs_N=inputs().start_logprobs_N)
    loss, sums = make_policy_loss(LossConfig(kl={"place": "reward", "coefficient": 0}))(given, COUNTS)
    values = metric_values({name: float(value) for name, value in sums.items()})
    assert values["loss/policy"] == pytest.approx(float(loss.detach()))
    # A > 0 above 1.28: e^.30, e^.50; A < 0 below 0.8: e^-.40, e^-.30.
    assert values["loss/clip_rate"] == pytest.approx(0.4)
    assert values["loss/dual_clip_rate"] == 0
    assert values["loss/ratio_mean"] == pytest.approx(float(flat(DELTA).exp().mean()))
    assert values["loss/mismatch_kl"] == 0
    assert values["loss/kl"] == pytest.approx(0.057)  # the mean of DELTA
    assert values["policy/entropy"] == pytest.approx(0.4)
    assert values["correction/ess"] == 1
    assert not set(values) & {"num_tokens", "correction/weight_square_mean"}


def test_metrics_carry_no_gradient_and_no_tokens_have_the_same_names():
    given = replace(inputs(), entropy_N=flat(DELTA).abs().requires_grad_())
    compute = make_policy_loss(LossConfig(entropy={"coefficient": 0.1}))
    _, sums = compute(given, COUNTS)
    empty = {name: getattr(given, name)[:0] for name in given.__slots__ if getattr(given, name) is not None}
    loss, of_nothing = compute(replace(given, **empty), COUNTS)
    assert not any(value.requires_grad for value in sums.values())
    assert list(of_nothing) == list(sums)
    assert not any(of_nothing.values())
    loss.backward()


def test_the_loss_of_a_step_is_the_mean_over_its_updates():
    sums = {"num_tokens": 20.0, "loss/policy": 0.6, "loss/clip_rate": 5.0}
    assert metric_values(sums, num_updates=2) == {"loss/policy": 0.3, "loss/clip_rate": 0.25}


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_half_precision_streams_are_computed_in_float32(name):
    half = inputs(dtype=torch.bfloat16, with_gap=True)
    upcast = {n: getattr(half, n).detach().float() for n in half.__slots__[:4]}
    full = replace(half, **(upcast | {"learner_logprobs_N": upcast["learner_logprobs_N"].requires_grad_()}))
    compute = make_policy_loss(LossConfig(name=name))
    (left, sums), (right, _) = compute(half, COUNTS), compute(full, COUNTS)
    assert left.dtype == torch.float32
    assert float(left) == float(right)
    assert all(value.dtype == torch.float32 for value in sums.values())


@pytest.mark.parametrize("mode", ["decoupled", "bypass", "none"])
def test_only_the_learner_has_a_gradient(mode):
    given = inputs(with_gap=True)
    leaves = {
        name: getattr(given, name).detach().clone().requires_grad_()
        for name in ("start_logprobs_N", "sampler_logprobs_N", "advantages_N")
    }
    frozen = given.start_logprobs_N.clone().requires_grad_()
    given = replace(given, frozen_logprobs_N=frozen, **leaves)
    kl = {"place": "loss", "estimator": "k3", "importance": True}
    make_policy_loss(LossConfig(kl=kl, correction={"mode": mode}))(given, COUNTS)[0].backward()
    assert given.learner_logprobs_N.grad is not None
    assert all(leaf.grad is None for leaf in (*leaves.values(), frozen))


def test_a_loss_from_outside_the_tree(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("""
def reinforce(inputs, log_ratio_N, config):
    return -inputs.advantages_N * inputs.learner_logprobs_N, {"mine/one": log_ratio_N * 0 + 1}
""")
    config = LossConfig(name=f"{path}:reinforce", aggregation="sequence_sum", correction={"mode": "none"})
    given = inputs()
    loss, sums = make_policy_loss(config)(given, COUNTS)
    torch.testing.assert_close(torch.autograd.grad(loss, given.learner_logprobs_N)[0], -given.advantages_N / 4)
    assert float(sums["mine/one"]) == 10


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"name": "gpro"}, "known are cispo, grpo, gspo"),
        ({"name": "gspo", "dual_clip": 3.0}, "gspo has none"),
        ({"aggregation": "constant_length"}, "set both or neither"),
        ({"max_length": 10}, "set both or neither"),
        ({"aggregation": "mean"}, "token_mean"),
        ({"clip_lo": 0.1}, "Extra inputs"),
        ({"dual_clip": 1.0}, "greater than 1"),
        ({"kl": {"place": "reward", "estimator": "k3"}}, "biased in the reward"),
        ({"kl": {"place": "reward", "importance": True}}, "for kl.place loss"),
        ({"entropy": {"adaptive": True, "coefficient": 1.0}}, "above loss.entropy.max"),
    ],
)
def test_a_config_that_means_nothing_is_refused(config, complaint):
    with pytest.raises(ValidationError, match=complaint):
        LossConfig(**config)


def test_a_resolved_config_reads_back_as_itself():
    for name in ("grpo", "gspo", "cispo"):
        config = LossConfig(name=name)
        assert LossConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("no.such.module:loss", "cannot import"), ("math:no_loss", "has no function"), ("/no/such.py:loss", "no file")],
)
def test_a_plug_in_that_is_not_there_is_named(name, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_policy_loss(LossConfig(name=name))


def test_without_tokens_no_mean_and_no_sample_size_exist():
    sums = {"num_tokens": 0.0, "loss/policy": 0.0, "correction/weight_mean": 0.0, "correction/weight_square_mean": 0.0}
    values = metric_values(sums)
    assert values["loss/policy"] == 0
    assert math.isnan(values["correction/weight_mean"])
    assert math.isnan(values["correction/ess"])
