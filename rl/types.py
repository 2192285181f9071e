"""The types of the learning side, one per stage; no stage fills in what an earlier one left open.

Axis suffixes: `B` packed row, `T` token of a row, `N` trainable token, `S` sequence, `K` teacher top-k,
`V` vocabulary.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rewards.types import RewardResult
from rollout.types import Group, Message

if TYPE_CHECKING:
    import torch

    from rl.divergence_head import Alignment

StepMetrics = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGroup:
    """A group with its judgements. An unscored sample has score None: masked everywhere, and counted."""

    group: Group
    rewards: tuple[RewardResult, ...]
    draw: int  # position of the prompt in the stream: groups are learned in this order
    sampled_at: float = field(default=math.inf, compare=False)  # when the last response was there; inf: not noted

    def __post_init__(self) -> None:
        assert len(self.rewards) == len(self.group.samples), "one reward a sample"

    @property
    def scores(self) -> list[float | None]:
        return [reward.score for reward in self.rewards]

    @property
    def failure(self) -> str:
        """Why one of its samples has no score, if one has none."""
        failed = [reward for reward in self.rewards if reward.score is None]
        return f"{failed[0].status}: {failed[0].reason}" if failed else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentGroup:
    """A group to be taught, without judgements.

    `is_known[i]`: sample i holds only ids that the teacher knows; others are masked, and counted.
    `teacher_logprobs[i]`: a served teacher's, at each token of sample i; None with a teacher beside the learner.
    """

    group: Group
    draw: int
    is_known: tuple[bool, ...]
    teacher_logprobs: tuple[tuple[float, ...], ...] | None = None
    sampled_at: float = field(default=math.inf, compare=False)  # as of a ScoredGroup

    def __post_init__(self) -> None:
        assert len(self.is_known) == len(self.group.samples), "one answer a sample"
        if self.teacher_logprobs is not None:
            for sample, logprobs in zip(self.group.samples, self.teacher_logprobs, strict=True):
                assert len(logprobs) == len(sample.token_ids), "one log-prob of the teacher a token"

    @property
    def failure(self) -> str:
        return "" if all(self.is_known) else "a token id that the teacher does not know"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Messages that end with the model's turn to learn. `thinking` is the mode in which it is, or was, sampled."""

    id: str
    messages: tuple[Message, ...]
    thinking: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training sequence; `None` for a stream means that the signal does not exist.

    The first `prefix_length` tokens are shared by all examples with the same `prefix_id`, so they may be
    computed once. `trainable`, `advantages` and `sampler_logprobs` run over all tokens of the sequence.
    """

    token_ids: tuple[int, ...]
    trainable: tuple[bool, ...]
    prefix_id: str
    prefix_length: int
    advantages: tuple[float, ...] | None = None
    sampler_logprobs: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        streams = (self.trainable, self.advantages, self.sampler_logprobs)
        lengths = {len(self.token_ids)} | {len(s) for s in streams if s is not None}
        assert len(lengths) == 1, f"streams of an example must have one length, have {lengths}"
        assert 0 < self.prefix_length < len(self.token_ids), "an example has a prefix and at least one token more"
        assert not any(self.trainable[: self.prefix_length]), "no token of the prefix is trainable"

    @property
    def num_trainable(self) -> int:
        return sum(self.trainable)

    @property
    def has_signal(self) -> bool:
        return self.advantages is None or any(self.advantages)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Packed rows, and the trainable tokens in them as flat streams.

    Rows: `input_ids_BT`, `positions_BT`, `group_BT` (-1 is padding), `segment_BT` (0: the group's prefix,
    seen by all its responses; 1, 2, ...: a response, seen by itself alone). Streams: `source_N` is the flat
    index into B*T of the position that predicts the token, `target_N` the token, `sequence_N` the number of
    its sequence in this micro-batch, `length_S` how many trainable tokens each sequence has.
    """

    input_ids_BT: "torch.Tensor"
    positions_BT: "torch.Tensor"
    group_BT: "torch.Tensor"
    segment_BT: "torch.Tensor"
    source_N: "torch.Tensor"
    target_N: "torch.Tensor"
    sequence_N: "torch.Tensor"
    length_S: "torch.Tensor"
    advantages_N: "torch.Tensor | None" = None
    sampler_logprobs_N: "torch.Tensor | None" = None

    @property
    def model_inputs(self) -> "tuple[torch.Tensor, ...]":
        """What `rl.policy.Policy` takes, in its order."""
        rows = (self.input_ids_BT, self.positions_BT, self.group_BT, self.segment_BT)
        return (*rows, self.source_N, self.target_N)

    def to(self, device: "torch.device | str") -> "MicroBatch":
        moved = {}
        for name in self.__slots__:
            value = getattr(self, name)
            moved[name] = None if value is None else value.to(device)
        return replace(self, **moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What models have computed over the trainable tokens of a micro-batch, in nats, float32.

    `logprobs_N` and `entropy_N` are the learner's and have a gradient; `start_logprobs_N` its own before the first
    update of the step (None: this is the first and only one); `frozen_logprobs_N` those of the frozen reference. A
    reward model has scores in place of log-probs. `alignment` compares with a frozen teacher; where it is there, it
    alone has a gradient.
    """

    logprobs_N: "torch.Tensor"
    entropy_N: "torch.Tensor"
    start_logprobs_N: "torch.Tensor | None" = None
    frozen_logprobs_N: "torch.Tensor | None" = None
    alignment: "Alignment | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCounts:
    """The normaliser of one optimizer update, over all ranks and micro-batches, skipped sequences included."""

    num_tokens: int
    num_sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One optimizer update: `micro_batches[rank]` are that rank's, the same number on every rank.

    A weight of 0 marks a dummy that keeps the ranks in step: it is computed and counts for nothing.
    """

    micro_batches: tuple[tuple[MicroBatch, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    counts: UpdateCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBatch:
    """All updates of one step, and what packing has to say about them."""

    updates: tuple[Update, ...]
    packing: StepMetrics
