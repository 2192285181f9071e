"""What this machine can run, what is missing, and what a config needs."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from rl.architecture import find_architecture
from rl.config import GRPOConfig, HardwareConfig, RecipeConfig, SFTConfig
from rl.config_file import parse_config
from rl.launch import versions
from rl.memory_plan import (
    GIB,
    at_once,
    loading_gib,
    num_full_sequences,
    num_gpus,
    offloaded_gib,
    plan_memory,
    planned_engines,
    shortfalls,
)
from rl.pipeline_config import PipelineConfig, fill_references
from rollout.engine import EngineConfig

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
    """The batch in words, and the memory of learner and engines; of a pipeline, for each stage."""
    if isinstance(config, PipelineConfig):
        for name in config.stages:
            yield from (replace(found, name=f"{name}: {found.name}") for found in _examine_stage(config, name))
        return
    yield Finding("batch", config.in_words())
    try:
        needs = plan_memory(config, on_gpu=config.hardware is not None)
    except ValueError as error:
        yield Finding("memory plan", "unknown", str(error))
        return
    for need in needs:
        yield Finding(need.name, f"{need.num_processes} x {need.gpus_each}: {need.in_words()}")
    for name, (engine, model) in planned_engines(config).items():
        yield _sequences(name.replace("engine", "cache", 1), engine, model, config.hardware)
    if config.hardware is not None:
        problem = "; ".join(shortfalls(config, needs))
        yield Finding("together", f"{num_gpus(needs)} of {config.hardware.gpus} GPUs", problem)
        if isinstance(config, GRPOConfig | SFTConfig):
            kept = f", {gib:.0f} GiB of offloaded state after" if (gib := offloaded_gib(config)) else ""
            yield Finding("host memory", f"{loading_gib(config):.0f} GiB while the learner loads{kept}")
    elif needs:
        total = at_once(needs, lambda need: need.gib * need.num_processes)
        free = psutil.virtual_memory().available / GIB
        few = f"only {free:.1f} GiB are free: more ranks with zero_stage 3, a smaller model or cache"
        yield Finding("together", f"{total:.1f} GiB on one machine without GPUs", few if total > free else "")


def _examine_stage(config: PipelineConfig, name: str) -> Iterator[Finding]:
    """A model that an earlier stage makes has the shape of the one that this stage started from."""

    def stand_in(target: str, output: str) -> str:
        reference = f"${{stages.{target}.{output}}}"
        return str(config.model_origin(reference)) if output == "model" else f"stages/{target}/{output}"

    yield from examine_config(parse_config(fill_references(config.stages[name].config, stand_in), f"stages.{name}"))


def _sequences(name: str, engine: EngineConfig, model: str, hardware: HardwareConfig | None) -> Finding:
    count = num_full_sequences(engine, find_architecture(model), hardware.gpu_gib if hardware else None)
    text = f"{count} of max_num_sequences {engine.max_num_sequences} at once at {engine.max_context_tokens} tokens each"
    return Finding(name, text)
