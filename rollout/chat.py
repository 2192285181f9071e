"""Messages to tokens: the one place that renders chat templates."""

from collections.abc import Mapping, Sequence
from typing import Any

from rollout.types import Prompt


class Chat:
    """A model's tokenizer and chat template."""

    def __init__(self, model: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        if self.tokenizer.chat_template is None:
            raise ValueError(f"model: {model} has no chat template; use an instruction-tuned model or add one")

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        """The token ids up to where the response begins."""
        options = {} if prompt.thinking is None else {"enable_thinking": prompt.thinking}
        messages = [dict(message) for message in prompt.messages]
        ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **options)
        return tuple(ids)

    def render_conversation(
        self, messages: Sequence[Mapping[str, Any]], *, thinking: bool | None = None
    ) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """All token ids of a conversation, and which of them are the model's: its last turn up to its stop token."""
        options = {} if thinking is None else {"enable_thinking": thinking}
        plain = [dict(message) for message in messages]
        ids = self.tokenizer.apply_chat_template(plain, return_dict=False, **options)
        head = self.tokenizer.apply_chat_template(plain[:-1], add_generation_prompt=True, return_dict=False, **options)
        assert ids[: len(head)] == head, "the prompt is a prefix of the conversation"
        stop = self.tokenizer.eos_token_id
        end = len(ids) - ids[::-1].index(stop)
        return tuple(ids[:end]), tuple(i >= len(head) for i in range(end))

    def render_whole(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """All token ids of a conversation as the template renders it: what a reward model is asked about."""
        return tuple(self.tokenizer.apply_chat_template([dict(m) for m in messages], return_dict=False))
