"""Messages to tokens: the one place that renders chat templates, and knows of thinking modes and their flags."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.types import Prompt, ThinkBlock

Turn = Mapping[str, Any]  # a message; an assistant's may have `reasoning_content` and `tool_calls`, its content be None

QWEN3_TEMPLATE = Path(__file__).with_name("qwen3_template.jinja")
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
FLAGS = {True: "/think", False: "/no_think"}

_FLAG = re.compile(r"(?<![\w/])/(no_)?think(?![\w/])")  # whole words: as rewards read them
_EMPTY_BLOCK = re.compile(r"^\s*<think>\s*</think>")
_PROBE = "The last words of a turn."
_ENDING_TOKENS = 32  # of a prompt: more than a tag and the blanks after it take


class Chat:
    """A model's tokenizer and chat template.

    `thinking` True or False is the template's `enable_thinking`, None its default. With a template that does not know
    that option, True asks for what a model with think tokens does by itself, and False for what one without them
    does; the other two cannot be had, and are a ValueError.
    """

    def __init__(self, model: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        if self.tokenizer.chat_template is None:
            raise ValueError(f"model: {model} has no chat template; use an instruction-tuned model or add one")
        probe = [{"role": "user", "content": "?"}]
        self._has_modes = self._tokens(probe, thinking=True) != self._tokens(probe, thinking=False)

    @property
    def think_token_ids(self) -> tuple[int, int] | None:
        """The ids of `<think>` and `</think>`; None where they are not tokens of the model."""
        ids = [self.tokenizer.encode(tag, add_special_tokens=False) for tag in (THINK_OPEN, THINK_CLOSE)]
        return (ids[0][0], ids[1][0]) if all(len(tokens) == 1 for tokens in ids) else None

    @functools.cached_property
    def end_of_turn_id(self) -> int:
        """The token with which the model ends its turn: the template's, or the tokenizer's where that has none."""
        end = end_of_turn_id(self.tokenizer)
        return self.tokenizer.eos_token_id if end is None else end

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        """The token ids up to where the response begins. ValueError for a thinking mode that the model lacks."""
        return self._tokens(prompt.messages, thinking=self._mode(prompt.thinking, f"prompt {prompt.id}"))

    def think_block(self, prompt_token_ids: Sequence[int]) -> ThinkBlock:
        """Where a rendered prompt leaves the response: inside an open think block, behind a closed one, or neither.

        Whatever else the prompt holds, also a user's literal tag: only its end says where the response begins.
        """
        ending = self.tokenizer.decode(list(prompt_token_ids[-_ENDING_TOKENS:])).rstrip()
        if ending.endswith(THINK_OPEN):
            return "open"
        return "closed" if ending.endswith(THINK_CLOSE) else "none"

    def render_conversation(
        self,
        messages: Sequence[Turn],
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        name: str = "conversation",
    ) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """The token ids of a conversation that ends with the assistant, and which of them are trained.

        Trained is the last turn, as the model generates it: thinking, answer, tool calls and the token that ends it.
        All before it is its prompt, rendered as at inference, so earlier turns are context (see `training_turns`).
        With `thinking=False` the empty block is the prompt's; else the model writes it. Raises ValueError with `name`
        where the template's rendering is not that prompt and then that turn.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError(f"{name}: the last message must be the assistant's, which is trained")
        mode = self._mode(thinking, name)
        options: dict[str, Any] = {"tools": list(tools)} if tools else {}
        prompt = self._tokens(messages[:-1], thinking=mode, **options)
        ids = self._tokens(messages, thinking=mode, generation=False, **options)
        if ids[: len(prompt)] != prompt:
            raise ValueError(
                f"{name}: the template does not go on from the prompt of its last turn; is a turn with thinking "
                "trained with thinking=False, or are there two assistant turns in a row?"
            )
        end = self.end_of_turn_id
        ends = [at for at in range(len(prompt), len(ids)) if ids[at] == end]
        if len(ends) != 1 or self.tokenizer.decode(ids[ends[0] + 1 :]).strip():
            mark = self.tokenizer.convert_ids_to_tokens(end)
            raise ValueError(f"{name}: {mark} must be once in the last turn, at its end")
        self._check_faithful(messages[-1], self.tokenizer.decode(ids[len(prompt) : ends[0]]), mode, name)
        return ids, tuple(len(prompt) <= at <= ends[0] for at in range(len(ids)))

    def render_whole(self, messages: Sequence[Turn]) -> tuple[int, ...]:
        """All token ids of a conversation as the template renders it: what a reward model is asked about."""
        return self._tokens(messages, thinking=None, generation=False)

    def _check_faithful(self, turn: Turn, rendered: str, thinking: bool | None, name: str) -> None:
        """Templates drop what is before a last `</think>`, and close no open block: such a turn teaches what is not."""
        content, reasoning = turn.get("content") or "", turn.get("reasoning_content")
        empty = "" if thinking is False else THINK_OPEN + THINK_CLOSE
        expected = [THINK_OPEN + reasoning + THINK_CLOSE + content] if reasoning else [content, empty + content]
        if thinking is False:
            expected.append(_EMPTY_BLOCK.sub("", content))  # there the prompt holds it
        elif not reasoning and THINK_OPEN in content and THINK_CLOSE not in content:
            expected = [content]  # cut off while it thought: an empty block before it would be a lie
        found = _squeeze(rendered)
        if not any(
            found.startswith(_squeeze(text)) if turn.get("tool_calls") else found == _squeeze(text) for text in expected
        ):
            raise ValueError(
                f"{name}: the template renders the last turn as {rendered[:80]!r}, which is not what it holds; its "
                "thinking must be one closed block before the answer, and the answer without think tags"
            )

    def _mode(self, thinking: bool | None, name: str) -> bool | None:
        """What the template is told. Raises ValueError for a mode that nothing would bring about."""
        if thinking is None or self._has_modes:
            return thinking
        if thinking is not (self.think_token_ids is not None):
            raise ValueError(
                f"{name}: thinking={thinking}, but the model's chat template does not know enable_thinking and the "
                f"model {'thinks by default' if self.think_token_ids else 'has no think tokens'}; leave thinking out"
            )
        return None

    def _tokens(
        self, messages: Sequence[Turn], *, thinking: bool | None, generation: bool = True, **options: Any
    ) -> tuple[int, ...]:
        if thinking is not None:
            options["enable_thinking"] = thinking
        turns = [{**message, "content": message.get("content") or ""} for message in messages]
        ids = self.tokenizer.apply_chat_template(turns, add_generation_prompt=generation, return_dict=False, **options)
        return tuple(ids)


