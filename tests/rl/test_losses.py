"""Golden numbers (hand-computed vectors of tests/rl/golden.py), finite differences and invariances."""

from dataclasses import fields, replace

import pytest
import torch

from rewards.combine import soft_overlong
from rl.losses import LossConfig, LossInputs, make_policy_loss, metric_values, needs_every_token
from rl.types import UpdateCounts
from tests.rl.golden import CENTRED, COUNTS, DELTA, STD1, flat, inputs

OFF = {"mode": "none"}


def loss_of(config: LossConfig, given: LossInputs, counts: UpdateCounts = COUNTS) -> float:
    return float(make_policy_loss(config)(given, counts)[0].detach())


@pytest.mark.parametrize(
    ("aggregation", "max_length", "clip_high", "advantages", "expected"),
    [
        ("sequence_mean", None, 0.2, STD1, -0.050728),
        ("token_mean", None, 0.2, STD1, 0.330821),
        ("sequence_sum", None, 0.2, STD1, 0.827053),
        ("constant_length", 4, 0.2, STD1, 0.206763),
        ("sequence_mean", None, 0.2, CENTRED, -0.029288),
        ("token_mean", None, 0.2, CENTRED, 0.191),
        ("sequence_sum", None, 0.2, CENTRED, 0.4775),
        ("constant_length", 4, 0.2, CENTRED, 0.119375),
        ("sequence_mean", None, 0.28, STD1, -0.076709),
        ("token_mean", None, 0.28, STD1, 0.316965),
        ("sequence_sum", None, 0.28, STD1, 0.792412),
        ("constant_length", 4, 0.28, STD1, 0.198103),
        ("sequence_mean", None, 0.28, CENTRED, -0.044288),
        ("token_mean", None, 0.28, CENTRED, 0.183),
        ("sequence_sum", None, 0.28, CENTRED, 0.4575),
        ("constant_length", 4, 0.28, CENTRED, 0.114375),
    ],
)
def test_clip_and_aggregation(aggregation, max_length, clip_high, advantages, expected):
    config = LossConfig(
        clip_high=clip_high, dual_clip=None, aggregation=aggregation, max_length=max_length, correction=OFF
    )
    assert loss_of(config, inputs(advantages)) == pytest.approx(expected, abs=2e-6)


def one_token(log_ratio: float, advantage: float) -> LossInputs:
    start = torch.tensor([-3.0])
    return LossInputs(
        learner_logprobs_N=(start + log_ratio).requires_grad_(),
        start_logprobs_N=start,
        sampler_logprobs_N=start,
        advantages_N=torch.tensor([advantage]),
        sequence_N=torch.tensor([0]),
        length_S=torch.tensor([1]),
    )


def test_dual_clip_bounds_the_loss_of_an_exploded_ratio():
    one, log_10 = UpdateCounts(num_tokens=1, num_sequences=1), 2.302585093
    free = LossConfig(dual_clip=None, correction=OFF)
    assert loss_of(free, one_token(log_10, -0.866024), one) == pytest.approx(8.660239, abs=1e-4)
    assert loss_of(LossConfig(correction=OFF), one_token(log_10, -0.866024), one) == pytest.approx(2.598072, abs=1e-5)


def test_gspo():
    config = LossConfig(name="gspo", correction=OFF)
    assert config.aggregation == "sequence_mean"
    loss, sums = make_policy_loss(config)(inputs(), COUNTS)
    assert float(loss) == pytest.approx(-0.000303, abs=2e-6)
    means = [1.133148] * 2 + [0.987578] * 4 + [0.957592] * 3 + [1.648721]
    assert metric_values({k: float(v) for k, v in sums.items()})["loss/ratio_mean"] == pytest.approx(sum(means) / 10)


