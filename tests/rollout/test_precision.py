"""Which number format `auto` is."""

import pytest
import torch

from rollout.precision import resolve_precision


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx512_f": True}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_auto_is_what_the_cpu_computes_in(monkeypatch, found, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert resolve_precision("auto") == precision
    assert resolve_precision("float16") == "float16"
