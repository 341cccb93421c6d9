"""What a library tells of the memory of accelerators, and what becomes of one that fails."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from parsl_context.retain.devices import DeviceMemory, device_memory, return_freed
from parsl_context.retain.instances import build


class Kind:
    """Stands for `torch.cuda`: two devices of 100 bytes."""

    def __init__(self, is_used: bool = True) -> None:
        self.allocated = [0, 0]
        self.emptied = 0
        self._is_used = is_used

    def is_initialized(self) -> bool:
        return self._is_used

    def device_count(self) -> int:
        return len(self.allocated)

    def memory_allocated(self, device: int) -> int:
        return self.allocated[device]

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(total_memory=100)

    def empty_cache(self) -> None:
        self.emptied += 1


def use(monkeypatch: pytest.MonkeyPatch, **kinds: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(**kinds))


def test_without_the_library_and_without_a_device_in_use_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert device_memory() == DeviceMemory()
    use(monkeypatch, cuda=Kind(is_used=False))
    assert device_memory() == DeviceMemory()


@pytest.mark.parametrize("name", ["cuda", "xpu"])
def test_all_devices_that_are_seen_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind()
    kind.allocated = [30, 12]
    use(monkeypatch, **{name: kind})
    assert device_memory() == DeviceMemory(42, 200)
    return_freed()
    assert kind.emptied == 1


def test_a_library_that_fails_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cuda=object())
    assert device_memory() == DeviceMemory()
    return_freed()


def test_an_instance_knows_what_its_build_took(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind()
    kind.allocated = [10, 0]
    use(monkeypatch, cuda=kind)

    def load() -> str:
        kind.allocated = [50, 20]
        return "network"

    made = build("load()", load)
    assert (made.device_bytes, made.devices_total_bytes) == (60, 200)
