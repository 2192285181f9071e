"""What only a GPU can show: run where there is one with `pytest -m gpu`. Bounds are ratios and agreements, no times."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import measure, parse

SCRIPT = Path(__file__).parents[1] / "benchmarks/gpu.py"


def needs_gpu(test):
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")(test))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_says_so():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: benchmarks/gpu.py needs a GPU, and torch sees none"
    assert done.stdout == ""


@needs_gpu
def test_chunks_take_a_part_of_the_memory_and_give_the_same():
    found = measure("log_probs", parse(["--repeats", "2"]))
    assert found["largest_difference_nats"] < 0.1  # bfloat16 logits on both sides, summed in another order
    assert found["chunked_gib"] < 0.4 * found["whole_gib"]


@needs_gpu
def test_the_mask_of_packed_rows_is_flash_attention_of_each_sequence():
    assert measure("attention", parse(["--repeats", "2", "--tokens", "2048"]))["largest_difference"] < 0.05


@needs_gpu
def test_engine_and_learner_agree_in_bfloat16():
    found = measure("step", parse(["--repeats", "2"]))
    assert 0 <= found["mismatch_kl"] < 1e-2
    assert found["sync_bytes"] > 0
