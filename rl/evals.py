"""Evaluations: the same held-out prompts, sampling, seeds and parsers before, during and after training."""

import asyncio
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewards.types import RewardResult
from rl import arithmetic, tool_tasks
from rl.collect import GroupSampler, ResponseScorer, judge
from rl.plugins import check_name, find_function
from rl.seeds import derive_seed
from rl.sources import Source, SourceConfig, to_prompt
from rl.statistics import consensus, mean_and_error, paired_gain, pass_at_k, sampling_error
from rl.types import StepMetrics
from rollout.types import Group, Prompt, SamplingParams

Verdicts = list[RewardResult]  # one a sample


@dataclass(frozen=True, slots=True)
class Suite:
    """Prompts that need no file: rows in the order in which `limit` cuts them, and how they are asked."""

    rows: Callable[..., Iterable[dict[str, Any]]]
    system: str | None = None
    examples: tuple[dict[str, str], ...] = ()
    max_tokens: int = 256


SUITES = {
    "arithmetic": Suite(arithmetic.held_out, arithmetic.SYSTEM, arithmetic.EXAMPLES, max_tokens=32),
    "calculations": Suite(tool_tasks.held_out_calculations),
    "bookkeeping": Suite(tool_tasks.held_out_bookkeeping, max_tokens=512),
}


async def judge_canaries(_: GroupSampler, scorer: Any, step: int) -> StepMetrics:
    """The rates at which the judge takes canaries wrongly: it must not drift, nor be fooled more and more."""
    return await scorer.canaries()


HOOKS: dict[str, Callable[..., Any]] = {"judge_canaries": judge_canaries}


