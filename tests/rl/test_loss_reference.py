"""Every loss × aggregation × correction against scalar Python that shares no line with the implementation.

The reference takes the point at which detached parts are frozen apart from the point at which the loss is
evaluated, so its finite differences are the gradient, stop-gradients included.
"""

from dataclasses import replace
from math import exp

import pytest
import torch

from rl.losses import LossConfig, make_policy_loss
from tests.rl.golden import COUNTS, DELTA, GAP, LENGTHS, START, flat, inputs

ADVANTAGES = [[0.9, 0.7], [-0.8, -0.5, -0.9, 0.3], [0.2, -0.6, -1.1], [1.3]]  # each token its own
FROZEN_GAP = [[0.3, -0.1], [0.2, -0.4, 0.05, 0.6], [-0.2, 0.1, 0.0], [0.4]]  # start minus frozen
ENTROPY = [[0.5, 0.1], [1.2, 0.4, 0.3, 0.9], [0.2, 0.2, 0.7], [1.1]]
POINT = [[s + d for s, d in zip(*rows, strict=True)] for rows in zip(START, DELTA, strict=True)]


def clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def weight_of(aggregation: str, length: int) -> float:
    return {
        "token_mean": 1 / 10,
        "sequence_mean": 1 / (4 * length),
        "sequence_sum": 1 / 4,
        "constant_length": 1 / 20,
    }[aggregation]


def rho_of(config: LossConfig, i: int, t: int) -> float:
    correction, gaps = config.correction, GAP[i]
    if correction.mode != "decoupled":
        return 1.0
    exponents = {"token": gaps[t], "sequence": sum(gaps), "geometric": sum(gaps) / len(gaps)}
    rho = exp(exponents[correction.level])
    if correction.kind == "truncate":
        return min(rho, correction.high)
    return rho if correction.low <= rho <= correction.high else 0.0


def clipped_surrogate(ratio: float, advantage: float, config: LossConfig) -> float:
    bound = clamp(ratio, 1 - config.clip_low, 1 + config.clip_high)
    return -min(ratio * advantage, bound * advantage)


def token_loss(config: LossConfig, behaviour, advantage: float, now, frozen_at, t: int) -> float:
    """`now` and `frozen_at` are the sequence's log-probs, the second one behind a stop-gradient."""
    if config.name == "gspo":
        mean = sum(f - b for f, b in zip(frozen_at, behaviour, strict=True)) / len(now)
        return clipped_surrogate(exp(mean + now[t] - frozen_at[t]), advantage, config)
    if config.name == "cispo":
        weight = clamp(exp(frozen_at[t] - behaviour[t]), 1 - config.clip_low, 1 + config.clip_high)
        return -weight * advantage * now[t]
    loss = clipped_surrogate(exp(now[t] - behaviour[t]), advantage, config)
    return min(loss, -config.dual_clip * advantage) if config.dual_clip and advantage < 0 else loss


def kl_of(config: LossConfig, x: float, ratio: float, ratio_frozen: float, rho: float) -> float:
    value = 0.5 * x * x if config.kl.estimator == "k2" else exp(-x) - 1 + x
    if not config.kl.importance:
        return value
    return value * rho * (ratio_frozen if config.kl.estimator == "k2" else ratio)


def reference(config: LossConfig, point, frozen_at) -> float:
    total = 0.0
    for i, length in enumerate(LENGTHS):
        now, detached, gaps = point[i], frozen_at[i], FROZEN_GAP[i]
        behaviour = START[i]
        if config.correction.mode == "bypass":
            behaviour = [s - g for s, g in zip(START[i], GAP[i], strict=True)]
        for t in range(length):
            advantage, rho = ADVANTAGES[i][t], rho_of(config, i, t)
            if config.kl.place == "reward":
                advantage -= config.kl.coefficient * sum(gaps[t:])
            loss = rho * token_loss(config, behaviour, advantage, now, detached, t)
            if config.kl.place == "loss":
                x = now[t] - (START[i][t] - gaps[t])
                ratios = exp(now[t] - behaviour[t]), exp(detached[t] - behaviour[t])
                loss += config.kl.coefficient * kl_of(config, x, *ratios, rho)
            loss -= config.entropy.coefficient * ENTROPY[i][t]
            total += weight_of(config.aggregation, length) * loss
    return total


