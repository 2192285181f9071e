"""Environments made of tools: functions that the policy may call, and how it is told of them."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rollout.environments.registry import Step
from rollout.environments.tool_calls import ToolCall, ToolError, read_calls

MAX_CALLS_PER_TURN = 8
NO_CALL = "No call of a tool was found. Call one, in the form that you were told."


class ToolEnvironment:
    """Answers each call of a turn with what its tool answers, or with the mistake that the policy made.

    A tool is a function of the call's arguments that returns a text, and raises ToolError for what the policy did
    wrong; any other exception is a failure of ours. `state` is a snapshot after each call, as JSON, for the reward.
    An answer that is no mistake names its `tool`, for the metrics.
    A turn without a call is the final answer and ends the episode; with `is_done` that alone does.
    """

    def __init__(
        self,
        tools: Mapping[str, Callable[..., str]],
        *,
        state: Callable[[], Any] | None = None,
        is_done: Callable[[], bool] | None = None,
    ) -> None:
        self.tools, self.state, self.is_done = tools, state, is_done

    def step(self, text: str) -> Step:
        calls = read_calls(text, MAX_CALLS_PER_TURN)
        if not calls:
            return Step(is_done=True) if self.is_done is None else Step(messages=[self._message(NO_CALL, error=True)])
        messages = []
        for call in calls:
            messages.append(self._answer(call))
            if self.is_done is not None and self.is_done():
                return Step(messages=messages, is_done=True)
        return Step(messages=messages)

    def _answer(self, call: ToolCall | ToolError) -> dict[str, Any]:
        try:
            if isinstance(call, ToolError):
                raise call
            return {**self._message(self._call(call)), "tool": call.name}
        except ToolError as error:
            return self._message(f"error: {error}", error=True)

    def _call(self, call: ToolCall) -> str:
        if call.name not in self.tools:
            raise ToolError(f"no tool {call.name!r}; there are {', '.join(self.tools)}")
        tool = self.tools[call.name]
        try:
            bound = inspect.signature(tool).bind(**call.arguments)
        except TypeError as error:
            raise ToolError(f"{call.name}: {error}") from error
        return tool(*bound.args, **bound.kwargs)

    def _message(self, content: str, *, error: bool = False) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "tool", "content": content}
        if self.state is not None:
            message["state"] = self.state()
        return message | ({"error": True} if error else {})


def describe_tools(schemas: Sequence[Mapping[str, Any]], system: str = "") -> str:
    """The system message that tells a model of its tools, word for word as Qwen3's template writes it.

    `schemas` are OpenAI's: `{"type": "function", "function": {"name", "description", "parameters"}}`. Written into the
    messages it also serves models whose template knows no tools.
    """
    lines = "\n".join(json.dumps(schema, ensure_ascii=False) for schema in schemas)
    return (
        f"{system}{system and chr(10) * 2}# Tools\n\nYou may call one or more functions to assist with the user query."
        "\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        f"{lines}\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
        "</tool_call>"
    )


def tool_schema(name: str, description: str, **parameters: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's schema of a tool all of whose parameters must be given."""
    wanted = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": wanted}}