def end_of_turn_id(tokenizer: Any) -> int | None:
    """The token that a chat template puts after a turn's content; None without a template, or where it puts none.

    It need not be the tokenizer's end of a text: base models of Qwen end texts with `<|endoftext|>`, and turns, by
    their template, with `<|im_end|>`.
    """
    if tokenizer.chat_template is None:
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    _, mark, after = text.rpartition(_PROBE)
    assert mark, f"the template keeps the words of a turn, got {text!r:.200}"
    marks = {token for name, token in tokenizer.get_added_vocab().items() if not name.isspace()}
    return next((token for token in tokenizer.encode(after, add_special_tokens=False) if token in marks), None)


def training_turns(messages: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """A conversation as one sequence for each assistant turn, which is its last message.

    Qwen3's template drops the thinking of history, so a turn is rendered as the model generated it only while it is
    the last one: a conversation that is trained in one piece would train on turns that no model writes.
    """
    return (messages[: at + 1] for at, message in enumerate(messages) if message["role"] == "assistant")


def last_flag(messages: Sequence[Turn]) -> bool | None:
    """The mode that the last `/think` or `/no_think` of users and system asks for (2505.09388, section 4.3)."""
    found = [match for message in messages if _may_ask(message) for match in _FLAG.finditer(message["content"])]
    return found[-1][1] is None if found else None


def with_flag(messages: Sequence[Turn], thinking: bool) -> tuple[Turn, ...]:
    """The messages with the mode's flag after the last query; unchanged where they ask for that mode already."""
    if last_flag(messages) is thinking:
        return tuple(messages)
    queries = [at for at, message in enumerate(messages) if message["role"] == "user" and _may_ask(message)]
    if not queries:
        raise ValueError("a thinking flag goes into a user's message, and there is none")
    at = queries[-1]
    flagged = {**messages[at], "content": f"{messages[at]['content']} {FLAGS[thinking]}"}
    answer = (*messages[:at], flagged, *messages[at + 1 :])
    if last_flag(answer) is not thinking:
        raise ValueError("a system message after the last query asks for the other mode")
    return answer


def _may_ask(message: Turn) -> bool:
    """A user's or the system's word; a tool's answer in a user turn is none, as in Qwen3's template."""
    text = message.get("content") or ""
    is_answer = text.startswith("<tool_response>") and text.endswith("</tool_response>")
    return message["role"] in ("user", "system") and bool(text) and not is_answer


def _squeeze(text: str) -> str:
    return "".join(text.split())
