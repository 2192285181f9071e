"""Divergences at the head: by hand, by finite differences, against TRL, and whatever the chunks are."""

import math

import pytest
import torch
from pydantic import ValidationError

from rl.divergence_head import (
    Alignment,
    AlignmentSettings,
    ChunkedDivergence,
    DivergenceConfig,
    divergence_gradient,
    divergence_value,
)
from rl.vocabulary import check_same_tokens

CONFIGS = [
    {"name": "forward"},
    {"name": "reverse"},
    {"name": "jensen_shannon", "beta": 0.5},
    {"name": "jensen_shannon", "beta": 0.1},
]
TEACHER = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
STUDENT = torch.tensor([[0.25, 0.25, 0.25, 0.25]]).log()


def settings(divergence: dict, *, size: int, chunk: int = 512, sampling_temperature: float = 1.0) -> AlignmentSettings:
    return AlignmentSettings(
        divergence=DivergenceConfig(**divergence),
        sampling_temperature=sampling_temperature,
        vocabulary_size=size,
        chunk=chunk,
    )


def inputs(dtype=torch.float32, *, student_size: int = 23, teacher_size: int = 23, num_tokens: int = 11):
    """Hidden states and heads of a student of width 8 and a teacher of width 5, and targets."""
    generator = torch.Generator().manual_seed(0)
    shapes = (num_tokens, 8), (student_size, 8), (num_tokens, 5), (teacher_size, 5)
    hidden, weight, *teacher = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    target = torch.randint(20, (num_tokens,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), target, *teacher


def gradients(made, use: AlignmentSettings) -> tuple[torch.Tensor, torch.Tensor]:
    scale = torch.linspace(-1, 2, len(made[2]))
    outputs = ChunkedDivergence.apply(*made, use)
    return torch.autograd.grad((scale * outputs[2]).sum(), made[:2])


# Forward ½ log 2 + ¼ log ½, reverse ¼ log ½ + ½ log 2. The mixture at β = ½ is (3/8, 1/4, 3/16, 3/16), and both
# divergences from it are ½ log 4/3 + ¼ log 2/3.
HALF_WAY = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3)


@pytest.mark.parametrize(
    ("config", "value", "gradient"),
    [
        ({"name": "forward"}, 0.25 * math.log(2), [-0.25, 0.0, 0.125, 0.125]),
        (
            {"name": "reverse"},
            0.25 * math.log(2),
            [-0.3125 * math.log(2), -0.0625 * math.log(2), 0.1875 * math.log(2), 0.1875 * math.log(2)],
        ),
        (
            {"name": "jensen_shannon", "beta": 0.5},
            HALF_WAY,
            [0.125 * (math.log(ratio) - HALF_WAY) for ratio in (2 / 3, 1, 4 / 3, 4 / 3)],
        ),
    ],
)
def test_values_by_hand(config, value, gradient):
    config = DivergenceConfig(**config)
    assert divergence_value(STUDENT, TEACHER, config).item() == pytest.approx(value, abs=1e-7)
    assert divergence_gradient(STUDENT, TEACHER, config)[0].tolist() == pytest.approx(gradient, abs=1e-7)


