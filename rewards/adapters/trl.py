"""Our tasks as TRL's `reward_funcs`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rewards.adapters.background import AdapterConfig, plain, shared_scorer
from rewards.response import THINK_CLOSE, THINK_OPEN
from rewards.types import Message, RewardRequest
from rewards.verifiers.tool_calls import text_of


class SharpenReward:
    """A reward function for GRPOTrainer: one number a completion, and None for one that could not be scored.

    The task is `task`, or each row's column `task`. The reference is the row's column `reference` (another name by
    `reference=`), and the row's column `params` adds to `params`. `options` are the fields of AdapterConfig. It holds
    nothing but its settings, so it can be pickled.
    """

    def __init__(
        self,
        task: str | None = None,
        *,
        reference: str = "reference",
        params: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.__name__ = f"sharpen_{task}" if task else "sharpen"  # TRL's name for its metrics
        self.task, self.reference, self.params = task, reference, dict(params or {})
        self.config = AdapterConfig.model_validate(options)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One score a completion. Raises ValueError where a column is missing, or a task unknown."""
        requests = [
            self._request(number, prompt, completion, columns)
            for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        results = shared_scorer(self.config).score(requests)
        log_metric = columns.get("log_metric")
        if log_metric is not None and results:
            unscored = sum(result.score is None for result in results)
            log_metric(f"{self.__name__}/unscored_rate", unscored / len(results))
        if self.config.unscored is not None:
            return [self.config.number(result) for result in results]
        return [result.score for result in results]

    def _request(self, number: int, prompt: Any, completion: Any, columns: Mapping[str, Any]) -> RewardRequest:
        if self.reference not in columns:
            known = ", ".join(sorted(name for name, column in columns.items() if isinstance(column, list)))
            raise ValueError(f"the data has no column {self.reference!r}; name it by reference=, of: {known}")
        task = self.task or (columns["task"][number] if "task" in columns else None)
        if task is None:
            raise ValueError("no task: name one by task=, or give the data a column 'task'")
        params = columns["params"][number] if "params" in columns else None
        return RewardRequest(
            task=task,
            question=plain(prompt),
            response=read_completion(completion),
            reference=plain(columns[self.reference][number]),
            params=self.params | plain(params or {}),
        )


def read_completion(completion: Any) -> str | list[Message]:
    """A completion as it was sampled: a text, that of its one message, or messages where it has several or calls tools.

    The thinking that TRL parses out of a message stands before its content again.
    """
    if isinstance(completion, str):
        return completion
    messages = [_with_thinking(message) for message in plain(completion)]
    if len(messages) != 1 or messages[0].get("tool_calls"):
        return messages
    return text_of(messages[0])


def _with_thinking(message: Message) -> Message:
    """The message as Qwen3's template writes it: TRL's `parse_response` takes the block of the thinking apart."""
    thinking = message.get("reasoning_content")
    if not thinking:
        return message
    rest = {name: value for name, value in message.items() if name != "reasoning_content"}
    return rest | {"content": f"{THINK_OPEN}\n{thinking}\n{THINK_CLOSE}\n\n{text_of(message)}"}
