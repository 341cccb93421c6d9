"""Memory of accelerators that contexts take, with a library that stands for PyTorch: there may be no device here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]

LIBRARY = """
from types import SimpleNamespace
class cuda:
    allocated = 0
    is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    memory_allocated = staticmethod(lambda device: cuda.allocated)
    get_device_properties = staticmethod(lambda device: SimpleNamespace(total_memory=1000))
    empty_cache = staticmethod(lambda: None)
"""


@context
def network(name: str, size: int):
    import torch

    torch.cuda.allocated += size
    yield name
    torch.cuda.allocated -= size


@context_app(context=network.by("name", "size"))
def allocated(network: str) -> int:
    import torch

    return int(torch.cuda.allocated)


def test_a_worker_gives_up_contexts_that_its_device_has_no_room_for(load: Load, run_dir: Path) -> None:
    (run_dir / "torch.py").write_text(LIBRARY)
    provider = LocalProvider(max_blocks=1, worker_init=f"export PYTHONPATH={run_dir}:$PYTHONPATH")
    load(provider=provider, max_workers_per_node=1, available_accelerators=["0"])
    assert allocated(name="a", size=300).result(timeout=30) == 300
    assert allocated(name="b", size=300).result(timeout=30) == 600
    assert allocated(name="c", size=300).result(timeout=30) <= 600, "of 1,000, contexts may take 800"
