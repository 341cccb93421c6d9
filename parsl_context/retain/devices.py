"""What instances take of the memory of accelerators, where a library tells it: PyTorch does, for its own.

Memory that other libraries take of a device is not seen. Asking opens no device: only one that is in use is asked for.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_KINDS = ("cuda", "xpu")  # AMD's devices go by the first


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of the devices that this process sees. [bytes]"""

    used: int = 0  # by tensors of this process
    total: int = 0  # 0: no device is in use


def device_memory() -> DeviceMemory:
    """What is taken now."""
    used = total = 0
    with contextlib.suppress(Exception):  # of a library that is the user's, in any release
        for kind in _in_use():
            devices = range(kind.device_count())
            used += sum(int(kind.memory_allocated(device)) for device in devices)
            total += sum(int(kind.get_device_properties(device).total_memory) for device in devices)
    return DeviceMemory(used, total)


def return_freed() -> None:
    """Have the library give back what it keeps of memory that was freed: other workers may share the device."""
    with contextlib.suppress(Exception):
        for kind in _in_use():
            kind.empty_cache()


def _in_use() -> Iterator[Any]:
    torch = sys.modules.get("torch")
    for name in _KINDS:
        kind = getattr(torch, name, None)
        if kind is not None and kind.is_initialized():
            yield kind
