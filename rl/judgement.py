"""From a draw to a scored group: a prompt is sampled, and its responses are judged as soon as they are there."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from rewards.combine import soft_overlong
from rewards.types import RewardRequest, RewardResult
from rl.collect import CollectGroup
from rl.prompts import Draw
from rl.reward_statistics import Recombine, as_scored
from rl.seeds import derive_seed
from rl.types import ScoredGroup
from rollout.types import Group, Prompt, Sample, SamplingParams


class GroupSampler(Protocol):
    async def sample(self, prompt: Prompt, *, params: SamplingParams, num_samples: int, seed: int) -> Group: ...


class ResponseScorer(Protocol):
    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]: ...


def make_collect_group(
    sampler: GroupSampler,
    scorer: ResponseScorer,
    *,
    sampling: SamplingParams,
    num_samples: int,
    seed: int,
    overlong_cache_tokens: int = 0,
    freeze: Callable[[str], Recombine] = as_scored,
) -> CollectGroup[ScoredGroup]:
    """Sample a prompt and judge its responses as soon as they are there.

    `freeze` gives what makes the scores of a task's group anew, by the statistics of the moment of its draw. With
    `overlong_cache_tokens` DAPO's soft overlong penalty is added to each score.
    """

    async def collect_group(draw: Draw) -> ScoredGroup:
        is_alone = draw.prompt.params.get("combine") is False  # judged by its task, so it has no parts
        recombine = (as_scored if is_alone else freeze)(draw.prompt.task)
        seed_of_draw = derive_seed(seed, "sample", draw.index)
        group = await sampler.sample(draw.prompt, params=sampling, num_samples=num_samples, seed=seed_of_draw)
        sampled_at = asyncio.get_running_loop().time()
        rewards = [recombine(reward) for reward in await judge(scorer, group, str(draw.index))]
        if overlong_cache_tokens:
            lengths = [sample.num_sampled for sample in group.samples]
            rewards = [
                _with_overlong(reward, length, sampling.max_tokens, overlong_cache_tokens)
                for reward, length in zip(rewards, lengths, strict=True)
            ]
        return ScoredGroup(group=group, rewards=tuple(rewards), draw=draw.index, sampled_at=sampled_at)

    return collect_group


async def judge(scorer: ResponseScorer, group: Group, prefix: str, **params: object) -> list[RewardResult]:
    """One result a sample. One whose environment broke down is not asked about: that is our failure, and no score."""
    failures = [sample.episode.failure if sample.episode else None for sample in group.samples]
    requests = reward_requests(group, prefix, **params)
    sound = [request for request, failure in zip(requests, failures, strict=True) if failure is None]
    results = iter(await scorer.score(sound) if sound else [])
    return [
        next(results)
        if failure is None
        else RewardResult(id=request.id, score=None, status="error", reason=f"environment: {failure}")
        for request, failure in zip(requests, failures, strict=True)
    ]


def reward_requests(group: Group, prefix: str, **params: object) -> list[RewardRequest]:
    """One request a sample. `params` say where the rendered prompt leaves the response, and the prompt's own rule."""
    prompt = group.prompt
    question = [dict(message) for message in prompt.messages]
    return [
        RewardRequest(
            task=prompt.task,
            question=question,
            response=judged_response(group.prompt, sample),
            reference=prompt.reference,
            params={"think_block": group.think_block} | dict(prompt.params) | params,
            id=f"{prefix}/{number}",
        )
        for number, sample in enumerate(group.samples)
    ]


def judged_response(prompt: Prompt, sample: Sample) -> str | list[dict[str, Any]]:
    """What a reward is given: the text, or an episode's messages, or the text of its last turn."""
    if sample.episode is None:
        return sample.text
    if prompt.environment is not None and prompt.environment.judged == "answer":
        return sample.episode.turns[-1]
    return [dict(message) for message in sample.episode.messages]


def _with_overlong(reward: RewardResult, length: int, max_tokens: int, cache_tokens: int) -> RewardResult:
    if reward.score is None:
        return reward
    penalty = soft_overlong(length, max_tokens, cache_tokens)
    components = reward.components | {"overlong": penalty}
    return reward.model_copy(update={"score": reward.score + penalty, "components": components})
