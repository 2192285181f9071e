"""Group filters by name: a reason to drop a group, or None."""

import difflib
from collections.abc import Callable, Sequence

from rl.advantages import is_flat
from rl.plugins import find_function
from rl.types import ScoredGroup

GroupFilter = Callable[[ScoredGroup], str | None]

GROUP_FILTERS: dict[str, GroupFilter] = {}


def group_filter(function: GroupFilter) -> GroupFilter:
    """Registers a filter under its function's name, which is also its reason."""
    GROUP_FILTERS[function.__name__] = function
    return function


@group_filter
def too_few_scored(group: ScoredGroup) -> str | None:
    """Fewer than two samples have a score, so none can be compared. Always on."""
    return "too_few_scored" if sum(score is not None for score in group.scores) < 2 else None


@group_filter
def zero_variance(group: ScoredGroup) -> str | None:
    """All scores are equal: no signal. With it, prompts are drawn until the step is full (DAPO's dynamic sampling)."""
    return "zero_variance" if is_flat(group.scores) else None


@group_filter
def all_truncated(group: ScoredGroup) -> str | None:
    """No response came to its end."""
    return "all_truncated" if all(s.finish_reason == "length" for s in group.group.samples) else None


def build_group_filter(names: Sequence[str]) -> GroupFilter:
    """The first reason of the named filters; `module:function` is one outside the tree. ValueError if unknown."""
    chosen: list[GroupFilter] = [too_few_scored]
    for name in names:
        if name not in GROUP_FILTERS and ":" not in name:
            near = difflib.get_close_matches(name, GROUP_FILTERS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"group_filters: unknown {name!r}; {hint}known are {', '.join(sorted(GROUP_FILTERS))}")
        chosen.append(find_function(name, GROUP_FILTERS, "group filter"))

    def reason(group: ScoredGroup) -> str | None:
        return next((found for check in chosen if (found := check(group)) is not None), None)

    return reason
