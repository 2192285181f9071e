"""Thinking budgets in evaluations: a suite once under each budget, and how often the budget ends the thinking."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from rl.types import StepMetrics
from rollout.types import Group, Prompt, Sample


def _differ(budgets: list[int]) -> list[int]:
    if len(set(budgets)) != len(budgets):
        raise ValueError("thinking budgets must differ, or their metrics would mix")
    return budgets


Budgets = Annotated[list[Annotated[int, Field(gt=0)]], AfterValidator(_differ)]  # tokens of thinking


def parse_budgets(text: str) -> list[int]:
    """The budgets of "64,128". Raises ValueError."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--budgets: numbers of tokens are wanted, such as 64,128; got {text!r}") from None


def of_budget(suite: str, prompts: Sequence[Prompt], budget: int | None) -> tuple[str, list[Prompt]]:
    """The suite's name in metrics and its prompts under a budget; None leaves the prompts' own."""
    if budget is None:
        return suite, list(prompts)
    return f"{suite}/budget-{budget}", [replace(prompt, thinking_budget=budget) for prompt in prompts]


def is_thinking_cut(group: Group, sample: Sample) -> bool | None:
    """Whether the budget ended the thinking; None where there is no budget that says so."""
    if group.prompt.thinking_budget is None or group.prompt.environment:  # observations are not sampled either
        return None
    return not all(sample.sampled)


def thinking_cut_rate(kind: str, groups: Sequence[Group]) -> StepMetrics:
    """The share of responses whose thinking the budget ended, of those that had one; nothing where none had."""
    found = [is_thinking_cut(group, sample) for group in groups for sample in group.samples]
    cuts = [cut for cut in found if cut is not None]
    return {f"{kind}/thinking_cut_rate": sum(cuts) / len(cuts)} if cuts else {}


class Budgeted(Protocol):
    """A source of prompts."""

    @property
    def thinking_budget(self) -> int | None: ...


class Evaluation(Protocol):
    """An evaluation, with prompts of its own or without."""

    @property
    def source(self) -> Budgeted | None: ...

    @property
    def thinking_budgets(self) -> Sequence[int]: ...


def check_engine(allowed: bool, prompts: Sequence[Budgeted], evals: Sequence[Evaluation]) -> None:
    """Raises ValueError where a source of prompts or an evaluation has a budget and the engine is not to honour any."""
    sources = [*prompts, *(config.source for config in evals if config.source)]
    if not allowed and (any(s.thinking_budget is not None for s in sources) or any(e.thinking_budgets for e in evals)):
        raise ValueError("engine.thinking_budget must be true: prompts or evals have a thinking budget")
