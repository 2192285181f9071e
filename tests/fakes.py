"""Doubles for parts that live in other processes. Real parts are tested where they can run."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rewards.types import RewardRequest, RewardResult
from rl.types import ScoredGroup
from rollout.types import Group, Prompt, Sample, SamplingParams


def make_sample(text: str, *, length: int = 2, finish_reason: Any = "stop") -> Sample:
    return Sample(
        token_ids=(7,) * length,
        logprobs=(-0.5,) * length,
        sampled=(True,) * length,
        text=text,
        finish_reason=finish_reason,
        policy_version=0,
    )


def make_group(texts: Sequence[str], prompt: Prompt | None = None, **sample: Any) -> Group:
    prompt = prompt or Prompt(id="p", messages=({"role": "user", "content": "?"},), task="math", reference="1")
    return Group(prompt=prompt, prompt_token_ids=(1,), samples=tuple(make_sample(text, **sample) for text in texts))


def make_scored(scores: Sequence[float | None], **sample: Any) -> ScoredGroup:
    rewards = tuple(RewardResult(score=score, status="error" if score is None else "ok") for score in scores)
    return ScoredGroup(group=make_group(["x"] * len(scores), **sample), rewards=rewards, draw=0)


class FakeSampler:
    """Answers with `answers(prompt)`, one text a sample, and keeps the seed that each prompt was sampled with."""

    def __init__(self, answers: Callable[[Prompt], Sequence[str]]) -> None:
        self.answers = answers
        self.seeds: list[tuple[str, int]] = []

    async def sample(self, prompt: Prompt, *, params: SamplingParams, num_samples: int, seed: int) -> Group:
        self.seeds.append((prompt.id, seed))
        texts = self.answers(prompt)
        assert len(texts) == num_samples, "one text a sample"
        return make_group(texts, prompt)


class FakeScorer:
    """1 for the reference, 0 for anything else, no score for "broken"; lenient strips an "answer: " first."""

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        return [self._judge(request) for request in requests]

    def _judge(self, request: RewardRequest) -> RewardResult:
        text = str(request.response)
        if text == "broken":
            return RewardResult(score=None, status="error")
        if request.params.get("extract") == "lenient":
            text = text.removeprefix("answer: ")
        return RewardResult(score=float(text == request.reference))


class FakeEvalLog:
    """Keeps what an evaluation reports."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int, int]] = []
        self.rows: dict[tuple[str, int], Sequence[dict[str, Any]]] = {}

    def stage(self, text: str) -> None:
        pass

    def timer(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def progress(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.shown.append((name, done, total))

    def write_eval_rows(self, name: str, step: int, rows: Sequence[dict[str, Any]]) -> None:
        self.rows[name, step] = rows
