"""What vLLM must be told to serve on CPU cores."""

import os
from typing import Any


def parse_cores(text: str) -> set[int]:
    """Core numbers of "0-3,6", or of "0-3|4-7" for two workers."""
    ranges = [part.partition("-") for part in text.replace("|", ",").split(",")]
    return {core for first, _, last in ranges for core in range(int(first), int(last or first) + 1)}


def prepare_cpu(cores: str | None, kv_cache_gib: int) -> None:
    """Threads and memory of this process's engine, which vLLM reads from the environment."""
    own = parse_cores(cores) if cores else os.sched_getaffinity(0)
    os.sched_setaffinity(0, own)
    os.environ["OMP_NUM_THREADS"] = str(len(own))  # Ray leaves an actor one
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(kv_cache_gib)
    if cores:
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = cores


def cpu_arguments(*, max_context_tokens: int, tensor_parallel_size: int, batch_invariant: bool) -> dict[str, Any]:
    """Arguments of vLLM's engine beside those that it has on GPUs too."""
    arguments: dict[str, Any] = {
        # A seeded request whose prefill is split crashes vLLM 0.27.1 ("CPU Generator does not use offset").
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(max_context_tokens, 8192),
        "worker_cls": "rollout.cpu_worker.CPUWorker",
        "block_size": 32,  # vLLM's 128 never shares a short prompt: only whole blocks are cached
    }
    if tensor_parallel_size == 1:
        # By its name ("uni") vLLM refuses it, since it cannot set the threads there; `prepare_cpu` has. Its other
        # executor has the core process spin on one core while the worker computes.
        arguments["distributed_executor_backend"] = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
    if batch_invariant:
        arguments |= {"max_num_seqs": 1, "enable_prefix_caching": False}
    return arguments