def test_what_is_measured_by_hand():
    """Identity heads, so that hidden states are the logits."""
    eye = torch.eye(4)
    outputs = ChunkedDivergence.apply(STUDENT, eye, torch.tensor([2]), TEACHER, eye, settings({}, size=4))
    logprobs, entropy, *aligned = (value.item() for value in outputs)
    assert (logprobs, entropy) == pytest.approx((-math.log(4), math.log(4)))
    bit = math.log(2)
    assert aligned == pytest.approx(Alignment(0.25 * bit, 0.25 * bit, 0.25 * bit, 1.75 * bit, 1.0), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradients_against_finite_differences(config, temperature):
    config = DivergenceConfig(**config, temperature=temperature)
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    teacher_logprobs = (teacher / temperature).log_softmax(-1)

    def value(logits):
        return divergence_value((logits / temperature).log_softmax(-1), teacher_logprobs, config)

    gradient = divergence_gradient((student / temperature).log_softmax(-1), teacher_logprobs, config) / temperature
    for place in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[place] = 1e-6
        difference = (value(student + step) - value(student - step)) / 2e-6
        torch.testing.assert_close(gradient[:, place], difference, atol=1e-8, rtol=1e-6)
    assert gradient.abs().max() > 0.001


@pytest.mark.parametrize("sizes", [(23, 23), (29, 23), (23, 29), (31, 29)], ids=str)
@pytest.mark.parametrize("chunk", [1, 4, 11, 512])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_chunked_head_equals_plain_torch(config, chunk, sizes):
    """Values and gradients by autograd on full logits; ids from 23 on are padding of either embedding."""
    hidden, weight, target, teacher_hidden, teacher_weight = made = inputs(student_size=sizes[0], teacher_size=sizes[1])
    use = settings(config | {"temperature": 1.7}, size=23, chunk=chunk, sampling_temperature=0.6)
    outputs = ChunkedDivergence.apply(*made, use)
    sampled = (hidden @ weight.T / 0.6).log_softmax(-1)
    student = ((hidden @ weight.T)[:, :23] / 1.7).log_softmax(-1)
    teacher = ((teacher_hidden @ teacher_weight.T)[:, :23] / 1.7).log_softmax(-1)
    expected = (
        sampled.gather(-1, target[:, None]).squeeze(-1),
        -(sampled.exp() * sampled).sum(-1),
        divergence_value(student, teacher, use.divergence),
        (teacher.exp() * (teacher - student)).sum(-1),
        (student.exp() * (student - teacher)).sum(-1),
        -(teacher.exp() * teacher).sum(-1),
        (student.argmax(-1) == teacher.argmax(-1)).float(),
    )
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)
    assert [value.requires_grad for value in outputs] == [False, False, True, False, False, False, False]
    scale = torch.linspace(-1, 2, len(target))
    wanted = torch.autograd.grad((scale * expected[2]).sum(), (hidden, weight))
    torch.testing.assert_close(gradients(made, use), wanted, atol=1e-5, rtol=1e-5)
    assert all(gradient.abs().max() > 0.01 for gradient in wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
@pytest.mark.parametrize(
    ("config", "beta"),
    [({"name": "forward"}, 0), ({"name": "reverse"}, 1), *((c, c["beta"]) for c in CONFIGS if "beta" in c)],
)
def test_the_loss_is_that_of_trl(config, beta, temperature):
    trainer = pytest.importorskip("trl.experimental.gkd.gkd_trainer").GKDTrainer
    hidden, weight, _, teacher_hidden, teacher_weight = made = inputs()
    use = settings(config | {"temperature": temperature}, size=23)
    loss = ChunkedDivergence.apply(*made, use)[2].mean()
    theirs = trainer.generalized_jsd_loss(
        (hidden @ weight.T)[None], (teacher_hidden @ teacher_weight.T)[None], beta=beta, temperature=temperature,
        labels=torch.zeros(1, len(hidden)),
    )  # fmt: skip
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    ours, wanted = (torch.autograd.grad(value, made[:2]) for value in (loss, theirs))
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_student_that_is_its_teacher_has_no_gradient(config):
    hidden, weight, target, *_ = inputs()
    made = hidden, weight, target, hidden.detach(), weight.detach()
    use = settings(config, size=23)
    assert all(gradient.abs().max() < 1e-6 for gradient in gradients(made, use))
    alignment = Alignment(*ChunkedDivergence.apply(*made, use)[2:])
    assert alignment.divergence_N.abs().max() < 1e-6
    assert alignment.agreement_N.tolist() == [1.0] * len(target)


def test_a_frozen_head_leaves_the_gradient_of_hidden_states_alone():
    hidden, weight, *others = inputs()
    use = settings({}, size=23)
    expected = gradients((hidden, weight, *others), use)[0]
    ChunkedDivergence.apply(hidden, weight.detach(), *others, use)[2].backward(torch.linspace(-1, 2, 11))
    assert torch.equal(hidden.grad, expected)


def test_no_tokens_and_certain_ones():
    hidden, weight, target, *teacher = inputs(num_tokens=0)
    outputs = ChunkedDivergence.apply(hidden, weight, target, *teacher, settings({}, size=23))
    outputs[2].sum().backward()
    assert not weight.grad.any()
    certain = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    eye = torch.eye(3)
    outputs = ChunkedDivergence.apply(certain, eye, torch.tensor([0]), certain.detach(), eye, settings({}, size=3))
    outputs[2].sum().backward()
    assert all(torch.isfinite(value).all() for value in (*outputs, certain.grad))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"name": "jensen_shannon", "beta": 0}, "set name: forward"),
        ({"name": "jensen_shannon", "beta": 1}, "set name: reverse"),
        ({"name": "reverse", "beta": 0.3}, "reverse has none"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(config, complaint):
    with pytest.raises(ValidationError, match=complaint):
        DivergenceConfig(**config)


def test_the_default_is_read_back_from_a_run_folder():
    assert DivergenceConfig(**DivergenceConfig().model_dump()) == DivergenceConfig()


def test_other_ids_are_refused_by_name():
    same = {"a": 0, "b": 1, "<think>": 2}
    check_same_tokens(same, dict(reversed(same.items())))
    with pytest.raises(
        ValueError, match=r"differs from the student's in 2 tokens, first 'b' \(1, 2\), '<think>' \(2, 1\)"
    ):
        check_same_tokens(same, {"a": 0, "<think>": 1, "b": 2})
    with pytest.raises(ValueError, match=r"in 1 tokens, first '<think>' \(2, None\)"):
        check_same_tokens(same, {"a": 0, "b": 1})
