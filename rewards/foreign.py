"""Reward functions of other trainers as ours: by their signatures, without a change to them."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.types import RewardRequest, RewardResult

Foreign = Callable[..., Any]
OF_TRL = {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}


def adopt(function: Foreign) -> Foreign:
    """A function of verl's or TRL's signature as a reward; any other one as it is."""
    names = set(inspect.signature(function).parameters)
    if {"solution_str", "ground_truth"} <= names:
        return _from_verl(function)
    return _from_trl(function) if "completions" in names else function


def _from_verl(function: Foreign) -> Foreign:
    """verl's compute_score: `data_source` and `extra_info` are found in the request's params."""

    @functools.wraps(function)
    async def judge(request: RewardRequest) -> RewardResult | float:
        answer = function(
            data_source=request.params.get("data_source", request.task),
            solution_str=request.response,
            ground_truth=request.reference,
            extra_info=request.params.get("extra_info", dict(request.params)),
        )
        answer = await answer if inspect.isawaitable(answer) else answer
        if not isinstance(answer, Mapping):
            return answer
        extras = {key: float(value) for key, value in answer.items() if isinstance(value, int | float)}
        return RewardResult(score=extras.pop("score"), components=extras)

    return judge


def _from_trl(function: Foreign) -> Foreign:
    """TRL's `(prompts, completions, **columns) -> list`: a batch of one, its columns the request's params.

    The reference is the column `reference`, and that of the one column that the function names and params do not
    have. Where the question is messages, the completion is, too. Metrics that it logs are components; None is a
    response without a score.
    """
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    required = {parameter.name for parameter in parameters if parameter.default is parameter.empty} & named - OF_TRL

    @functools.wraps(function)
    async def judge(request: RewardRequest) -> RewardResult:
        metrics: dict[str, float] = {}
        columns = request.params | {"reference": request.reference}
        missing = required - columns.keys()
        if len(missing) == 1:
            columns[missing.pop()] = request.reference
        given: dict[str, Any] = {name: [value] for name, value in columns.items()} | {
            "prompts": [request.question],
            "completions": [_completion(request)],
            "completion_ids": [[]],
            "trainer_state": None,
            "log_extra": lambda column, values: None,
            "log_metric": metrics.__setitem__,
        }
        answer = function(**given if takes_all else {name: given[name] for name in named & given.keys()})
        return _one(await answer if inspect.isawaitable(answer) else answer, metrics)

    return judge


def _completion(request: RewardRequest) -> str | list[dict[str, Any]]:
    if isinstance(request.question, list) and isinstance(request.response, str):
        return [{"role": "assistant", "content": request.response}]
    return request.response


def _one(answer: Any, metrics: Mapping[str, float]) -> RewardResult:
    """The one number of a list, or of an array or tensor. Raises TypeError and ValueError for anything else."""
    answer = answer.tolist() if hasattr(answer, "tolist") else answer
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) != 1:
        raise ValueError(f"a list of one number is wanted of a reward function of TRL's, got {answer!r:.100}")
    if answer[0] is None:
        return RewardResult(score=None, status="unscorable", reason="the function has no score for this response")
    return RewardResult(score=float(answer[0]), components=dict(metrics))
