"""Calls of tools as Qwen3 writes them, read strictly: `<tool_call>`, JSON with name and arguments, `</tool_call>`."""

import json
from dataclasses import dataclass
from typing import Any

from rollout.chat import THINK_CLOSE, THINK_OPEN

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
MAX_CALL_CHARS = 16_384
MAX_NAME_CHARS = 64


class ToolError(Exception):
    """A mistake of the policy's: it is told the text, and may try again."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool's name and its arguments, values of JSON."""

    name: str
    arguments: dict[str, Any]


def read_calls(text: str, max_calls: int) -> list[ToolCall | ToolError]:
    """The calls of a turn after its thinking, in order, each that cannot be read as what is wrong with it.

    Calls beyond `max_calls` are one error together. A turn whose thinking does not end has no call.
    """
    answer = text.rpartition(THINK_CLOSE)[2]
    if THINK_OPEN in answer:
        return []
    blocks = answer.split(CALL_OPEN)[1:]
    calls = [_read_call(block) for block in blocks[:max_calls]]
    return calls + [ToolError(f"more than {max_calls} calls in a turn")] * (len(blocks) > max_calls)


def write_call(name: str, **arguments: Any) -> str:
    """A call as Qwen3's template writes it."""
    call = {"name": name, "arguments": arguments}
    return f"{CALL_OPEN}\n{json.dumps(call, ensure_ascii=False)}\n{CALL_CLOSE}"


def _read_call(block: str) -> ToolCall | ToolError:
    body, mark, _ = block.partition(CALL_CLOSE)
    if not mark:
        return ToolError(f"a call that is not closed by {CALL_CLOSE}")
    if len(body) > MAX_CALL_CHARS:
        return ToolError(f"a call of more than {MAX_CALL_CHARS} characters")
    try:
        call = json.loads(body, object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        return ToolError("a call that is nested too deep")
    except ValueError as error:
        return ToolError(f"a call that is no JSON: {error}")
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
        return ToolError('a call must be {"name": ..., "arguments": {...}} and nothing else')
    if not isinstance(call["name"], str) or not isinstance(call["arguments"], dict):
        return ToolError("name must be a text and arguments an object")
    return ToolCall(call["name"][:MAX_NAME_CHARS], call["arguments"])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("a key that is there twice")
    return read


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
