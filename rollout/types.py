"""What goes into sampling and what comes out of it: prompts in, token-exact samples out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Message = Mapping[str, str]  # {"role": ..., "content": ...}
FinishReason = Literal["stop", "length"]


class SamplingParams(BaseModel):
    """How responses are sampled. The defaults sample the policy's own distribution, which training requires.

    Everything but `temperature` and `max_tokens` is for evaluations alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(-1, ge=-1)
    min_p: float = Field(0.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    max_tokens: int = Field(256, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One query. `id` depends on the content alone, so it is the same in every epoch, resume and machine."""

    id: str
    messages: tuple[Message, ...]
    task: str
    reference: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    thinking: bool | None = None
    thinking_budget: int | None = None  # tokens of thinking, at least 1


def prompt_id(messages: Sequence[Message], task: str, reference: Any) -> str:
    """Sixteen hex digits over the canonical JSON of what defines a prompt."""
    content = json.dumps([list(map(dict, messages)), task, reference], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response, token for token as the engine sampled it.

    `logprobs` are the sampler's, in nats, of the distribution that was sampled. `sampled` is False where the
    token was written by us, not by the policy. `policy_version` is the oldest weights that produced a token.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    text: str
    finish_reason: FinishReason
    policy_version: int

    def __post_init__(self) -> None:
        lengths = {len(self.token_ids), len(self.logprobs), len(self.sampled)}
        assert len(lengths) == 1, f"token_ids, logprobs and sampled must have one length, have {lengths}"
        assert self.token_ids, "a sample holds at least one token (the stop token counts)"

    @property
    def num_sampled(self) -> int:
        """The response length: tokens that the policy sampled."""
        return sum(self.sampled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All samples of one prompt."""

    prompt: Prompt
    prompt_token_ids: tuple[int, ...]
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        assert self.samples, f"group of prompt {self.prompt.id} holds no sample"
        assert self.prompt_token_ids, f"prompt {self.prompt.id} has no tokens"
