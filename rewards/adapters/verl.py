"""Our tasks as verl's `custom_reward_function`: `path=pkg://rewards.adapters.verl`, `name=compute_score`.

verl has no word for a response without a score: the call raises, or gives the number of `reward_kwargs.unscored`.
"""

from collections.abc import Mapping
from typing import Any

from rewards.adapters.background import AdapterConfig, plain, shared_scorer
from rewards.types import RewardRequest, RewardResult

OF_VERL = ("num_turns", "rollout_reward_scores")  # what its managers put into extra_info


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    task: str | None = None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> dict[str, float]:
    """The score of one response; the task is `task`, or `extra_info["task"]`, or the name of the data source.

    `extra_info` may hold `question` and `params` for the task; `options` are the fields of AdapterConfig.
    Raises Unscored, and ValueError for an unknown task.
    """
    config = AdapterConfig.model_validate(plain(options))
    request = make_request(data_source, solution_str, ground_truth, extra_info, task)
    return to_verl(shared_scorer(config).score([request])[0], config)


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    task: str | None = None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> dict[str, float]:
    """As compute_score, without a thread a call."""
    config = AdapterConfig.model_validate(plain(options))
    request = make_request(data_source, solution_str, ground_truth, extra_info, task)
    return to_verl((await shared_scorer(config).score_async([request]))[0], config)


def make_request(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None, task: str | None
) -> RewardRequest:
    """verl's fields as a request."""
    extra = {key: value for key, value in plain(extra_info or {}).items() if key not in OF_VERL}
    name = task or extra.get("task") or data_source
    params = extra.get("params")
    return RewardRequest(
        task=str(name),
        question=extra.get("question") or "",
        response=solution_str,
        reference=plain(ground_truth),
        params=params if isinstance(params, dict) else {},
    )


def to_verl(result: RewardResult, config: AdapterConfig) -> dict[str, float]:
    """The same keys for every task, since verl stacks them over a batch."""
    number = config.number(result)
    return {"score": number, "acc": number, "scored": float(result.score is not None)}
