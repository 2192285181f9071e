"""A CPU as a platform of verl, which has none: for tests, and to debug a run of verl's on a laptop.

It is taken only where `VERL_PLATFORM=cpu` says so. verl names its process group `cpu:gloo,DEVICE:BACKEND`, which
torch refuses with the same device twice: there, and only there, a device that is named again alike counts once.
"""

import os
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from verl.plugin.platform.platform_cuda import PlatformCUDA
from verl.plugin.platform.platform_manager import PlatformRegistry


def _nothing(*_: Any, **__: Any) -> None: ...


def _none(*_: Any, **__: Any) -> int:
    return 0


# What verl asks `torch.cuda` for, where it is about memory, devices, streams and random numbers.
DEVICE_MODULE = SimpleNamespace(
    **dict.fromkeys(("empty_cache", "ipc_collect", "set_device", "synchronize"), _nothing),
    **dict.fromkeys(("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"), _none),
    mem_get_info=lambda *_: (0, 0),
    is_available=lambda: False,
    device_count=lambda: 1,
    get_device_name=lambda *_: "cpu",
    get_rng_state=lambda *_: torch.get_rng_state(),
    set_rng_state=lambda state, *_: torch.set_rng_state(state),
)


@PlatformRegistry.register("cpu")
class CPUPlatform(PlatformCUDA):
    """One device, without memory of its own."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> Any:
        return DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # nobody who asked for no platform gets this one

    def current_device(self) -> torch.device:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def communication_backend_name(self) -> str:
        return "gloo"

    def ray_resource_name(self) -> str:
        return "CPU"

    def is_ipc_supported(self) -> bool:
        return False


_init_process_group = dist.init_process_group


def init_process_group(backend: str | None = None, *arguments: Any, **options: Any) -> None:
    """torch's own, which takes `cpu:gloo,cpu:gloo` as `cpu:gloo`."""
    once = None if backend is None else ",".join(dict.fromkeys(backend.split(",")))
    _init_process_group(once, *arguments, **options)


if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    dist.init_process_group = init_process_group
