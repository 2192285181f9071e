"""Evaluations: the same held-out prompts, sampling, seeds and parsers before, during and after training."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.budget_curve import Budgets, of_budget
from rl.concurrency import for_each
from rl.eval_rows import (
    EvalRow,
    Verdicts,
    is_complete,
    make_row,
    prompt_means,
    response_metrics,
    score_metrics,
)
from rl.judgement import GroupSampler, ResponseScorer, judge
from rl.plugins import check_name, find_function
from rl.seeds import derive_seed
from rl.sources import SourceConfig
from rl.statistics import paired_gain
from rl.suites import NUM_SAMPLES, PARSERS, SUITES, VOTELESS, Mode, find_suite, read_prompts, with_defaults
from rl.types import StepMetrics
from rollout.types import Group, Prompt, SamplingParams


async def judge_canaries(_: GroupSampler, scorer: Any, step: int) -> StepMetrics:
    """The rates at which the judge takes canaries wrongly: it must not drift, nor be fooled more and more."""
    return await scorer.canaries()


FALL_ERRORS = 2  # standard errors of the paired gain: a loss beyond them is no accident of few prompts
HOOKS: dict[str, Callable[..., Any]] = {"judge_canaries": judge_canaries}


class EvalConfig(BaseModel):
    """A held-out suite: a built-in `suite`, or prompts from `source`; or a hook, `judge_canaries` or `module:function`.

    Evaluated every `every_steps` steps (0: never in between), before the first and after the last one. `extracts`
    are the parsers; the first gives the plain metric names, the others have theirs in the name. `options` go to
    a built-in suite, `params` to its rewards, `path` is a local file of its fields. What is not given is the suite's,
    field by field of `sampling`; `mode` chooses the report's settings, and is what the chat template is told. With
    `thinking_budgets` the suite runs once under each, with the same seeds: a curve of `eval/SUITE/budget-N/...`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    path: str | None = None
    source: SourceConfig | None = None
    mode: Mode | None = None
    hook: str | None = None
    options: dict[str, Any] = {}
    params: dict[str, Any] = {}
    samples_per_prompt: int = Field(NUM_SAMPLES, ge=1)
    pass_k: list[int] = []
    extracts: list[str] = Field(["boxed", "lenient"], min_length=1)
    sampling: SamplingParams = SamplingParams()
    thinking_budgets: Budgets = []
    limit: int | None = Field(None, gt=0)
    every_steps: int = Field(0, ge=0)
    first: bool = True
    last: bool = True

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Any) -> Any:
        return with_defaults(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _has_prompts(self) -> Self:
        if self.source is None and self.hook is None and self.suite not in SUITES:
            raise ValueError(f"unknown suite {self.suite!r}; known are {', '.join(SUITES)}; or give source or hook")
        if not all(1 <= k <= self.samples_per_prompt for k in self.pass_k):
            raise ValueError("pass_k must be from 1 to samples_per_prompt")
        suite = None if self.hook else find_suite(self.suite, self.source is not None)
        rows = suite.rows if suite is not None else None
        if self.path is not None and (suite is None or rows is not None):
            raise ValueError(f"path is for a built-in suite of a dataset, which {self.suite} is not; use source.path")
        try:
            inspect.signature(rows or (lambda: ())).bind(**({} if suite is None else self.options))
        except TypeError as error:
            raise ValueError(f"options of suite {self.suite}: {error}") from error
        if self.thinking_budgets and (self.mode == "non-thinking" or self.hook is not None):
            raise ValueError("thinking_budgets are for a suite that thinks: leave out mode: non-thinking, or the hook")
        if self.hook is not None:
            check_name(self.hook, HOOKS, "eval hook")
        source = self.source
        if source is not None and source.path is None and source.dataset is None and not (self.limit or source.limit):
            raise ValueError(f"{source.label} never ends: give limit, the number of prompts in the suite")
        if source is not None and self.params:
            raise ValueError("params are for a built-in suite; put them into source.params")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What a number of the suite depends on, beside the model."""
        return self.model_dump(mode="json", exclude={"every_steps", "first", "last", "pass_k", "extracts", "limit"})

    @property
    def budgets(self) -> list[int | None]:
        """The thinking budget of each of its runs; None leaves the prompts' own."""
        return [*self.thinking_budgets] or [None]

    def under_budgets(self) -> list[Self]:
        """An evaluation a budget, by the name that is in its metrics."""
        return [self.model_copy(update={"suite": of_budget(self.suite, [], budget)[0]}) for budget in self.budgets]


class EvalLog(Protocol):
    """Where an evaluation shows its progress and keeps its responses."""

    def stage(self, text: str) -> None: ...

    def message(self, text: str) -> None: ...

    def timer(self, name: str) -> AbstractContextManager[None]: ...

    def progress(self, name: str) -> Callable[[int, int], None]: ...

    def read_eval_rows(self, name: str, step: int) -> list[EvalRow]: ...

    def append_eval_row(self, name: str, step: int, row: EvalRow) -> None: ...

    def write_eval_rows(self, name: str, step: int, rows: Sequence[EvalRow]) -> None: ...


def suite_prompts(config: EvalConfig) -> list[Prompt]:
    """The prompts of a suite as its config wants them, in order, each once."""
    return read_prompts(
        config.suite,
        source=config.source,
        path=config.path,
        options=config.options,
        params=config.params,
        limit=config.limit,
        thinking=None if config.mode is None else config.mode == "thinking",
    )


def read_suites(configs: Sequence[EvalConfig]) -> dict[str, list[Prompt]]:
    """The prompts of all suites by name; hooks have none. Raises ValueError where two have one name."""
    names = [config.suite for config in configs]
    if len(set(names)) != len(names):
        raise ValueError(f"evals: suite names must differ, or their metrics would mix; got {', '.join(names)}")
    return {config.suite: suite_prompts(config) for config in configs if config.hook is None}


class Evals:
    """The evaluations of a run. The first results are kept, so that later ones are paired with them.

    `publish(step)` gives the engines the learner's weights, where nothing else does. With `goes_on`, prompts whose
    rows the run folder has are not sampled again: the seeds are a prompt's own, so the numbers are the same.
    """

    def __init__(
        self,
        configs: Sequence[EvalConfig],
        sampler: GroupSampler,
        scorer: ResponseScorer,
        log: EvalLog,
        *,
        seed: int,
        num_steps: int,
        publish: Callable[[int], Awaitable[None]] | None = None,
        prompts: Mapping[str, Sequence[Prompt]] | None = None,
        goes_on: bool = False,
    ) -> None:
        self.configs, self.sampler, self.scorer, self.log = configs, sampler, scorer, log
        self.publish, self.goes_on = publish, goes_on
        self.seed, self.num_steps = seed, num_steps
        self._prompts = read_suites(configs) if prompts is None else prompts
        self._first: dict[str, dict[str, Any]] = {}  # by suite and parser: prompt means, and how they were asked for

    async def run_if_first(self, step: int) -> StepMetrics:
        """The evaluation before training; nothing after a resume."""
        return await self._run([c for c in self.configs if c.first and step == 0], step)

    async def run_if_due(self, step: int) -> StepMetrics:
        last = step == self.num_steps
        due = [c for c in self.configs if (c.every_steps and step % c.every_steps == 0) or (last and c.last)]
        return await self._run(due, step)

    async def _run(self, configs: Sequence[EvalConfig], step: int) -> StepMetrics:
        metrics: StepMetrics = {}
        if configs and self.publish is not None:
            with self.log.timer("sync"):
                await self.publish(step)
        for config in configs:
            with self.log.timer("eval"):
                self.log.stage(f"evaluating {config.suite}")
                if config.hook is not None:
                    metrics |= await self._run_hook(config, step)
                    continue
                for budget in config.budgets:
                    metrics |= await self._run_suite(config, step, budget)
        return metrics | self._fallen(configs, metrics, step)

    def _fallen(self, configs: Sequence[EvalConfig], metrics: StepMetrics, step: int) -> StepMetrics:
        """How many suites, by their first parser, are worse than at their first evaluation, named in a line."""
        fallen, num_paired = [], 0
        for config in configs:
            for budget in config.budgets:
                suite, k = of_budget(config.suite, [], budget)[0], config.samples_per_prompt
                gain, error = (metrics.get(f"eval/{suite}/{name}@{k}") for name in ("gain", "gain_se"))
                if gain is not None and error is not None:
                    num_paired += 1
                    fallen += [f"{suite} {gain:+.3f} ± {error:.3f}"] * (gain < -FALL_ERRORS * error)
        if fallen:
            self.log.message(f"step {step}: fallen since the first evaluation: {', '.join(fallen)}")
        return {"eval/fallen": float(len(fallen))} if num_paired else {}

    async def _run_hook(self, config: EvalConfig, step: int) -> StepMetrics:
        answer: Any = find_function(str(config.hook), HOOKS, "eval hook")(self.sampler, self.scorer, step)
        return await answer if inspect.isawaitable(answer) else answer

    async def _run_suite(self, config: EvalConfig, step: int, budget: int | None) -> StepMetrics:
        suite, prompts = of_budget(config.suite, self._prompts[config.suite], budget)
        kept = self._kept_rows(suite, step, config)
        self.log.write_eval_rows(suite, step, list(kept.values()))

        async def one(prompt: Prompt) -> EvalRow:
            if prompt.id in kept:
                return kept[prompt.id]
            seed = derive_seed(self.seed, "eval", config.suite, prompt.id)
            group = await self.sampler.sample(
                prompt, params=config.sampling, num_samples=config.samples_per_prompt, seed=seed
            )
            row = make_row(group, {extract: await self._judge(group, extract) for extract in config.extracts})
            self.log.append_eval_row(suite, step, row)
            return row

        # All at once: the engines take as many as they can.
        rows = await for_each(prompts, one, self.log.progress(f"evaluating {suite}"), limit=len(prompts))
        self.log.write_eval_rows(suite, step, rows)  # in the order of the prompts, whichever was finished first
        metrics = response_metrics(suite, rows)
        for number, extract in enumerate(config.extracts):
            metrics |= self._summarise(suite if number == 0 else f"{suite}/{extract}", rows, extract, config)
        return metrics

    def _kept_rows(self, suite: str, step: int, config: EvalConfig) -> dict[str, EvalRow]:
        """By prompt, what an evaluation that was cut off has finished."""
        found = self.log.read_eval_rows(suite, step) if self.goes_on else []
        kept = {row["id"]: row for row in found if is_complete(row, config.samples_per_prompt, config.extracts)}
        if kept:
            self.log.message(f"{suite}: {len(kept)} prompts were evaluated before, and are not sampled again")
        return kept

    async def _judge(self, group: Group, extract: str) -> Verdicts:
        """By the task alone: a combination is for training, and its scores are no accuracy."""
        params = PARSERS.get(extract, {"extract": extract})
        return await judge(self.scorer, group, group.prompt.id, **params, combine=False)

    def _summarise(self, name: str, rows: Sequence[EvalRow], extract: str, config: EvalConfig) -> StepMetrics:
        """The numbers of one parser, and the gain since its first ones."""
        k = config.samples_per_prompt
        votes = VOTELESS.isdisjoint(config.extracts)
        metrics = score_metrics(name, rows, extract, num_samples=k, pass_k=config.pass_k, votes=votes)
        means = prompt_means(rows, extract)
        first = self._first_means(name, config)
        if first and means:
            gain, gain_error = paired_gain(first, means)
            metrics |= {f"eval/{name}/gain@{k}": gain, f"eval/{name}/gain_se@{k}": gain_error}
        elif means:
            self._first[name] = {"means": means, "settings": config.settings}
        return metrics

    def _first_means(self, name: str, config: EvalConfig) -> dict[str, float]:
        """The suite's first results; none where a resume has changed how it is asked: gains begin anew there."""
        first = self._first.get(name)
        if first is None:
            return {}
        if first["settings"] != config.settings:
            self.log.message(f"{name}: its settings changed since its first evaluation; gains are counted from now on")
            return {}
        return first["means"]

    def state(self) -> dict[str, Any]:
        return {"first": self._first}

    def load(self, state: dict[str, Any]) -> None:
        self._first = state["first"]
