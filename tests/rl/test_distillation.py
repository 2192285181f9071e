"""What the student sampled, on its way to the learner; and the gradient of the sampled-token mode."""

import math

import pytest
import torch

from rl.batch import PackingConfig, pack
from rl.collect import Collector
from rl.config_file import find_config, load_config, parse_config
from rl.distillation import make_collect_student, make_student_examples, student_metrics, unknown_to_teacher
from rl.divergence_head import DivergenceConfig, divergence_value
from rl.losses import LossConfig
from rl.models import resolve_model
from rl.objectives import Computed, make_objective
from rl.prompts import Draw
from rl.sample_rows import student_rows
from rl.types import StudentGroup
from rl.vocabulary import common_vocabulary_size
from rollout.types import Group, Prompt, Sample, SamplingParams
from tests.fakes import FakeSampler, FakeStream, FakeTeacher, make_group

SMOKE = "configs/smoke/distill.yaml"
PROMPT = Prompt(id="p", messages=({"role": "user", "content": "?"},), task="math", reference="1")


def student_group(sampled=(True, True, True), teacher=((-1.0, -0.25, -2.0),), known=(True,)) -> StudentGroup:
    sample = Sample(
        token_ids=(5, 6, 7),
        logprobs=(-0.5, -0.5, -0.5),
        sampled=sampled,
        text="abc",
        finish_reason="stop",
        policy_version=0,
    )
    group = Group(prompt=PROMPT, prompt_token_ids=(1, 2), think_block="none", samples=(sample,))
    return StudentGroup(group=group, draw=3, is_known=known, teacher_logprobs=teacher)


def collect(teacher, vocabulary_size=100, num_samples=2):
    return make_collect_student(
        FakeSampler(lambda prompt: ["x"] * num_samples),
        sampling=SamplingParams(),
        num_samples=num_samples,
        seed=0,
        vocabulary_size=vocabulary_size,
        teacher=teacher,
    )


def test_the_advantage_of_a_token_is_what_the_teacher_gives_it_more():
    (example,) = make_student_examples([student_group(sampled=(True, True, False))])
    assert example.token_ids == (1, 2, 5, 6, 7)
    assert example.trainable == (False, False, True, True, False), "what was not sampled is not learned"
    assert example.advantages == (0.0, 0.0, -0.5, 0.25, 0.0)
    assert example.sampler_logprobs == (0.0, 0.0, -0.5, -0.5, -0.5)
    assert (example.prefix_id, example.prefix_length) == ("3", 2)


def test_a_teacher_beside_the_learner_leaves_no_advantages():
    (example,) = make_student_examples([student_group(teacher=None)])
    assert example.advantages is None
    assert example.has_signal


def test_what_the_teacher_cannot_read_is_left_out_and_counted():
    groups = [student_group(), student_group(known=(False,), teacher=((float("nan"),) * 3,))]
    assert len(make_student_examples(groups)) == 1
    assert [unknown_to_teacher(group) for group in groups] == [None, "unknown_to_teacher"]
    assert student_metrics(groups) == {"distill/unknown_rate": 0.5, "distill/reverse_kl": pytest.approx(1.75 / 3)}
    assert [row["responses"][0]["status"] for row in student_rows(groups)] == ["taught", "unknown_to_teacher"]
    assert student_metrics([student_group(teacher=None)]) == {"distill/unknown_rate": 0.0}


async def test_the_teacher_is_asked_about_prompt_and_response():
    teacher = FakeTeacher()
    group = await collect(teacher)(Draw(4, PROMPT))
    assert teacher.asked == [(1, 7, 7), (1, 7, 7)], "the prompt is token 1, each response two tokens 7"
    assert group.teacher_logprobs == ((-7.0, -7.0), (-7.0, -7.0)), "of the response alone"
    assert (group.draw, group.is_known) == (4, (True, True))


async def test_the_teacher_is_not_asked_about_ids_that_it_does_not_know():
    teacher = FakeTeacher()
    group = await collect(teacher, vocabulary_size=7)(Draw(0, PROMPT))
    assert teacher.asked == []
    assert group.is_known == (False, False)


async def test_a_run_that_nothing_can_be_taught_in_stops_and_says_why():
    line = Collector(
        FakeStream(),
        collect(None, vocabulary_size=7),
        groups_per_step=1,
        max_staleness=0,
        max_draws_per_step=2,
        timeout_s=5,
    )
    async with line:
        with pytest.raises(RuntimeError, match=r"unknown_to_teacher 2 times.*a token id that the teacher"):
            await line.take(1, unknown_to_teacher)