@pytest.mark.parametrize(("cap", "expected"), [(1.2, -0.391268), (5.0, -0.387393)])
def test_cispo(cap, expected):
    config = LossConfig(name="cispo", clip_high=cap - 1, correction=OFF)
    assert loss_of(config, inputs()) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("level", "kind", "low", "expected"),
    [
        ("token", "truncate", 0.0, 0.364225),
        ("token", "mask", 0.5, 0.185962),
        ("sequence", "truncate", 0.0, 0.587912),
        ("sequence", "mask", 0.0, -0.137676),
    ],
)
def test_importance_correction(level, kind, low, expected):
    correction = {"level": level, "kind": kind, "low": low, "high": 2.0}
    config = LossConfig(clip_high=0.2, dual_clip=None, correction=correction)
    assert loss_of(config, inputs(with_gap=True)) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("length", "penalty"), [(16384, 0), (16385, -0.000244), (18432, -0.5), (20480, -1), (20481, -1)]
)
def test_soft_overlong(length, penalty):
    assert soft_overlong(length, 20480, 4096) == pytest.approx(penalty, abs=1e-6)


CORRECTIONS = [
    OFF,
    {"mode": "bypass"},
    {"level": "token", "kind": "truncate"},
    {"level": "token", "kind": "mask", "low": 0.5},
    {"level": "sequence", "kind": "truncate"},
    {"level": "geometric", "kind": "mask", "low": 0.9, "high": 1.3},
]


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "sequence_sum", "constant_length"])
@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_gradients_are_finite_differences(name, aggregation, correction):
    max_length = 4 if aggregation == "constant_length" else None
    clip = {"clip_low": 0.2, "clip_high": 0.28} if name == "gspo" else {}  # its own band clips all four sequences
    config = LossConfig(name=name, aggregation=aggregation, max_length=max_length, correction=correction, **clip)
    given = inputs(with_gap=True)
    compute = make_policy_loss(config)
    (gradient,) = torch.autograd.grad(compute(given, COUNTS)[0], given.learner_logprobs_N)
    point = given.learner_logprobs_N.detach()
    if name in ("cispo", "gspo"):  # a detached ratio: the gradient is not that of the value
        expected = _analytic(name, config, given)
    else:
        expected = torch.stack([_difference(compute, given, point, i) for i in range(len(point))])
    torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-5)
    assert gradient.abs().sum() > 1e-3


def _difference(compute, given: LossInputs, point: torch.Tensor, index: int, step: float = 1e-6) -> torch.Tensor:
    values = []
    for sign in (1, -1):
        moved = point.clone()
        moved[index] += sign * step
        values.append(compute(replace(given, learner_logprobs_N=moved), COUNTS)[0])
    return (values[0] - values[1]) / (2 * step)


def _analytic(name: str, config: LossConfig, given: LossInputs) -> torch.Tensor:
    """d loss / d log-prob of each token, written out: w ρ (−A) times the (clipped) ratio where it is not cut."""
    from rl.aggregation import token_weights
    from rl.correction import correction_weights

    behaviour = given.sampler_logprobs_N if config.correction.mode == "bypass" else given.start_logprobs_N
    log_ratio = given.learner_logprobs_N.detach() - behaviour
    sequence, lengths, advantage = given.sequence_N, given.length_S, given.advantages_N
    weight = token_weights(config.aggregation, sequence, lengths, COUNTS, config.max_length)
    if config.correction.mode == "decoupled":
        weight = (
            weight
            * correction_weights(
                given.start_logprobs_N, given.sampler_logprobs_N, sequence, lengths, config.correction
            )[0]
        )
    if name == "cispo":
        return -weight * advantage * log_ratio.exp().clamp(1 - config.clip_low, 1 + config.clip_high)
    ratio = torch.stack([log_ratio[sequence == s].mean() for s in range(len(lengths))]).exp()[sequence]
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    uncut = -ratio * advantage >= -clipped * advantage
    return torch.where(uncut, -weight * advantage * ratio, 0.0)


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_at_ratio_one_the_gradient_is_reinforce(name):
    start = inputs().start_logprobs_N
    given = inputs(learner_logprobs_N=start.clone().requires_grad_())
    loss, sums = make_policy_loss(LossConfig(name=name, aggregation="token_mean", correction=OFF))(given, COUNTS)
    (gradient,) = torch.autograd.grad(loss, given.learner_logprobs_N)
    torch.testing.assert_close(gradient, -given.advantages_N / 10)
    assert float(sums["loss/clip_rate"]) == 0


