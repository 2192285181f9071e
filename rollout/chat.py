"""Messages to tokens: the one place that renders chat templates."""

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
