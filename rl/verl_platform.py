"""A CPU as a platform of verl, which has none: for tests, and to debug a run of verl's on a laptop.

It is taken only where `VERL_PLATFORM=cpu` says so. verl names its process group `cpu:gloo,DEVICE:BACKEND`, which
torch refuses with the same device twice: start a plain gloo group before verl's first worker.
"""

import torch
from verl.plugin.platform.platform_cuda import PlatformCUDA
from verl.plugin.platform.platform_manager import PlatformRegistry


@PlatformRegistry.register("cpu")
class CPUPlatform(PlatformCUDA):
    """Of `torch.cuda`, which its device module stays, only statistics are asked, and they are 0."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

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