@pytest.mark.parametrize("name", ["grpo", "cispo"])
def test_the_expected_gradient_of_sampled_tokens_is_that_of_the_reverse_kl(name):
    """Over all tokens of a vocabulary of five, each as likely as the student says, through the loss of the learner."""
    generator = torch.Generator().manual_seed(0)
    logits, teacher_logits = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    student, teacher = logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    objective = make_objective(LossConfig(name=name))
    expected = torch.zeros(())
    for token, (own, theirs) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        sample = Sample(
            token_ids=(token,),
            logprobs=(own,),
            sampled=(True,),
            text="",
            finish_reason="stop",
            policy_version=0,
        )
        group = Group(prompt=PROMPT, prompt_token_ids=(9,), think_block="none", samples=(sample,))
        taught = StudentGroup(group=group, draw=0, is_known=(True,), teacher_logprobs=((theirs,),))
        (update,) = pack(make_student_examples([taught]), PackingConfig(), num_ranks=1).updates
        ((micro,),) = update.micro_batches
        computed = Computed(logprobs_N=student[token : token + 1], entropy_N=torch.zeros(1))
        expected = expected + math.exp(own) * objective(micro, computed, update.counts)[0]
    (gradient,) = torch.autograd.grad(expected, logits, retain_graph=True)
    whole = divergence_value(student[None], teacher[None], DivergenceConfig(name="reverse")).sum()
    (wanted,) = torch.autograd.grad(whole, logits)
    torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-5)
    assert wanted.abs().max() > 0.01


def test_the_tiny_teacher_has_the_students_vocabulary_and_a_padded_embedding():
    student, teacher = resolve_model("package:tiny-qwen3"), resolve_model("package:tiny-qwen3-teacher")
    size = common_vocabulary_size(student, teacher)
    from transformers import AutoConfig

    sizes = [AutoConfig.from_pretrained(model).vocab_size for model in (student, teacher)]
    assert sizes[0] == size < sizes[1]


def test_an_embedding_smaller_than_its_tokenizer_is_refused(tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    student = resolve_model("package:tiny-qwen3")
    AutoTokenizer.from_pretrained(student).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(student)
    config.vocab_size -= 1
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"teacher\.model: .* has 260 embeddings for the 261 ids"):
        common_vocabulary_size(student, str(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.clip_high=0.3"], "loss does nothing in mode full_vocabulary"),
        (["teacher.engine.dtype=float32"], r"teacher\.engine does nothing in mode full_vocabulary"),
        (["mode=sampled_token"], "divergence does nothing in mode sampled_token"),
        (["mode=sampled_token", "divergence.name=reverse"], r"teacher\.dtype does nothing"),
        (["sampling.top_p=0.9"], r"top_p .*must be off"),
        (["divergence.beta=0.2"], "forward has none"),
        (["divergence.nme=reverse"], "did you mean 'name'"),
    ],
)
def test_a_fault_of_a_config_is_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(find_config(SMOKE), overrides)


SERVED = ["mode=sampled_token", "divergence.name=reverse", "teacher.dtype=auto"]


def test_a_served_teacher_reads_all_that_the_student_writes_at_temperature_1():
    config = load_config(find_config(SMOKE), SERVED)
    assert "by the log-probs of the sampled tokens" in config.in_words()
    with pytest.raises(ValueError, match="temperature 1: set it to 1"):
        load_config(find_config(SMOKE), [*SERVED, "sampling.temperature=0.7"])
    with pytest.raises(ValueError, match=r"max_context_tokens = 256 must be above engine\.max_context_tokens = 256"):
        load_config(find_config(SMOKE), [*SERVED, "teacher.engine.max_context_tokens=256"])


@pytest.mark.parametrize("overrides", [[], SERVED])
def test_the_config_of_a_run_folder_is_read_back(overrides):
    config = load_config(find_config(SMOKE), overrides)
    assert parse_config(config.model_dump(mode="json"), "config.yaml") == config


def test_a_group_of_another_shape_is_our_fault():
    with pytest.raises(AssertionError, match="one answer a sample"):
        StudentGroup(group=make_group(["a", "b"]), draw=0, is_known=(True,))
    with pytest.raises(AssertionError, match="one log-prob of the teacher a token"):
        StudentGroup(group=make_group(["a"]), draw=0, is_known=(True,), teacher_logprobs=((-1.0,),))
