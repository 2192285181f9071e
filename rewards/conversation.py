"""Conversations taken apart: texts of messages, and what the assistant said in which turn."""

from collections.abc import Iterable

from rewards.types import Message


def message_text(message: Message) -> str:
    """A message's text; that of a list of parts is the texts among them, one a line."""
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def as_messages(question: str | list[Message]) -> list[Message]:
    return [{"role": "user", "content": question}] if isinstance(question, str) else question


def assistant_turns(messages: Iterable[Message]) -> list[str]:
    """What the assistant last said in each turn; a turn begins with what a user says, or with the first message.

    A turn in which the assistant said nothing is an empty text.
    """
    turns: list[str] = []
    for message in messages:
        if message.get("role") == "user":
            turns.append("")
        elif message.get("role") == "assistant":
            if not turns:
                turns.append("")
            turns[-1] = message_text(message)
    return turns
