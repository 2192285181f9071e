"""The thinking budget: after so many tokens of thinking we write a sentence that ends it, and the model goes on.

vLLM's own `thinking_token_budget` (0.27.1) is not used: it takes the whole sentence for the end of thinking, so a model
that closes its block by itself has the sentence forced into its answer; it counts a think block of the prompt; and when
two requests of a batch swap rows, one without a budget is cut as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from rollout.chat import THINK_CLOSE, THINK_OPEN, Chat

# As Qwen's code has it; the report prints a full stop after the tag. Sections 4.3 of 2505.09388, and Qwen3's docs.
STOP_TEXT = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
    f"\n{THINK_CLOSE}\n\n"
)
REQUEST_KEY = "thinking_budget"  # in the `extra_args` of vLLM's sampling parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingBudget:
    """How much one response may think: `num_tokens` between `<think>` and `</think>`, then `stop_ids` are written.

    Thinking begins with the response where the prompt ends inside a think block (`is_open`), else with its first
    token where that is `<think>`. A response that begins otherwise does not think, and a block that its model has
    closed in time is never cut. All of it follows from the token ids, so what was forced is found exactly.
    """

    num_tokens: int
    is_open: bool
    open_id: int
    close_id: int
    stop_ids: tuple[int, ...]

    @classmethod
    def read(cls, extra_args: Mapping[str, Any] | None) -> Self | None:
        """The budget of a request to vLLM, if it has one."""
        fields = (extra_args or {}).get(REQUEST_KEY)
        return None if fields is None else cls(**{**fields, "stop_ids": tuple(fields["stop_ids"])})

    def write(self) -> dict[str, Any]:
        """The `extra_args` that `read` reads."""
        return {REQUEST_KEY: {**asdict(self), "stop_ids": list(self.stop_ids)}}

    @property
    def cut_at(self) -> int:
        """The length of a response at which its thinking is cut."""
        return self.num_tokens + (0 if self.is_open else 1)

    def is_cut(self, token_ids: Sequence[int]) -> bool:
        """Whether a response that has come to `cut_at` is still thinking there."""
        thinks = self.is_open or token_ids[0] == self.open_id
        return thinks and self.close_id not in token_ids[: self.cut_at]

    def forced_token(self, token_ids: Sequence[int]) -> int | None:
        """The token that we write after these, or None where the model goes on."""
        at = len(token_ids) - self.cut_at
        return self.stop_ids[at] if 0 <= at < len(self.stop_ids) and self.is_cut(token_ids) else None

    def sampled(self, token_ids: Sequence[int]) -> tuple[bool, ...]:
        """For each token of a response, whether the policy sampled it."""
        forced = range(self.cut_at, self.cut_at + len(self.stop_ids))
        is_cut = len(token_ids) > self.cut_at and self.is_cut(token_ids)
        return tuple(not (is_cut and at in forced) for at in range(len(token_ids)))


def make_budget(chat: Chat, prompt_token_ids: Sequence[int], num_tokens: int) -> ThinkingBudget:
    """The budget of the responses to a prompt. Raises ValueError for a model without think tokens."""
    assert num_tokens > 0, "a thinking budget is at least one token"
    tags = chat.think_token_ids
    if tags is None:
        raise ValueError(
            f"thinking_budget: {THINK_OPEN} and {THINK_CLOSE} are not tokens of the model: its thinking cannot be cut"
        )
    return ThinkingBudget(
        num_tokens=num_tokens,
        is_open=chat.think_block(prompt_token_ids) == "open",
        open_id=tags[0],
        close_id=tags[1],
        stop_ids=tuple(chat.tokenizer.encode(STOP_TEXT, add_special_tokens=False)),
    )
