"""The platform "cpu" for veRL: `VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=training.onverl.cpu_platform`.

veRL knows accelerators only; this answers its questions for a machine that has none, so that the real trainer runs in
tests. Imported while veRL itself is being imported: it needs nothing of it but the base class.
"""

import types
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

__all__ = ["CpuPlatform"]

MEMORY = (8 << 30, 16 << 30)
"""Free and all, in bytes: veRL prints it."""


class CpuDevice(types.ModuleType):
    """`torch.cpu`, and zero for what only accelerators count."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "get_device_name":
            return lambda *_: "cpu"
        if name == "mem_get_info":
            return lambda *_: MEMORY
        return getattr(torch.cpu, name) if hasattr(torch.cpu, name) else lambda *_, **__: 0


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):  # type: ignore[misc]
    """One device, which is the processor."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = CpuDevice("cpu_device")

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never found by itself: it must be asked for by name."""
        return False

    def current_device(self) -> Any:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        """There is one."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Nothing runs beside."""

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """There are none."""

    def empty_cache(self) -> None:
        """There is none."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CPU_VISIBLE_DEVICES"

    def nvtx_range(self, msg: str) -> AbstractContextManager[None]:
        return nullcontext()

    def profiler_start(self) -> None:
        """There is none."""

    def profiler_stop(self) -> None:
        """There is none."""

    def ray_resource_name(self) -> str:
        """veRL's resource pools count nothing else; Ray is told of one that is not there."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> Any:
        return None
