"""Doubles for parts that live in other processes. Real parts are tested where they can run."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rewards.types import RewardRequest, RewardResult
from rl.learner import Bucket
from rl.prompts import Draw
from rl.types import ScoredGroup, StepMetrics, TrainBatch
from rollout.engine import Completion
from rollout.sampler import EngineLost
from rollout.types import Group, Prompt, Sample, SamplingParams


def make_sample(text: str, *, length: int = 2, finish_reason: Any = "stop", policy_version: int = 0) -> Sample:
    return Sample(
        token_ids=(7,) * length,
        logprobs=(-0.5,) * length,
        sampled=(True,) * length,
        text=text,
        finish_reason=finish_reason,
        policy_version=policy_version,
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


class FakeStream:
    """Prompts without end; remembers what was drawn and rejected."""

    def __init__(self) -> None:
        self.num_drawn = 0
        self.rejected: list[int] = []

    def draw(self) -> Draw:
        index = self.num_drawn
        self.num_drawn += 1
        messages = ({"role": "user", "content": str(index)},)
        return Draw(index, Prompt(id=f"p{index}", messages=messages, task="math", reference="1"))

    def mark_rejected(self, index: int) -> None:
        self.rejected.append(index)


class FakeLearner:
    """A learner of so many bytes: it saves a file, and may fail while it does."""

    num_ranks, updates_per_step = 1, 1

    def __init__(self, fails_at_save: bool = False) -> None:
        self.fails_at_save = fails_at_save
        self.value = 0
        self.num_sent = 0

    async def update(self, batch: TrainBatch) -> StepMetrics:
        self.value += 1
        return {}

    async def weights(self) -> AsyncIterator[Bucket]:
        for index in range(3):
            self.num_sent += 1
            yield {"index": index, "value": self.value}

    async def save(self, folder: Path) -> None:
        (folder / "weights").write_text(str(self.value))
        if self.fails_at_save:
            raise OSError(28, "No space left on device")

    async def load(self, folder: Path) -> None:
        self.value = int((folder / "weights").read_text())


class FakeEngine:
    """An engine that answers after `delay_s`, hangs, or dies at a call of the given name."""

    def __init__(self, name: str, *, delay_s: float = 0.0, dies_at: str = "", hangs: bool = False) -> None:
        self.name, self.delay_s, self.dies_at, self.hangs = name, delay_s, dies_at, hangs
        self.version = 0
        self.served: list[tuple[int, ...]] = []
        self.buckets: list[Bucket] = []
        self.killed = False

    def _maybe_die(self, call: str) -> None:
        if self.killed or self.dies_at == call:
            raise EngineLost(f"{self.name} died at {call}")

    async def generate(
        self, prompt_token_ids: tuple[int, ...], params: SamplingParams, *, num_samples: int, seed: int
    ) -> tuple[int, list[Completion]]:
        version = self.version
        await asyncio.sleep(3600 if self.hangs else self.delay_s)
        self._maybe_die("generate")
        self.served.append(prompt_token_ids)
        return version, [Completion((seed % 100,), (-0.5,), f"text {n}", "stop") for n in range(num_samples)]

    async def progress(self) -> int:
        self._maybe_die("progress")
        return 0 if self.hangs else time.monotonic_ns()

    async def begin_update(self) -> None:
        self._maybe_die("begin_update")
        self.buckets.clear()

    async def load_bucket(self, bucket: Bucket) -> None:
        self._maybe_die("load_bucket")
        self.buckets.append(bucket)

    async def end_update(self, version: int) -> None:
        self._maybe_die("end_update")
        self.version = version

    def kill(self) -> None:
        self.killed = True


class FakeChat:
    """One token a character."""

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        return tuple(map(ord, prompt.messages[-1]["content"]))
