"""A frozen teacher beside the student against both models alone, over packing, ZeRO stages and ranks."""

import functools

import pytest
import torch
from transformers import AutoModelForCausalLM

from rl.batch import PackingConfig, pack
from rl.divergence_head import Alignment, DivergenceConfig, divergence_value, kl
from rl.learner import LearnerConfig, OptimizerConfig
from rl.learner_group import open_learner
from rl.models import resolve_model
from rl.objectives import Computed, make_objective
from rl.policy import load_policy
from rl.teacher import AlignmentConfig, FrozenTeacher, TeacherConfig
from rl.vocabulary import common_vocabulary_size
from tests.rl.examples import examples
from tests.rl.test_deepspeed_learner import largest_gap, saved_weights

STUDENT, TEACHER = "package:tiny-qwen3", "package:tiny-qwen3-teacher"
# A large eps keeps AdamW from blowing float noise up where a gradient is nearly zero.
OPTIMIZER = OptimizerConfig(lr=1e-2, eps=1e-3, max_grad_norm=0.05)


def alignment_config(teacher: str = TEACHER, **divergence) -> AlignmentConfig:
    student, teacher = resolve_model(STUDENT), resolve_model(teacher)
    return AlignmentConfig(
        teacher=TeacherConfig(model=teacher, dtype="float32"),
        divergence=DivergenceConfig(**divergence),
        vocabulary_size=common_vocabulary_size(student, teacher),
    )


def plain_loss(student, teacher, config: AlignmentConfig) -> torch.Tensor:
    """One sequence at a time, with full logits of both models."""
    total = torch.zeros(())
    made = examples()
    for example in made:
        ids = torch.tensor([example.token_ids])
        place = slice(example.prefix_length - 1, -1)
        size, temperature = config.vocabulary_size, config.divergence.temperature
        ours = (student(ids).logits[0, place, :size] / temperature).log_softmax(-1)
        with torch.no_grad():
            theirs = (teacher(ids).logits[0, place, :size] / temperature).log_softmax(-1)
        values = divergence_value(ours, theirs, config.divergence)
        total = total + (values.mean() if config.divergence.aggregation == "sequence_mean" else values.sum())
    by_token = config.divergence.aggregation == "token_mean"
    return total / (sum(example.num_trainable for example in made) if by_token else len(made))


@functools.cache
def plain_models():
    return [AutoModelForCausalLM.from_pretrained(resolve_model(m), dtype=torch.float32) for m in (STUDENT, TEACHER)]


def aligned(policy, teacher: FrozenTeacher, config: AlignmentConfig, **layout) -> float:
    """The loss over all micro-batches of a layout, with its gradient in the policy's parameters."""
    objective = make_objective(config)
    (update,) = pack(examples(), PackingConfig(tokens_per_micro_batch=100, **layout), num_ranks=1).updates
    total = 0.0
    for micro in update.micro_batches[0]:
        logprobs_N, entropy_N, *rest = policy(*micro.model_inputs, teacher.comparison(micro))
        computed = Computed(logprobs_N=logprobs_N, entropy_N=entropy_N, alignment=Alignment(*rest))
        loss, _ = objective(micro, computed, update.counts)
        loss.backward()
        total += loss.item()
    return total


