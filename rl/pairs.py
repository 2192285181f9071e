"""Preference pairs: two answers to one conversation, of which people prefer the first."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rl.conversations import read_messages, without_thinking
from rl.row_stream import ExampleStream, RowSourceConfig
from rl.types import Example
from rollout.types import Message, prompt_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Conversations that differ in their last turn, the assistant's. `margin` is how much better the chosen one is."""

    id: str
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    margin: float


class WholeRenderer(Protocol):
    def render_whole(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]: ...


def pair_stream(
    sources: Sequence[RowSourceConfig], seed: int, chat: WholeRenderer, max_tokens: int
) -> ExampleStream[Pair]:
    """Pairs as two examples each, the chosen one first."""
    return ExampleStream(
        sources, seed, parse=to_pair, make=lambda number, pair: make_examples(pair, chat, number), max_tokens=max_tokens
    )


def make_examples(pair: Pair, chat: WholeRenderer, number: int) -> list[Example]:
    """Both conversations, whose score is read at the last token.

    A learner's streams are of tokens that are predicted: one token more stands at the end, for which nothing but the
    place before it counts. What both have in common is computed once.
    """
    both = [chat.render_whole(messages) for messages in (pair.chosen, pair.rejected)]
    same = sum(1 for _ in itertools.takewhile(lambda ids: ids[0] == ids[1], zip(*both, strict=False)))
    prefix = min(same, *(len(ids) - 1 for ids in both))
    return [
        Example(
            token_ids=(*ids, ids[-1]),
            trainable=(False,) * len(ids) + (True,),
            prefix_id=str(number),
            prefix_length=prefix,
            advantages=(pair.margin,) * (len(ids) + 1),
        )
        for ids in both
    ]


def to_pair(row: Mapping[str, Any], where: str) -> Pair:
    """A row with `chosen` and `rejected`: whole conversations, or texts that answer `prompt` (a text or messages).

    Thinking is no part of what people compare: it is taken out of the answers. Raises ValueError naming the place.
    """
    prompt = row.get("prompt")
    opening = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or []
    chosen, rejected = (_conversation(row.get(name), opening, f"{where}: {name}") for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError(f"{where}: chosen and rejected are the same")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError(f"{where}: chosen and rejected answer different conversations")
    margin = row.get("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < float("inf"):
        raise ValueError(f"{where}: margin must be a number from 0, got {margin!r}")
    identity = row.get("id") or prompt_id(chosen, "pair", [dict(rejected[-1])])
    return Pair(id=str(identity), chosen=chosen, rejected=rejected, margin=float(margin))


def _conversation(value: Any, opening: Sequence[Message], where: str) -> tuple[Message, ...]:
    answered = [*opening, {"role": "assistant", "content": value}] if isinstance(value, str) else value
    messages = read_messages(answered, where)
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise ValueError(f"{where}: a question, and last the assistant's answer, is wanted")
    answer = without_thinking(messages[-1]["content"])
    return (*messages[:-1], {"role": "assistant", "content": answer})
