"""The number format that engine and learner compute in."""

from typing import Literal

Precision = Literal["auto", "bfloat16", "float16", "float32"]


def resolve_precision(wanted: Precision) -> str:
    """What is wanted; for `auto` bfloat16 where this machine has instructions for it, else float32.

    A CPU without them emulates bfloat16: a backward pass was 30 times slower than in float32 (EPYC of 2021).
    """
    if wanted != "auto":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    found = torch.cpu.get_capabilities()
    return "bfloat16" if any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"