def difference(config: LossConfig, i: int, t: int, step: float = 1e-6) -> float:
    values = []
    for sign in (1, -1):
        moved = [list(row) for row in POINT]
        moved[i][t] += sign * step
        values.append(reference(config, moved, POINT))
    return (values[0] - values[1]) / (2 * step)


def check(config: LossConfig) -> None:
    given = inputs(with_gap=True)
    given = replace(
        given,
        advantages_N=flat(ADVANTAGES),
        frozen_logprobs_N=given.start_logprobs_N - flat(FROZEN_GAP),
        entropy_N=flat(ENTROPY).requires_grad_(),
    )
    loss, _ = make_policy_loss(config)(given, COUNTS)
    assert float(loss.detach()) == pytest.approx(reference(config, POINT, POINT), rel=1e-6, abs=1e-7)
    gradient = torch.autograd.grad(loss, given.learner_logprobs_N, retain_graph=True)[0]
    expected = [difference(config, i, t) for i, length in enumerate(LENGTHS) for t in range(length)]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert sum(map(abs, expected)) > 1e-2
    if config.entropy.coefficient:
        wanted = [-config.entropy.coefficient * weight_of(config.aggregation, n) for n in LENGTHS for _ in range(n)]
        assert torch.autograd.grad(loss, given.entropy_N)[0].tolist() == pytest.approx(wanted, rel=1e-6)


CORRECTIONS = [
    {"mode": "none"},
    {"mode": "bypass"},
    *({"level": level, "kind": "truncate", "high": 1.1} for level in ("token", "sequence", "geometric")),
    *({"level": level, "kind": "mask", "low": 0.6, "high": 1.1} for level in ("token", "sequence", "geometric")),
]
# GSPO's own band clips all but one of these sequences: a wider one leaves something to differentiate.
CLIPS = {"grpo": {}, "gspo": {"clip_low": 0.02, "clip_high": 0.2}, "cispo": {"clip_high": 0.2}}


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "sequence_sum", "constant_length"])
@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_value_and_gradient(name, aggregation, correction):
    max_length = 5 if aggregation == "constant_length" else None
    check(LossConfig(name=name, aggregation=aggregation, max_length=max_length, correction=correction, **CLIPS[name]))


KL = [
    {"place": "reward", "coefficient": 0.3},
    {"place": "loss", "estimator": "k2", "coefficient": 0.3},
    {"place": "loss", "estimator": "k3", "coefficient": 0.3},
    {"place": "loss", "estimator": "k2", "coefficient": 0.3, "importance": True},
    {"place": "loss", "estimator": "k3", "coefficient": 0.3, "importance": True},
]


@pytest.mark.parametrize("kl", KL, ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.parametrize("mode", ["decoupled", "bypass", "none"])
@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_kl_and_entropy_terms(name, mode, kl):
    check(LossConfig(name=name, correction={"mode": mode}, kl=kl, entropy={"coefficient": 0.05}, **CLIPS[name]))


def test_dual_clip_cuts_the_gradient_where_it_binds():
    """The ratios of tokens with A < 0 reach e^0.25 = 1.284, above a bound of 1.2."""
    check(LossConfig(dual_clip=1.2, clip_high=0.5, correction={"mode": "none"}))


def test_gspo_is_the_papers_sequence_loss():
    """Where a sequence has one advantage: mean over sequences of −min(s A, clip(s) A), s differentiated itself."""
    given = inputs((0.9, -0.8, 0.4, -1.3))
    config = LossConfig(name="gspo", clip_low=0.2, clip_high=0.28, correction={"mode": "none"})
    loss, _ = make_policy_loss(config)(given, COUNTS)
    own = given.learner_logprobs_N.detach().clone().requires_grad_()
    paper = torch.zeros((), dtype=torch.float64)
    for rows, advantage in zip(torch.split(own - given.start_logprobs_N, LENGTHS), (0.9, -0.8, 0.4, -1.3), strict=True):
        ratio = rows.mean().exp()
        paper = paper - torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage) / 4
    assert float(loss.detach()) == pytest.approx(float(paper.detach()), rel=1e-6)
    gradients = torch.autograd.grad(loss, given.learner_logprobs_N)[0], torch.autograd.grad(paper, own)[0]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)
