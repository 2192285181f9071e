"""One request of a combined task as requests to the tasks that it is made of, each asked only where it can matter."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from rewards.combine import JUDGE, PENALTY, PREFERENCE, REFUSED, RULE, VETO, Combination, Component, combine, missing
from rewards.params import flag
from rewards.registry import Task, find_task
from rewards.types import RewardRequest, RewardResult

Score = Callable[[RewardRequest], Awaitable[RewardResult]]
Results = dict[str, RewardResult]

LOGIT = "logit"  # the component of a preference task that is combined
SHARED = ("think_block",)  # params that say what the response is, not how to judge it: every component has them


def check_tasks(combinations: Mapping[str, Combination], tasks: Mapping[str, Task]) -> None:
    """Raises ValueError for a task that is not known, naming the field and the nearest known one."""
    for name, combination in combinations.items():
        for field, task in {"": name, **combination.tasks}.items():
            try:
                find_task(task, tasks)
            except ValueError as error:
                raise ValueError(f"combine.{name}{'.' if field else ''}{field}: {error}") from None


async def score_combined(request: RewardRequest, combinations: Mapping[str, Combination], score: Score) -> RewardResult:
    """The result of a request, combined where its task is; `params.combine` false asks for the task alone."""
    combination = combinations.get(request.task)
    if combination is None:
        return await score(request)
    try:
        is_combined = flag(request.params, "combine", True)
    except ValueError as error:
        return RewardResult(id=request.id, score=None, status="error", reason=str(error))
    params = {name: value for name, value in request.params.items() if name != "combine"}
    request = request.model_copy(update={"params": params})
    return await _combine(request, combination, score) if is_combined else await score(request)


async def _combine(request: RewardRequest, combination: Combination, score: Score) -> RewardResult:
    """Asks for what is missing, until nothing is, or until something that is has failed."""
    start = time.perf_counter()
    results: Results = {}
    components: dict[str, float] = {}
    versions: list[str] = []
    while (names := missing(components, combination)) and not results.keys() & set(names):
        asked = [_part(request, combination, name) for name in names]
        for name, part, result in zip(names, asked, await asyncio.gather(*map(score, asked)), strict=True):
            results[name] = result
            components |= _components(name, result)
            versions.append(f"{part.task} {result.version}")
    outcome = _outcome(combination, components, results)
    ms = round((time.perf_counter() - start) * 1e3, 3)
    described = {"id": request.id, "verifier": "combination", "version": ", ".join(versions), "ms": ms}
    return outcome.model_copy(update=described)


def _part(request: RewardRequest, combination: Combination, name: str) -> RewardRequest:
    """The request that a component is asked with."""
    if name == RULE:
        return request
    shared = {param: request.params[param] for param in SHARED if param in request.params}
    if name.startswith(PENALTY):
        return request.model_copy(update={"task": name.removeprefix(PENALTY), "reference": None, "params": shared})
    parts: dict[str, Component | None] = {JUDGE: combination.judge, PREFERENCE: combination.preference}
    parts |= {veto.component: veto for veto in combination.veto}
    part = parts[name]
    assert part is not None, "only what is configured is missing"
    takes_ours = part.reference is None and not name.startswith(VETO)
    reference = request.reference if takes_ours else part.reference
    return request.model_copy(update={"task": part.task, "reference": reference, "params": shared | dict(part.params)})


def _components(name: str, result: RewardResult) -> dict[str, float]:
    """The raw components that a result stands for; none where it has no score."""
    if result.score is None:
        return {}
    if name == PREFERENCE:
        if LOGIT in result.components:
            return {PREFERENCE: result.components[LOGIT]}
        return {REFUSED: 1.0} if result.score == 0 else {}  # judged without the model: an empty answer, say
    if name == RULE:
        return {RULE: result.score} | {f"{RULE}/{inner}": value for inner, value in result.components.items()}
    return {name: result.score - 1 if name.startswith(PENALTY) else result.score}


def _outcome(combination: Combination, components: dict[str, float], results: Results) -> RewardResult:
    """The score of the components, or the failure of the first that is needed and has none."""
    extracted = next((result.extracted for result in results.values() if result.extracted is not None), None)
    absent = next((name for name in missing(components, combination) if name in results), None)
    if absent is not None:
        failed = results[absent]
        reason = failed.reason if failed.score is None else f"the task gave no component {LOGIT}"
        return RewardResult(
            score=None,
            status="error" if failed.score is not None else failed.status,
            components=components,
            extracted=extracted,
            reason=f"{absent}: {reason}"[:500],
        )
    try:
        value = combine(components, combination)
    except ValueError as error:
        return RewardResult(score=None, status="error", components=components, reason=str(error)[:500])
    reason = _reason(combination, components, results)
    return RewardResult(score=value, components=components, extracted=extracted, reason=reason)


def _reason(combination: Combination, components: dict[str, float], results: Results) -> str:
    """What decided: the vetoes that hit, or else all but the vetoes; and the penalties that there are."""
    hit = [veto.component for veto in combination.veto if components.get(veto.component, veto.min) < veto.min]
    told = hit or [name for name in results if not name.startswith((VETO, PENALTY))]
    told += [name for name in results if name.startswith(PENALTY) and components.get(name)]
    return "; ".join(f"{name}: {results[name].reason}" if results[name].reason else name for name in told)[:500]
