"""Evaluations: the same held-out prompts, sampling, seeds and parsers before, during and after training."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewards.types import RewardResult
from rl.budget_curve import Budgets, of_budget, thinking_cut_rate
from rl.collect import GroupSampler, ResponseScorer, judge
from rl.concurrency import for_each
from rl.episode_metrics import episode_metrics
from rl.plugins import check_name, find_function
from rl.seeds import derive_seed
from rl.sources import SourceConfig
from rl.statistics import consensus, mean_and_error, paired_gain, pass_at_k, sampling_error
from rl.suites import NUM_SAMPLES, PARSERS, SUITES, VOTELESS, Mode, find_suite, read_prompts, with_defaults
from rl.types import StepMetrics
from rollout.types import Group, Prompt, SamplingParams

Verdicts = list[RewardResult]  # one a sample


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
    def budgets(self) -> list[int | None]:
        """The thinking budget of each of its runs; None leaves the prompts' own."""
        return [*self.thinking_budgets] or [None]


class EvalLog(Protocol):
    """Where an evaluation shows its progress and keeps its responses."""

    def stage(self, text: str) -> None: ...

    def message(self, text: str) -> None: ...

    def timer(self, name: str) -> AbstractContextManager[None]: ...

    def progress(self, name: str) -> Callable[[int, int], None]: ...

    def write_eval_rows(self, name: str, step: int, rows: Sequence[dict[str, Any]]) -> None: ...


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

    `publish(step)` gives the engines the learner's weights, where nothing else does.
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
    ) -> None:
        self.configs, self.sampler, self.scorer, self.log = configs, sampler, scorer, log
        self.publish = publish
        self.seed, self.num_steps = seed, num_steps
        self._prompts = read_suites(configs) if prompts is None else prompts
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

        async def one(prompt: Prompt) -> tuple[Group, dict[str, Verdicts]]:
            seed = derive_seed(self.seed, "eval", config.suite, prompt.id)
            group = await self.sampler.sample(
                prompt, params=config.sampling, num_samples=config.samples_per_prompt, seed=seed
            )
            verdicts = {extract: await self._judge(group, extract) for extract in config.extracts}
            return group, verdicts

        # All at once: the engines take as many as they can.
        results = await for_each(prompts, one, self.log.progress(f"evaluating {suite}"), limit=len(prompts))
        self.log.write_eval_rows(suite, step, [_row(group, verdicts) for group, verdicts in results])
        metrics = _response_metrics(suite, [group for group, _ in results])
        for number, extract in enumerate(config.extracts):
            name = suite if number == 0 else f"{suite}/{extract}"
            by_prompt = {group.prompt.id: verdicts[extract] for group, verdicts in results}
            metrics |= self._summarise(name, by_prompt, config)
        return metrics

    async def _judge(self, group: Group, extract: str) -> Verdicts:
        """By the task alone: a combination is for training, and its scores are no accuracy."""
        params = PARSERS.get(extract, {"extract": extract})
        return await judge(self.scorer, group, group.prompt.id, **params, combine=False)

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
        if k > 1 and VOTELESS.isdisjoint(config.extracts):
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
    return (
        episode_metrics(f"eval/{suite}", samples)
        | {
            f"eval/{suite}/num_prompts": float(len(groups)),
            f"eval/{suite}/response_length": sum(s.num_sampled for s in samples) / len(samples),
            f"eval/{suite}/truncated_rate": sum(s.finish_reason == "length" for s in samples) / len(samples),
        }
        | thinking_cut_rate(f"eval/{suite}", groups)
    )


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
