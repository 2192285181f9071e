"""Conversations to learn from: read, mixed by weight, rendered with exact loss masks; exact over a resume."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rl.row_stream import ExampleStream, RowSourceConfig
from rl.types import Conversation, Example
from rollout.chat import THINK_CLOSE
from rollout.types import Message, prompt_id

ROLES = {"system", "user", "assistant", "tool"}


class Renderer(Protocol):
    def render_conversation(
        self, messages: Sequence[Mapping[str, Any]], *, thinking: bool | None = None
    ) -> tuple[tuple[int, ...], tuple[bool, ...]]: ...


def conversation_stream(
    sources: Sequence[RowSourceConfig], seed: int, chat: Renderer, max_tokens: int
) -> ExampleStream[Conversation]:
    """Conversations as examples, one each.

    A row may say `thinking` (false: its empty think block is prompt, as in sampling without thinking).
    """

    def make(number: int, conversation: Conversation) -> list[Example]:
        return [make_example(conversation, chat, number)]

    return ExampleStream(sources, seed, parse=to_conversation, make=make, max_tokens=max_tokens)


def make_example(conversation: Conversation, chat: Renderer, number: int) -> Example:
    """A conversation as the model would see it; what stands before its first trained token is the prefix."""
    token_ids, trainable = chat.render_conversation(conversation.messages, thinking=conversation.thinking)
    if True not in trainable:
        raise ValueError(f"conversation {conversation.id}: no token of it is the model's")
    return Example(token_ids=token_ids, trainable=trainable, prefix_id=str(number), prefix_length=trainable.index(True))


def to_conversation(row: Mapping[str, Any], where: str) -> Conversation:
    """A row as a conversation that ends with the model's turn."""
    messages = read_messages(row.get("messages"), where)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message must be the assistant's, it is of {messages[-1]['role']}")
    thinking = row.get("thinking")
    if thinking is not None and not isinstance(thinking, bool):
        raise ValueError(f"{where}: thinking must be true, false or null, got {thinking!r}")
    identity = row.get("id") or prompt_id(messages, "conversation", thinking)
    return Conversation(id=str(identity), messages=messages, thinking=thinking)


def without_thinking(content: str) -> str:
    """What an assistant's turn says after its thinking."""
    return content.rpartition(THINK_CLOSE)[2].lstrip("\n")


def read_messages(value: Any, where: str) -> tuple[Message, ...]:
    """Messages with a known role and a text. Raises ValueError naming the place."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where}: no list messages")
    for message in value:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise ValueError(f"{where}: each message has a role of {', '.join(sorted(ROLES))}; got {message!r:.200}")
        if not isinstance(message.get("content"), str):
            raise ValueError(f"{where}: content of a message must be a text, got {message!r:.200}")
    return tuple(value)
