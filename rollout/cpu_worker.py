"""vLLM's worker for CPUs with a sampler that draws one random number a token.

vLLM's own draws an exponential for every entry of the vocabulary, one after the other on one core, and for seeded
requests twice: with 64 sequences of SmolLM2 that was a quarter of all generation.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p
from vllm.v1.worker.cpu_worker import CPUWorker as VLLMWorker

from rollout.memory import give_back_freed_memory, give_back_pages, keep_freed_memory

ROWS = 32  # summed at once: with a large vocabulary the sums of many rows would take gigabytes


class CPUWorker(VLLMWorker):
    """Named to vLLM as `worker_cls`."""

    def init_device(self) -> None:
        keep_freed_memory()
        super().init_device()
        sampler = self.model_runner.sampler.topk_topp_sampler
        sampler.forward = partial(sample, logprobs_mode=sampler.logprobs_mode)

    def sleep(self, level: int = 1) -> None:
        """Give the cache's memory back, which vLLM does on GPUs alone. The weights stay."""
        for storage in {cache.untyped_storage() for cache in self.model_runner.kv_caches}:
            give_back_pages(storage.data_ptr(), storage.nbytes())
        give_back_freed_memory()

    def wake_up(self, tags: list[str] | None = None) -> None:
        """Nothing is left to do: the cache's pages come back, as zeros, as they are written."""


def sample(
    logits_BV: Tensor,
    generators: dict[int, torch.Generator],
    k: Tensor | None,
    p: Tensor | None,
    *,
    logprobs_mode: str,
) -> tuple[Tensor, Tensor | None]:
    """Token ids [B] drawn from softmax(logits), and what vLLM reports log-probs from. May change the logits."""
    logits_BV = apply_top_k_top_p(logits_BV, k, p)
    logprobs_BV = logits_BV.log_softmax(-1, dtype=torch.float32)
    reported: dict[str, Any] = {"processed_logits": logits_BV, "processed_logprobs": logprobs_BV}
    uniform_B = torch.rand(len(logits_BV), dtype=torch.float64)
    for row, generator in generators.items():
        uniform_B[row] = torch.rand((), dtype=torch.float64, generator=generator)
    return invert(logprobs_BV, uniform_B), reported.get(logprobs_mode)


def invert(logprobs_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The token ids [B] at which the distribution functions pass `uniform`, from [0, 1)."""
    tokens = []
    for logprobs, uniform in zip(logprobs_BV.split(ROWS), uniform_B.split(ROWS), strict=True):
        sums = logprobs.exp().cumsum(-1, dtype=torch.float64)
        # To the right of equal sums: there the token has a probability, masked ones have none.
        tokens.append(torch.searchsorted(sums, uniform[:, None] * sums[:, -1:], right=True).squeeze(-1))
    return torch.cat(tokens).clamp_(max=logprobs_BV.shape[-1] - 1)
