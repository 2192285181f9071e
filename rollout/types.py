"""What goes into sampling and what comes out of it: prompts in, token-exact samples out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Message = Mapping[str, str]  # {"role": ..., "content": ...}
FinishReason = Literal["stop", "length"]
ThinkBlock = Literal["none", "open", "closed"]  # where a prompt leaves its response: before, inside, behind a block


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


class EnvironmentConfig(BaseModel):
    """What answers the turns of a sample, and how far a sample may go.

    `name` is a known environment's, or `module:function` in a config; `options` go to it. A sample has at most
    `max_turns` turns of the policy and `sampling.max_tokens` sampled tokens, of which one turn has at most
    `max_turn_tokens`: a longer one is closed for the policy, and answered. `max_total_tokens` bounds prompt, turns and
    observations together, by default the engine's context. What a turn is answered with is cut, with a mark, after
    `max_observation_tokens`. A step that takes longer than `step_timeout_s` has failed. Rewards are given the whole
    interaction as messages, or the text of the last turn alone with `judged: answer`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}
    max_turns: int = Field(8, ge=1)
    max_turn_tokens: int | None = Field(None, ge=1)
    max_total_tokens: int | None = Field(None, ge=2)
    max_observation_tokens: int = Field(512, ge=1)
    step_timeout_s: float = Field(30, gt=0, allow_inf_nan=False)
    judged: Literal["interaction", "answer"] = "interaction"


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
    environment: EnvironmentConfig | None = None


def prompt_id(
    messages: Sequence[Message], task: str, reference: Any, environment: EnvironmentConfig | None = None
) -> str:
    """Sixteen hex digits over the canonical JSON of what defines a prompt."""
    parts: list[Any] = [list(map(dict, messages)), task, reference]
    if environment is not None:  # its limits define no prompt
        parts.append([environment.name, environment.options])
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A sample's interaction with its environment: the policy's turns as messages, and what each was answered.

    The environment's messages hold more than the policy was shown: `state`, `reward`, `done`, `violations`, and `error`
    where they tell it of a mistake of its own. `failure` is why the environment broke down, which is no fault of the
    policy's: such a sample has no score.
    """

    messages: tuple[Mapping[str, Any], ...]
    failure: str | None = None

    @property
    def turns(self) -> list[str]:
        """The texts of the policy's turns."""
        return [message["content"] for message in self.messages if message["role"] == "assistant"]

    @property
    def observations(self) -> list[Mapping[str, Any]]:
        return [message for message in self.messages if message["role"] != "assistant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response, token for token as the engine sampled it.

    `logprobs` are the sampler's, in nats, of the distribution that was sampled. `sampled` is False where the
    token was written by us, not by the policy. `policy_version` is the oldest weights that produced a token. With an
    environment, all turns and the observations between them are one sample.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    text: str
    finish_reason: FinishReason
    policy_version: int
    episode: Episode | None = None

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
    """All samples of one prompt; its rendering leaves their responses where `think_block` says (`Chat.think_block`)."""

    prompt: Prompt
    prompt_token_ids: tuple[int, ...]
    think_block: ThinkBlock
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        assert self.samples, f"group of prompt {self.prompt.id} holds no sample"
        assert self.prompt_token_ids, f"prompt {self.prompt.id} has no tokens"
