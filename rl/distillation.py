"""On-policy distillation: what the student sampled, with what a served teacher says of it, and examples of both."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Protocol

from rl.batch import sample_example
from rl.collect import CollectGroup
from rl.judgement import GroupSampler
from rl.prompts import Draw
from rl.seeds import derive_seed
from rl.types import Example, StepMetrics, StudentGroup
from rollout.types import Group, Prompt, Sample, SamplingParams


class TokenScorer(Protocol):
    async def score(self, prompt: Prompt, token_ids: tuple[int, ...]) -> list[float]: ...


def make_collect_student(
    sampler: GroupSampler,
    *,
    sampling: SamplingParams,
    num_samples: int,
    seed: int,
    vocabulary_size: int,
    teacher: TokenScorer | None = None,
) -> CollectGroup[StudentGroup]:
    """Sample a prompt from the student, and ask a served teacher about its responses as soon as they are there."""

    async def collect_group(draw: Draw) -> StudentGroup:
        seed_of_draw = derive_seed(seed, "sample", draw.index)
        group = await sampler.sample(draw.prompt, params=sampling, num_samples=num_samples, seed=seed_of_draw)
        sampled_at = asyncio.get_running_loop().time()
        is_known = tuple(max(sample.token_ids) < vocabulary_size for sample in group.samples)
        logprobs = None if teacher is None else await teacher_logprobs(teacher, group, is_known)
        return StudentGroup(
            group=group, draw=draw.index, is_known=is_known, teacher_logprobs=logprobs, sampled_at=sampled_at
        )

    return collect_group


async def teacher_logprobs(
    teacher: TokenScorer, group: Group, is_known: Sequence[bool]
) -> tuple[tuple[float, ...], ...]:
    """Of each sample's tokens; NaN where the teacher cannot be asked, which no example takes up."""

    async def ask(sample: Sample, known: bool) -> tuple[float, ...]:
        if not known:
            return (float("nan"),) * len(sample.token_ids)
        logprobs = await teacher.score(group.prompt, group.prompt_token_ids + sample.token_ids)
        return tuple(logprobs[-len(sample.token_ids) :])

    return tuple(await asyncio.gather(*map(ask, group.samples, is_known)))


def unknown_to_teacher(group: StudentGroup) -> str | None:
    """The group filter of distillation: no sample of it can be taught."""
    return None if any(group.is_known) else "unknown_to_teacher"


def make_student_examples(groups: Sequence[StudentGroup]) -> list[Example]:
    """One example a sample that the teacher can read.

    With a served teacher the advantage of a token is log π_T − log π_S of the sampled token: its policy gradient is
    that of the reverse KL at each token. log π_S is the sampler's, the policy that the expectation is over.
    """
    return [
        sample_example(student.group, sample, student.draw, None if teacher is None else _advantages(sample, teacher))
        for student, sample, teacher in _taught(groups)
    ]


def _taught(groups: Sequence[StudentGroup]) -> Iterator[tuple[StudentGroup, Sample, tuple[float, ...] | None]]:
    """Each sample that the teacher can read, with its group and what a served teacher says of its tokens."""
    for student in groups:
        logprobs = student.teacher_logprobs or (None,) * len(student.is_known)
        for sample, teacher in compress(zip(student.group.samples, logprobs, strict=True), student.is_known):
            yield student, sample, teacher


def _advantages(sample: Sample, teacher: Sequence[float]) -> tuple[float, ...]:
    gaps = [theirs - ours for theirs, ours in zip(teacher, sample.logprobs, strict=True)]
    return tuple(gap if sampled else 0.0 for gap, sampled in zip(gaps, sample.sampled, strict=True))


def student_metrics(groups: Sequence[StudentGroup]) -> StepMetrics:
    """How many samples the teacher cannot read; with a served teacher how far it is, by the sampled tokens."""
    known = [known for student in groups for known in student.is_known]
    metrics = {"distill/unknown_rate": 1 - sum(known) / len(known)}
    if all(student.teacher_logprobs is None for student in groups):
        return metrics
    gaps = [
        -advantage
        for _, sample, teacher in _taught(groups)
        for advantage in compress(_advantages(sample, teacher or ()), sample.sampled)
    ]
    return metrics | {"distill/reverse_kl": sum(gaps) / len(gaps) if gaps else float("nan")}
