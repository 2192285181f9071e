"""The shape of a decoder-only transformer, from its published config: parameters and bytes without loading weights."""

import re
from dataclasses import dataclass
from typing import Any, Self

from rl.models import resolve_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes of a model with gated feed-forward layers and grouped-query attention; `num_experts` 0 is a dense one.

    `intermediate` is the width of a feed-forward layer, of each expert where there are experts.
    """

    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    num_experts: int = 0
    experts_per_token: int = 0
    qk_norm: bool = True
    qkv_bias: bool = False

    @property
    def num_parameters(self) -> int:
        """Tied embeddings once."""
        return self._count(max(1, self.num_experts))

    @property
    def num_active_parameters(self) -> int:
        """Those that one token goes through."""
        return self._count(max(1, self.experts_per_token))

    def _count(self, experts: int) -> int:
        attention = 2 * self.hidden * (self.num_heads + self.num_kv_heads) * self.head_dim
        attention += self.qkv_bias * (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        norms = 2 * self.hidden + 2 * self.head_dim * self.qk_norm
        feed_forward = experts * 3 * self.hidden * self.intermediate + self.num_experts * self.hidden
        embeddings = (1 if self.tied else 2) * self.vocab * self.hidden
        return self.num_layers * (attention + norms + feed_forward) + embeddings + self.hidden

    def kv_bytes_per_token(self, size: int) -> int:
        """Keys and values of one token in all layers, `size` bytes a number."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * size

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """From a config of transformers. Raises ValueError for one that is of no such kind."""
        try:
            return cls(
                hidden=config.hidden_size,
                num_layers=config.num_hidden_layers,
                num_heads=config.num_attention_heads,
                num_kv_heads=config.num_key_value_heads,
                head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
                intermediate=getattr(config, "moe_intermediate_size", None) or config.intermediate_size,
                vocab=config.vocab_size,
                tied=config.tie_word_embeddings,
                num_experts=getattr(config, "num_experts", None) or 0,
                experts_per_token=getattr(config, "num_experts_per_tok", None) or 0,
                qk_norm=config.model_type.startswith("qwen3"),
                qkv_bias=config.model_type.startswith("qwen2"),
            )
        except AttributeError as error:
            raise ValueError(f"model: no memory plan for a {type(config).__name__}: {error}") from error


def _qwen(hidden: int, layers: int, heads: int, intermediate: int, *, tied: bool, **more: Any) -> Architecture:
    return Architecture(
        hidden=hidden,
        num_layers=layers,
        num_heads=heads,
        intermediate=intermediate,
        tied=tied,
        **{"num_kv_heads": 8, "head_dim": 128, "vocab": 151_936} | more,
    )


# The config.json of each on the hub (Qwen3 report, tables 1 and 2): plans of these sizes need no network.
QWEN3 = {
    "0.6B": _qwen(1024, 28, 16, 3072, tied=True),
    "1.7B": _qwen(2048, 28, 16, 6144, tied=True),
    "4B": _qwen(2560, 36, 32, 9728, tied=True),
    "8B": _qwen(4096, 36, 32, 12288, tied=False),
    "14B": _qwen(5120, 40, 40, 17408, tied=False),
    "32B": _qwen(5120, 64, 64, 25600, tied=False),
    "30B-A3B": _qwen(2048, 48, 32, 768, tied=False, num_kv_heads=4, num_experts=128, experts_per_token=8),
}
_QWEN2: dict[str, Any] = {"tied": False, "vocab": 152_064, "qk_norm": False, "qkv_bias": True}
OTHERS = {  # that the report's curation asks
    "Qwen/QwQ-32B": _qwen(5120, 64, 40, 27648, **_QWEN2),
    "Qwen/Qwen2.5-72B-Instruct": _qwen(8192, 80, 64, 29568, **_QWEN2),
}
QWEN3_ID = re.compile(r"Qwen/Qwen3-(.+?)(-Base)?")


def find_architecture(model: str) -> Architecture:
    """The shape of a model by its name. Raises ValueError where neither a folder nor the hub knows it."""
    known = QWEN3_ID.fullmatch(model)
    if known is not None and known[1] in QWEN3:
        return QWEN3[known[1]]
    if model in OTHERS:
        return OTHERS[model]
    from transformers import AutoConfig

    try:
        return Architecture.from_config(AutoConfig.from_pretrained(resolve_model(model)))
    except OSError as error:
        raise ValueError(f"model: no config of {model}: {str(error).splitlines()[0]}") from error
