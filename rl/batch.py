"""Groups to examples to packed micro-batches: what is learned, in the shape in which it is computed."""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field

from rl.types import Example, MicroBatch, ScoredGroup, TrainBatch, Update, UpdateCounts
from rollout.types import Group, Sample

# Attention over a row of S tokens costs about S*S/4096 as much as everything else over one token (SmolLM2's width).
ATTENTION_SCALE = 4096


class PackingConfig(BaseModel):
    """How examples share rows. Token counts are computed tokens, padding included.

    `share_prefix`: a group's prompt is computed once for all its responses: always, never, or where it pays.
    `tokens_per_row` packs several such units into one row up to that length or the micro-batch's budget; 0 leaves
    one unit a row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share_prefix: bool | Literal["auto"] = "auto"
    tokens_per_micro_batch: int = Field(8192, gt=0)
    tokens_per_row: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True)
class Unit:
    """Examples with one common prefix, computed together."""

    examples: tuple[Example, ...]

    @property
    def num_tokens(self) -> int:
        prefix = self.examples[0].prefix_length
        return prefix + sum(len(e.token_ids) - prefix for e in self.examples)


Row = tuple[Unit, ...]


def make_examples(groups: Sequence[ScoredGroup], advantages: Sequence[Sequence[float]]) -> list[Example]:
    """One example a scored sample. A sample whose score failed is left out, here and in every count."""
    examples = []
    for scored, group_advantages in zip(groups, advantages, strict=True):
        for sample, score, advantage in zip(scored.group.samples, scored.scores, group_advantages, strict=True):
            if score is None:
                continue
            by_token = tuple(advantage if s else 0.0 for s in sample.sampled)
            examples.append(sample_example(scored.group, sample, scored.draw, by_token))
    return examples


def sample_example(group: Group, sample: Sample, draw: int, advantages: tuple[float, ...] | None) -> Example:
    """A sample after its prompt, which all samples of the draw share; `advantages` are those of its tokens."""
    prompt = group.prompt_token_ids
    zeros = (0.0,) * len(prompt)
    return Example(
        token_ids=prompt + sample.token_ids,
        trainable=(False,) * len(prompt) + sample.sampled,
        prefix_id=str(draw),
        prefix_length=len(prompt),
        advantages=None if advantages is None else zeros + advantages,
        sampler_logprobs=zeros + sample.logprobs,
    )


def pack(
    examples: Sequence[Example], config: PackingConfig, *, num_ranks: int, num_updates: int = 1, skip_flat: bool = False
) -> TrainBatch:
    """The updates of one step, each balanced over the ranks by length.

    With `skip_flat` examples without signal are not computed; they stay in the counts that the loss divides by.
    """
    assert examples, "nothing to pack"
    parts = [_make_update(part, config, num_ranks, skip_flat) for part in _split(examples, num_updates)]
    computed = sum(micro.input_ids_BT.numel() for u in parts for rank in u.micro_batches for micro in rank)
    real = sum(int((micro.group_BT >= 0).sum()) for u in parts for rank in u.micro_batches for micro in rank)
    padding = 1 - real / computed
    return TrainBatch(
        updates=tuple(parts),
        packing={
            "pack/computed_tokens": float(computed),
            "pack/padding_rate": padding,
            "pack/trained_tokens": float(sum(map(_num_trained, parts))),
            "pack/skipped_rate": sum(not e.has_signal for e in examples) / len(examples) if skip_flat else 0.0,
        },
    )


class Layout(Protocol):
    """A learner, as far as packing is concerned."""

    num_ranks: int
    updates_per_step: int


def pack_for(
    learner: Layout, examples: Sequence[Example], config: PackingConfig, *, skip_flat: bool = False
) -> TrainBatch:
    """The updates of one step as that learner makes them."""
    return pack(
        examples, config, num_ranks=learner.num_ranks, num_updates=learner.updates_per_step, skip_flat=skip_flat
    )


def _num_trained(update: Update) -> int:
    """Trainable tokens of what is computed: without those that are skipped, which the loss divides by all the same."""
    ranks = zip(update.micro_batches, update.weights, strict=True)
    return sum(
        len(micro.target_N) for rank, weights in ranks for micro, weight in zip(rank, weights, strict=True) if weight
    )


def _split(examples: Sequence[Example], num_updates: int) -> list[list[Example]]:
    """Whole groups in their order, spread over the updates as evenly as whole groups can be."""
    groups = [list(members) for _, members in groupby(examples, key=lambda e: e.prefix_id)]
    num_updates = min(num_updates, len(groups))
    bounds = [round(i * len(groups) / num_updates) for i in range(num_updates + 1)]
    return [functools.reduce(operator.iadd, groups[low:high], []) for low, high in pairwise(bounds)]


def _make_update(examples: Sequence[Example], config: PackingConfig, num_ranks: int, skip_flat: bool) -> Update:
    counts = UpdateCounts(num_tokens=sum(e.num_trainable for e in examples), num_sequences=len(examples))
    live = [e for e in examples if e.has_signal and e.num_trainable] if skip_flat else list(examples)
    rows = make_rows(make_units(live, config), min(config.tokens_per_row, config.tokens_per_micro_batch))
    ranks = [_cut(share, config.tokens_per_micro_batch) for share in _balance(rows, num_ranks)]
    num_micro = max(1, max(len(rank) for rank in ranks))
    spare = [(Unit((min(examples, key=lambda e: len(e.token_ids)),)),)]  # computed for nothing, to keep step
    weights = tuple((1.0,) * len(rank) + (0.0,) * (num_micro - len(rank)) for rank in ranks)
    padded = [rank + [spare] * (num_micro - len(rank)) for rank in ranks]
    return Update(
        micro_batches=tuple(tuple(collate(rows) for rows in rank) for rank in padded), weights=weights, counts=counts
    )


def make_units(examples: Sequence[Example], config: PackingConfig) -> list[Unit]:
    """Examples with one prefix together where the config or the cost says so, within a micro-batch's budget."""
    units = []
    for _, members in groupby(examples, key=lambda e: e.prefix_id):
        group = list(members)
        for chunk in _chunks(group, config.tokens_per_micro_batch):
            shared = Unit(tuple(chunk))
            single = [Unit((e,)) for e in chunk]
            pays = _cost(shared) < sum(map(_cost, single))
            share = pays if config.share_prefix == "auto" else config.share_prefix
            units.extend([shared] if share else single)
    return units