class EvalConfig(BaseModel):
    """A held-out suite: a built-in `suite`, or prompts from `source`; or a hook, `judge_canaries` or `module:function`.

    Evaluated every `every_steps` steps (0: never in between), before the first and after the last one. `extracts`
    are the parsers; the first gives the plain metric names, the others have theirs in the name. `options` go to
    a built-in suite, `params` to its rewards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    source: SourceConfig | None = None
    hook: str | None = None
    options: dict[str, Any] = {}
    params: dict[str, Any] = {}
    samples_per_prompt: int = Field(4, ge=1)
    pass_k: list[int] = []
    extracts: list[str] = Field(["boxed", "lenient"], min_length=1)
    sampling: SamplingParams | None = None
    limit: int | None = Field(None, gt=0)
    every_steps: int = Field(0, ge=0)
    first: bool = True
    last: bool = True

    @model_validator(mode="after")
    def _has_prompts(self) -> Self:
        if self.source is None and self.hook is None and self.suite not in SUITES:
            raise ValueError(f"unknown suite {self.suite!r}; known are {', '.join(SUITES)}; or give source or hook")
        if not all(1 <= k <= self.samples_per_prompt for k in self.pass_k):
            raise ValueError("pass_k must be from 1 to samples_per_prompt")
        if self.source is None and self.hook is None:
            try:
                inspect.signature(SUITES[self.suite].rows).bind(**self.options)
            except TypeError as error:
                raise ValueError(f"options of suite {self.suite}: {error}") from error
        if self.hook is not None:
            check_name(self.hook, HOOKS, "eval hook")
        source = self.source
        if source is not None and source.path is None and source.dataset is None and not (self.limit or source.limit):
            raise ValueError(f"{source.label} never ends: give limit, the number of prompts in the suite")
        if source is not None and self.params:
            raise ValueError("params are for a built-in suite; put them into source.params")
        return self


class EvalLog(Protocol):
    """Where an evaluation shows its progress and keeps its responses."""

    def stage(self, text: str) -> None: ...

    def timer(self, name: str) -> AbstractContextManager[None]: ...

    def progress(self, name: str) -> Callable[[int, int], None]: ...

    def write_eval_rows(self, name: str, step: int, rows: Sequence[dict[str, Any]]) -> None: ...


def suite_prompts(config: EvalConfig) -> list[Prompt]:
    """The prompts of a suite, in order, each once."""
    if config.source is not None:
        source = Source(config.source.model_copy(update={"shuffle": False}), seed=0)
        count = min(len(source), config.limit or len(source))
        prompts = [source.prompt(index) for index in range(count)]
    else:
        suite = SUITES[config.suite]
        # Only how a row is asked counts here; where it comes from is the suite's business.
        dress = SourceConfig(
            path=config.suite, system=suite.system, examples=list(suite.examples), params=config.params
        )
        rows = itertools.islice(suite.rows(**config.options), config.limit)
        prompts = [to_prompt(row, dress, f"{config.suite}, row {n}") for n, row in enumerate(rows)]
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) != len(ids):
        raise ValueError(f"suite {config.suite}: a prompt is in it more than once")
    return prompts


def suite_sampling(config: EvalConfig) -> SamplingParams:
    """The config's sampling; by default temperature 1 with the suite's response limit."""
    if config.sampling is not None:
        return config.sampling
    return SamplingParams(max_tokens=SUITES[config.suite].max_tokens) if config.suite in SUITES else SamplingParams()


class Evals:
    """The evaluations of a run. The first results are kept, so that later ones are paired with them."""

    def __init__(
        self,
        configs: Sequence[EvalConfig],
        sampler: GroupSampler,
        scorer: ResponseScorer,
        log: EvalLog,
        *,
        seed: int,
        num_steps: int,
    ) -> None:
        self.configs, self.sampler, self.scorer, self.log = configs, sampler, scorer, log
        self.seed, self.num_steps = seed, num_steps
        names = [config.suite for config in configs]
        if len(set(names)) != len(names):
            raise ValueError(f"evals: suite names must differ, or their metrics would mix; got {', '.join(names)}")
        self._prompts = {c.suite: suite_prompts(c) for c in configs if c.hook is None}
        self._first: dict[str, dict[str, float]] = {}

    async def run_if_first(self, step: int) -> StepMetrics:
        """The evaluation before training; nothing after a resume."""
        return await self._run([c for c in self.configs if c.first and step == 0], step)

    async def run_if_due(self, step: int) -> StepMetrics:
        last = step == self.num_steps
        due = [c for c in self.configs if (c.every_steps and step % c.every_steps == 0) or (last and c.last)]
        return await self._run(due, step)

    async def _run(self, configs: Sequence[EvalConfig], step: int) -> StepMetrics:
        metrics: StepMetrics = {}
        for config in configs:
            with self.log.timer("eval"):
                self.log.stage(f"evaluating {config.suite}")
                metrics |= await (
                    self._run_suite(config, step) if config.hook is None else self._run_hook(config, step)
                )
        return metrics

    async def _run_hook(self, config: EvalConfig, step: int) -> StepMetrics:
        answer: Any = find_function(str(config.hook), HOOKS, "eval hook")(self.sampler, self.scorer, step)
        return await answer if inspect.isawaitable(answer) else answer

    async def _run_suite(self, config: EvalConfig, step: int) -> StepMetrics:
        show = self.log.progress(f"evaluating {config.suite}")
        prompts = self._prompts[config.suite]
        sampling = suite_sampling(config)
        num_done = 0

        async def one(prompt: Prompt) -> tuple[Group, dict[str, Verdicts]]:
            nonlocal num_done
            seed = derive_seed(self.seed, "eval", config.suite, prompt.id)
            group = await self.sampler.sample(prompt, params=sampling, num_samples=config.samples_per_prompt, seed=seed)
            verdicts = {extract: await self._judge(group, extract) for extract in config.extracts}
            num_done += 1
            show(num_done, len(prompts))
            return group, verdicts

        tasks = [asyncio.create_task(one(prompt)) for prompt in prompts]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # the first failure ends the others
                task.cancel()
        self.log.write_eval_rows(config.suite, step, [_row(group, verdicts) for group, verdicts in results])
        metrics = _response_metrics(config.suite, [group for group, _ in results])
        for number, extract in enumerate(config.extracts):
            name = config.suite if number == 0 else f"{config.suite}/{extract}"
            by_prompt = {group.prompt.id: verdicts[extract] for group, verdicts in results}
            metrics |= self._summarise(name, by_prompt, config)
        return metrics

    async def _judge(self, group: Group, extract: str) -> Verdicts:
        """By the task alone: a combination is for training, and its scores are no accuracy."""
        return await judge(self.scorer, group, group.prompt.id, extract=extract, combine=False)

    def _summarise(self, name: str, by_prompt: dict[str, Verdicts], config: EvalConfig) -> StepMetrics:
        """Unscored samples are left out and counted; a prompt without any scored sample drops out."""
        judged = {key: [v for v in verdicts if v.score is not None] for key, verdicts in by_prompt.items()}
        scored = {key: [float(v.score) for v in verdicts if v.score is not None] for key, verdicts in judged.items()}
        usable = {key: scores for key, scores in scored.items() if scores}
        total = sum(map(len, by_prompt.values()))
        metrics = {
            f"eval/{name}/error_rate": 1 - sum(map(len, usable.values())) / total,
            f"eval/{name}/unscored_prompts": float(len(by_prompt) - len(usable)),
        }
        if not usable:
            return metrics
        k = config.samples_per_prompt
        means = {key: sum(scores) / len(scores) for key, scores in usable.items()}
        mean, error = mean_and_error(list(means.values()))
        metrics |= {
            f"eval/{name}/avg@{k}": mean,
            f"eval/{name}/se@{k}": error,
            f"eval/{name}/sampling_se@{k}": sampling_error(list(usable.values())),
        }
        if k > 1:
            votes = [consensus([v.extracted for v in judged[key]], scores) for key, scores in usable.items()]
            metrics[f"eval/{name}/cons@{k}"] = sum(votes) / len(votes)
        for p in config.pass_k:
            values = [pass_at_k(len(s), sum(x >= 1 for x in s), p) for s in usable.values() if len(s) >= p]
            if values:
                metrics[f"eval/{name}/pass@{p}"] = sum(values) / len(values)
        if name in self._first:
            gain, gain_error = paired_gain(self._first[name], means)
            metrics |= {f"eval/{name}/gain@{k}": gain, f"eval/{name}/gain_se@{k}": gain_error}
        else:
            self._first[name] = means
        return metrics

    def state(self) -> dict[str, Any]:
        return {"first": self._first}

    def load(self, state: dict[str, Any]) -> None:
        self._first = state["first"]


def _response_metrics(suite: str, groups: Sequence[Group]) -> StepMetrics:
    samples = [sample for group in groups for sample in group.samples]
    return {
        f"eval/{suite}/num_prompts": float(len(groups)),
        f"eval/{suite}/response_length": sum(s.num_sampled for s in samples) / len(samples),
        f"eval/{suite}/truncated_rate": sum(s.finish_reason == "length" for s in samples) / len(samples),
    }


def _row(group: Group, verdicts: dict[str, Verdicts]) -> dict[str, Any]:
    """One prompt with all its responses, as it is kept in the run folder."""
    return {
        "id": group.prompt.id,
        "messages": [dict(message) for message in group.prompt.messages],
        "reference": group.prompt.reference,
        "responses": [
            {
                "text": sample.text,
                "length": sample.num_sampled,
                "finish_reason": sample.finish_reason,
                "scores": {extract: values[number].score for extract, values in verdicts.items()},
                "extracted": {extract: values[number].extracted for extract, values in verdicts.items()},
            }
            for number, sample in enumerate(group.samples)
        ],
    }
