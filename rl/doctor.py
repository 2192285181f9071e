"""What this machine can run, what is missing, and what a config needs."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rl.config import GRPOConfig, RecipeConfig
from rl.launch import versions
from rl.models import resolve_model
from rollout.precision import resolve_precision

GIB = 2**30
NEEDED = ("torch", "transformers", "vllm", "deepspeed", "ray", "verl", "math_verify", "pebble")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `problem` says what is missing and what to do."""

    name: str
    value: str
    problem: str = ""


def examine_machine() -> Iterator[Finding]:
    """Versions, cores, memory, shared memory, compiler, accelerator."""
    for name, version in versions().items():
        yield Finding(name, version)
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            yield Finding(module, "missing", "run `make setup`")
    yield Finding("cores", str(os.cpu_count()))
    memory = psutil.virtual_memory()
    few = "the demo needs about 8 GiB" if memory.total < 8 * GIB else ""
    yield Finding("memory", f"{memory.total / GIB:.1f} GiB, {memory.available / GIB:.1f} free", few)
    yield _shared_memory()
    compiler = shutil.which("g++")
    yield Finding("g++", compiler or "missing", "" if compiler else "DeepSpeed builds an operator with it: install g++")
    yield _accelerator()
    disk = shutil.disk_usage(".")
    yield Finding("disk", f"{disk.free / GIB:.0f} GiB free", "nearly full" if disk.free < 5 * GIB else "")


def _shared_memory() -> Finding:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Finding("shared memory", "none", "Ray and the weight transfer want /dev/shm")
    free = shutil.disk_usage(path).free
    few = "start the container with a larger --shm-size" if free < GIB else ""
    return Finding("shared memory", f"{free / GIB:.1f} GiB free", few)


def _accelerator() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("accelerator", "none: everything runs on the CPU")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Finding("accelerator", names)


def examine_config(config: RecipeConfig) -> Iterator[Finding]:
    """The batch in words, and the memory of learner and engines from the model's size."""
    yield Finding("batch", config.in_words())
    if not isinstance(config, GRPOConfig):
        return
    num_parameters = count_parameters(resolve_model(config.model))
    yield Finding("model", f"{config.model}: {num_parameters / 1e6:.0f} M parameters")
    learner, engine = learner_gib(config, num_parameters), engine_gib(config, num_parameters)
    yield Finding("learner", f"{learner:.1f} GiB a rank, {config.learner.num_ranks} ranks, before activations")
    yield Finding("engine", f"{engine:.1f} GiB each, {config.engine.num_engines} engines")
    total = learner * config.learner.num_ranks + engine * config.engine.num_engines
    free = psutil.virtual_memory().available / GIB
    lacking = (
        f"only {free:.1f} GiB are free: more ranks with zero_stage 3, a smaller model or cache" if total > free else ""
    )
    yield Finding("together", f"{total:.1f} GiB on one machine without GPUs", lacking)


def count_parameters(folder: str) -> int:
    """Parameters of a model by its config, without loading weights; tied ones once."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return sum(p.numel() for p in model.parameters())


def learner_gib(config: GRPOConfig, num_parameters: int) -> float:
    """Weights, gradients, float32 masters and AdamW's two moments of one rank, sharded as the ZeRO stage says."""
    ranks, stage = config.learner.num_ranks, config.learner.zero_stage
    precision = resolve_precision(config.learner.dtype)
    size, masters = (2, 4) if precision == "bfloat16" else (4, 0)
    weights = size / (ranks if stage == 3 else 1)
    gradients = size / (ranks if stage >= 2 else 1)
    optimizer = (masters + 8) / (ranks if stage >= 1 else 1)
    frozen = weights if config.loss.needs_frozen_logprobs else 0
    return num_parameters * (weights + gradients + optimizer + frozen) / GIB


def engine_gib(config: GRPOConfig, num_parameters: int) -> float:
    size = 4 if resolve_precision(config.engine.dtype) == "float32" else 2
    return num_parameters * size / GIB + config.engine.kv_cache_gib