def part(given: LossInputs, sequences: list[int]) -> LossInputs:
    """These sequences of a micro-batch, in this order, as a micro-batch of their own."""
    rows = torch.cat([torch.nonzero(given.sequence_N == s).flatten() for s in sequences])
    numbers = torch.cat([torch.full((int(given.length_S[s]),), n) for n, s in enumerate(sequences)])
    streams = {}
    for field in fields(LossInputs):
        value = getattr(given, field.name)
        streams[field.name] = value if value is None or field.name == "length_S" else value[rows]
    return LossInputs(**(streams | {"sequence_N": numbers, "length_S": given.length_S[sequences]}))


FULL = {
    "kl": {"place": "loss", "estimator": "k3", "coefficient": 0.1},
    "entropy": {"coefficient": 0.01},
    "correction": {"level": "sequence", "kind": "truncate"},
}


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_micro_batches_and_order_change_nothing(name, aggregation):
    given = inputs(with_gap=True)
    given = replace(given, entropy_N=flat(DELTA).abs(), frozen_logprobs_N=given.start_logprobs_N - 0.2)
    compute = make_policy_loss(LossConfig(name=name, aggregation=aggregation, **FULL))
    whole, sums = compute(given, COUNTS)
    for split in ([[0, 1], [2, 3]], [[3], [2, 0], [1]], [[3, 2, 1, 0]]):
        parts = [compute(part(given, sequences), COUNTS) for sequences in split]
        assert float(sum(p[0] for p in parts)) == pytest.approx(float(whole), rel=1e-6)
        for metric in sums:
            assert float(sum(p[1][metric] for p in parts)) == pytest.approx(float(sums[metric]), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_no_tokens_give_zero_with_a_graph(name):
    empty = torch.zeros(0)
    nothing = LossInputs(
        learner_logprobs_N=empty.clone().requires_grad_(),
        start_logprobs_N=empty,
        sampler_logprobs_N=empty,
        advantages_N=empty,
        sequence_N=torch.zeros(0, dtype=torch.long),
        length_S=torch.zeros(0, dtype=torch.long),
    )
    loss, _ = make_policy_loss(LossConfig(name=name))(nothing, UpdateCounts(num_tokens=0, num_sequences=0))
    assert float(loss) == 0
    loss.backward()


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
@pytest.mark.parametrize("monster", [-1e4, 1e4])
def test_monster_ratios_stay_finite(name, monster):
    given = one_token(monster, -1.0)
    loss, sums = make_policy_loss(LossConfig(name=name))(given, UpdateCounts(num_tokens=1, num_sequences=1))
    (gradient,) = torch.autograd.grad(loss, given.learner_logprobs_N)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert all(torch.isfinite(value) for value in sums.values())


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_zero_advantages_have_no_gradient(name):
    given = inputs((0.0, 0.0, 0.0, 0.0), with_gap=True)
    loss, _ = make_policy_loss(LossConfig(name=name))(given, COUNTS)
    (gradient,) = torch.autograd.grad(loss, given.learner_logprobs_N)
    assert not gradient.any()


def test_only_kl_and_entropy_need_groups_without_signal():
    assert not needs_every_token(LossConfig())
    assert needs_every_token(LossConfig(kl={"place": "loss", "estimator": "k2"}))
    assert needs_every_token(LossConfig(entropy={"coefficient": 0.01}))
    assert needs_every_token(LossConfig(entropy={"adaptive": True}))
    assert not needs_every_token(LossConfig(kl={"place": "loss", "estimator": "k2", "coefficient": 0}))


def test_nothing_computed_has_no_means():
    values = metric_values({"num_tokens": 0.0, "loss/policy": 0.0, "policy/entropy": 0.0})
    assert values["policy/entropy"] != values["policy/entropy"]