@pytest.mark.parametrize(
    "divergence",
    [
        {"name": "forward"},
        {"name": "reverse", "temperature": 2.0},
        {"name": "jensen_shannon", "beta": 0.3, "aggregation": "sequence_mean"},
    ],
    ids=str,
)
def test_packed_alignment_is_that_of_both_models_alone(divergence):
    config = alignment_config(**divergence)
    student, teacher = plain_models()
    student.zero_grad()
    expected = plain_loss(student, teacher, config)
    expected.backward()
    head = load_policy(config.teacher.model, dtype=torch.float32).requires_grad_(False)
    frozen = FrozenTeacher(head, head.model.lm_head.weight[: config.vocabulary_size], config.settings(1.0, chunk=7))
    for layout in ({"share_prefix": True}, {"share_prefix": False}, {"share_prefix": True, "tokens_per_row": 100}):
        policy = load_policy(resolve_model(STUDENT), dtype=torch.float32)
        assert aligned(policy, frozen, config, **layout) == pytest.approx(expected.item(), rel=1e-4)
        for (name, ours), (_, plain) in zip(policy.model.named_parameters(), student.named_parameters(), strict=True):
            largest = float(plain.grad.abs().max())
            assert largest > 1e-5, f"{name} has no gradient to compare"
            torch.testing.assert_close(ours.grad, plain.grad, atol=1e-4 * largest, rtol=0)
    assert all(parameter.grad is None for parameter in head.parameters())


def plain_training(config: AlignmentConfig, num_updates: int):
    student = AutoModelForCausalLM.from_pretrained(resolve_model(STUDENT), dtype=torch.float32)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.0)
    for _ in range(num_updates):
        loss = plain_loss(student, plain_models()[1], config)
        optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(student.parameters(), 0.05))
        optimizer.step()
    return {name: p.detach() for name, p in student.named_parameters()}, norm, loss.item()


@pytest.mark.parametrize(
    ("stage", "ranks"),
    [
        (1, 2),
        (3, 2),
        pytest.param(0, 2, marks=pytest.mark.slow),
        pytest.param(2, 2, marks=pytest.mark.slow),
        pytest.param(3, 1, marks=pytest.mark.slow),
    ],
)
async def test_every_stage_distils_as_plain_torch_does(ray_cluster, tmp_path, stage, ranks):
    config = alignment_config(name="forward")
    expected, norm, loss = plain_training(config, num_updates=2)
    learner_config = LearnerConfig(
        dtype="float32", zero_stage=stage, num_ranks=ranks, optimizer=OPTIMIZER, bucket_mib=1, logits_chunk=16
    )
    batch = pack(examples(), PackingConfig(tokens_per_micro_batch=64), num_ranks=ranks)
    assert len(batch.updates[0].micro_batches[0]) > 1, "accumulation must take part"
    async with open_learner(resolve_model(STUDENT), learner_config, config, temperature=1.0, seed=0) as learner:
        await learner.update(batch)
        metrics = await learner.update(batch)
        await learner.save(tmp_path)
    assert metrics["optim/grad_norm"] == pytest.approx(norm, rel=1e-3)
    assert metrics["loss/distill"] == metrics["distill/forward_kl"] == pytest.approx(loss, rel=1e-4)
    assert largest_gap(saved_weights(tmp_path), expected) < 2e-6


def test_metrics_are_means_over_tokens():
    objective = make_objective(alignment_config(name="reverse"))
    (update,) = pack(examples(1, 2), PackingConfig(share_prefix=False), num_ranks=1).updates
    ((micro,),) = update.micro_batches
    count = update.counts.num_tokens
    tokens = torch.arange(count, dtype=torch.float32)
    computed = Computed(
        logprobs_N=micro.sampler_logprobs_N,
        entropy_N=tokens + 1,
        alignment=Alignment(tokens, tokens + 2, tokens, tokens + 3, (tokens > 0).float()),
    )
    loss, sums = objective(micro, computed, update.counts)
    mean = (count - 1) / 2
    assert loss.item() == pytest.approx(mean)
    assert objective.metrics({name: float(value) for name, value in sums.items()}, 1) == pytest.approx(
        {
            "loss/distill": mean,
            "loss/mismatch_kl": 0.0,
            "policy/entropy": mean + 1,
            "distill/forward_kl": mean + 2,
            "distill/reverse_kl": mean,
            "distill/teacher_entropy": mean + 3,
            "distill/top1_agreement": (count - 1) / count,
        }
    )


def test_kl_of_equals_is_zero():
    same = torch.randn(2, 7).log_softmax(-1)
    assert kl(same, same).tolist() == [0.0, 0.0]
