"""Calls of tools: as a model writes them, as a reference expects them, and which of them are the same."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.response import clean, split_response
from rewards.verifiers.json_text import MAX_DOCUMENT_CHARS, Malformed, canonical, parse_json

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
RESPONSE_TAGS = "<tool_response>", "</tool_response>"
MAX_CALLS = 64


class UnreadableReference(ValueError):
    """A reference that expects nothing that a call could be compared with."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function's name and its arguments, values of JSON."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A name and, for each argument, the values that are right; those in `optional` may be left out."""

    name: str
    arguments: dict[str, list[Any]]
    optional: frozenset[str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many calls have the right name, and how many are right altogether, each matched with one expected call."""

    num_named: int
    num_right: int


def calls_in_text(text: str) -> list[Call]:
    """The calls in `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` blocks; prose may stand around them.

    Raises Malformed for a block that is not closed or holds anything else, and for a tool's response that the text
    makes up.
    """
    if len(text) > MAX_DOCUMENT_CHARS:
        raise Malformed(f"an answer of more than {MAX_DOCUMENT_CHARS} characters")
    prose, *blocks = text.split(CALL_OPEN)
    calls = []
    for block in blocks[: MAX_CALLS + 1]:
        body, mark, after = block.partition(CALL_CLOSE)
        if not mark:
            raise Malformed("a call that is not closed")
        calls.append(_call(parse_json(body)))
        prose += after
    if CALL_CLOSE in prose:
        raise Malformed("the end of a call that was not opened")
    if any(tag in prose for tag in RESPONSE_TAGS):
        raise Malformed("a tool's response written by the model")
    return _bounded(calls)


def calls_in_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Call], str]:
    """The calls of all assistant messages, in order, and the last one's text; others' messages do not count.

    A message has its calls in OpenAI's `tool_calls`, as blocks in its text, or both. Raises Malformed where the model
    erred, ValueError where the message cannot come from a runner.
    """
    calls: list[Call] = []
    text = ""
    for message in messages:
        if message.get("role") != "assistant":
            continue
        answer = split_response(text_of(message)).answer
        if answer is None:
            raise Malformed("thinking that never ends")
        text = answer
        calls = _bounded([*calls, *calls_in_text(answer), *_structured_calls(message)])
    return calls, text


def text_of(message: Mapping[str, Any]) -> str:
    """A message's content as text: a text, its text parts together, or nothing. Raises ValueError."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    raise ValueError(f"response: the content of a message is a {type(content).__name__}")


def read_expected(reference: Any) -> list[ExpectedCall]:
    """The calls that a reference expects; none for `[]`. Raises UnreadableReference."""
    if isinstance(reference, str):
        try:
            reference = parse_json(reference)
        except Malformed as error:
            raise UnreadableReference(f"the reference: {error}") from error
    calls = [reference] if isinstance(reference, dict) else reference
    if not isinstance(calls, list) or len(calls) > MAX_CALLS:
        raise UnreadableReference(f"the reference is no list of at most {MAX_CALLS} calls")
    return [_expected(call) for call in calls]


def agreement(calls: list[Call], expected: list[ExpectedCall], *, ordered: bool, loose: bool) -> Agreement:
    """How far calls are the expected ones, as multisets or, where `ordered`, place by place.

    Values are the same as JSON has it: `1` is `1.0`, but neither `"1"` nor `true`. `loose`: case and white space of
    texts do not count.
    """
    rights = [[_is_right(call, each, loose=loose) for each in expected] for call in calls]
    if ordered:
        num_named = sum(call.name == each.name for call, each in zip(calls, expected, strict=False))
        return Agreement(num_named, sum(rights[i][i] for i in range(min(len(calls), len(expected)))))
    names = Counter(call.name for call in calls) & Counter(each.name for each in expected)
    return Agreement(names.total(), _largest_matching(rights))


def _call(value: Any) -> Call:
    if not isinstance(value, dict) or value.keys() != {"name", "arguments"}:
        raise Malformed("a call is an object of a name and arguments, and of nothing else")
    name, arguments = value["name"], value["arguments"]
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise Malformed("a call's name is a text, its arguments are an object")
    return Call(name, arguments)


def _bounded(calls: list[Call]) -> list[Call]:
    if len(calls) > MAX_CALLS:
        raise Malformed(f"more than {MAX_CALLS} calls")
    return calls


def _structured_calls(message: Mapping[str, Any]) -> list[Call]:
    entries = message.get("tool_calls")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ValueError("response: tool_calls is no list")
    calls = []
    for entry in entries[: MAX_CALLS + 1]:
        function = entry.get("function") if isinstance(entry, dict) else None
        if not isinstance(function, dict):
            raise ValueError("response: an entry of tool_calls has no function")
        arguments = function.get("arguments")
        arguments = parse_json(arguments) if isinstance(arguments, str) else arguments
        calls.append(_call({"name": function.get("name"), "arguments": arguments}))
    return calls


def _expected(call: Any) -> ExpectedCall:
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call["function"]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise UnreadableReference("an expected call without a name")
    arguments, optional = call.get("arguments", {}), call.get("optional", [])
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments)
        except Malformed as error:
            raise UnreadableReference(f"the arguments of {call['name']!r:.100}: {error}") from error
    if not isinstance(arguments, dict) or call.keys() - {"name", "arguments", "optional"}:
        raise UnreadableReference("an expected call has a name, arguments (an object) and optional, nothing else")
    if not isinstance(optional, list) or not all(isinstance(name, str) and name in arguments for name in optional):
        raise UnreadableReference("optional is a list of names of arguments")
    accepted = {name: _accepted(value) for name, value in arguments.items()}
    return ExpectedCall(call["name"], accepted, frozenset(optional))


def _accepted(value: Any) -> list[Any]:
    if not isinstance(value, dict) or value.keys() != {"any_of"}:
        return [value]
    if not isinstance(value["any_of"], list) or not value["any_of"]:
        raise UnreadableReference("any_of is a list of values")
    return value["any_of"]


def _is_right(call: Call, expected: ExpectedCall, *, loose: bool) -> bool:
    required = expected.arguments.keys() - expected.optional
    if call.name != expected.name or not required <= call.arguments.keys() <= expected.arguments.keys():
        return False
    return all(
        _comparable(value, loose) in [_comparable(right, loose) for right in expected.arguments[name]]
        for name, value in call.arguments.items()
    )


def _comparable(value: Any, loose: bool) -> Any:
    return canonical(_loosened(value) if loose else value)


def _loosened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _loosened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loosened(item) for item in value]
    return " ".join(clean(value).casefold().split()) if isinstance(value, str) else value


def _largest_matching(edges: list[list[bool]]) -> int:
    """The size of a maximum matching of rows with columns, by augmenting paths (Kuhn 1955)."""
    row_of: dict[int, int] = {}

    def augment(row: int, seen: set[int]) -> bool:
        for column, is_edge in enumerate(edges[row]):
            if is_edge and column not in seen:
                seen.add(column)
                if column not in row_of or augment(row_of[column], seen):
                    row_of[column] = row
                    return True
        return False

    return sum(augment(row, set()) for row in range(len(edges)))
