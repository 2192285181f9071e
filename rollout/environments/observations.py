"""What stands between two turns of the policy, in tokens, and the policy's own tokens are left as they are."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CUT_MARK = "\n[cut off here]"
CHARS_PER_TOKEN = 32  # beyond it a text is cut before it is tokenised
_QUESTION = "A question."
_TURN = "The last words of a turn."
_PROBE = "The words of a tool."


@dataclass(frozen=True, slots=True)
class Observation:
    """The text between two turns and its tokens, from the end of one turn's content to where the next one begins."""

    text: str
    token_ids: tuple[int, ...]


class ObservationRenderer:
    """The chat template's own words between two turns.

    They are found by rendering a short conversation of ours whose first turn ends in known words: what follows those
    does not depend on the real turns, and templates that rewrite history (Qwen3's drops thinking) cannot touch them.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def check(self) -> None:
        """Raise ValueError for a model whose template has no place for what a tool says."""
        text = self._suffix([{"role": "tool", "content": _PROBE}], thinking=None)
        if _PROBE not in text:
            raise ValueError("model: its chat template leaves out tool turns; an environment needs one that has them")

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, thinking: bool | None, last_token: int | None
    ) -> Observation:
        """What comes between a turn that ended with `last_token` and the next turn.

        The template closes the turn; the closing token is left out where the policy has sampled it itself.
        """
        text = self._suffix(messages, thinking)
        ids = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        return Observation(text, ids[1:] if ids[:1] == (last_token,) else ids)

    def _suffix(self, messages: Sequence[Mapping[str, Any]], thinking: bool | None) -> str:
        from jinja2 import TemplateError

        options = {} if thinking is None else {"enable_thinking": thinking}
        shown = [
            {name: message[name] for name in ("role", "content", "name") if name in message} for message in messages
        ]
        conversation = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _TURN}, *shown]
        try:
            text = self.tokenizer.apply_chat_template(
                conversation, add_generation_prompt=True, tokenize=False, **options
            )
        except TemplateError as error:
            raise ValueError(f"model: its chat template cannot render tool turns ({error})") from error
        before, mark, after = text.partition(_TURN)
        assert mark, f"the template keeps the words of a turn, got {before!r:.200}"
        return after

    def shorten(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> list[dict[str, Any]]:
        """The messages as the policy is shown them: no marks of the template's, and at most so many tokens in all.

        A text that has to be cut ends with a mark of ours.
        """
        shortened = []
        for message in messages:
            text = self._unmarked(message["content"][: CHARS_PER_TOKEN * max_tokens])
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            if len(ids) > max_tokens or len(message["content"]) > CHARS_PER_TOKEN * max_tokens:
                kept = ids[:max_tokens]
                text = self.tokenizer.decode(kept, clean_up_tokenization_spaces=False).rstrip("\ufffd") + CUT_MARK
            max_tokens -= min(len(ids), max_tokens)
            shortened.append({**message, "content": text})
        return shortened

    def _unmarked(self, text: str) -> str:
        """A blank inside whatever the tokenizer would read as a token of the template's: a tool may echo anything."""
        text = text.encode("utf-8", "replace").decode()
        return self._marks.sub(lambda found: f"{found.group()[0]} {found.group()[1:]}", text)

    @functools.cached_property
    def _marks(self) -> re.Pattern[str]:
        marks = [mark for mark in self.tokenizer.get_added_vocab() if len(mark) > 1 and not mark.isspace()]
        return re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))) or r"(?!)")