def _cost(unit: Unit) -> float:
    return unit.num_tokens * (1 + unit.num_tokens / ATTENTION_SCALE)


def _chunks(group: list[Example], budget: int) -> list[list[Example]]:
    """A group cut so that each part with its prefix fits the budget (a single longer example stands alone)."""
    chunks: list[list[Example]] = []
    room = 0
    for example in group:
        length = len(example.token_ids) - example.prefix_length
        if not chunks or length > room:
            chunks.append([])
            room = budget - example.prefix_length
        chunks[-1].append(example)
        room -= length
    return chunks


def make_rows(units: Sequence[Unit], tokens_per_row: int) -> list[Row]:
    """Units to rows, first fit by decreasing length; with 0 each has a row of its own."""
    if not tokens_per_row:
        return [(unit,) for unit in units]
    return [tuple(units[i] for i in row) for row in first_fit([u.num_tokens for u in units], tokens_per_row)]


def first_fit(lengths: Sequence[int], tokens_per_row: int) -> list[list[int]]:
    """Indices of the lengths by row, longest first; one that is longer than a row has its own."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, free in enumerate(room) if lengths[index] <= free), None)
        if place is None:
            place = len(rows)
            rows.append([])
            room.append(tokens_per_row)
        rows[place].append(index)
        room[place] -= lengths[index]
    return rows


def _length(row: Row) -> int:
    return sum(unit.num_tokens for unit in row)


def _balance(rows: list[Row], num_ranks: int) -> list[list[Row]]:
    """Rows to ranks with nearly equal token sums (Karmarkar-Karp)."""
    if num_ranks == 1:
        return [rows]
    if len(rows) < num_ranks:
        return [[row] for row in rows] + [[] for _ in range(num_ranks - len(rows))]
    from verl.utils.seqlen_balancing import get_seqlen_balanced_partitions

    partitions = get_seqlen_balanced_partitions([_length(r) for r in rows], k_partitions=num_ranks, equal_size=False)
    return [[rows[i] for i in part] for part in partitions]


def _cut(rows: list[Row], budget: int) -> list[list[Row]]:
    """Rows of like length together, each micro-batch within the budget (rows times the longest)."""
    micro_batches: list[list[Row]] = []
    for row in sorted(rows, key=_length, reverse=True):
        if micro_batches and (len(micro_batches[-1]) + 1) * _length(micro_batches[-1][0]) <= budget:
            micro_batches[-1].append(row)
        else:
            micro_batches.append([row])
    return micro_batches


def collate(rows: Sequence[Row]) -> MicroBatch:
    """Rows as padded tensors, and their trainable tokens as flat streams in row order."""
    width = max(_length(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    positions, segments = torch.zeros_like(tokens), torch.zeros_like(tokens)
    groups = torch.full_like(tokens, -1)
    source: list[int] = []
    target: list[int] = []
    sequence: list[int] = []
    lengths: list[int] = []
    ordered: list[Example] = []
    for b, row in enumerate(rows):
        start = 0
        for g, unit in enumerate(row):
            prefix = unit.examples[0].prefix_length
            spans = [(0, unit.examples[0].token_ids[:prefix], 0)]
            spans += [(s, e.token_ids[prefix:], prefix) for s, e in enumerate(unit.examples, start=1)]
            at = start
            for segment, ids, position in spans:
                end = at + len(ids)
                tokens[b, at:end] = torch.tensor(ids)
                positions[b, at:end] = torch.arange(position, position + len(ids))
                segments[b, at:end] = segment
                groups[b, at:end] = g
                if segment:
                    example = unit.examples[segment - 1]
                    trained = [j for j in range(len(ids)) if example.trainable[prefix + j]]
                    # The first token of a response is predicted by the last position of the prefix.
                    source += [b * width + (at + j - 1 if j else start + prefix - 1) for j in trained]
                    target += [ids[j] for j in trained]
                    sequence += [len(lengths)] * len(trained)
                    lengths.append(len(trained))
                    ordered.append(example)
                at = end
            start = at
    return MicroBatch(
        input_ids_BT=tokens,
        positions_BT=positions,
        group_BT=groups,
        segment_BT=segments,
        source_N=torch.tensor(source, dtype=torch.long),
        target_N=torch.tensor(target, dtype=torch.long),
        sequence_N=torch.tensor(sequence, dtype=torch.long),
        length_S=torch.tensor(lengths, dtype=torch.long),
        advantages_N=_stream(ordered, lambda e: e.advantages),
        sampler_logprobs_N=_stream(ordered, lambda e: e.sampler_logprobs),
    )


def _stream(examples: list[Example], read: Callable[[Example], tuple[float, ...] | None]) -> torch.Tensor | None:
    """The trainable tokens' values of all examples, or None where the signal does not exist."""
    values: list[float] = []
    for example in examples:
        stream = read(example)
        if stream is None:
            return None
        values += [value for value, trained in zip(stream, example.trainable, strict=True) if trained]
    return torch.tensor(values, dtype=torch.float32)
