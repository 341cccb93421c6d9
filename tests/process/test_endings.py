"""A block that has too little time left for anything that waits ends at once, and another takes its place."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
WALLTIME_S = 14


@context_app(context=lambda: 0)
def app(_: int, seconds: float) -> tuple[int, float]:
    import os

    time.sleep(seconds)
    return os.getppid(), time.time()


def test_calls_go_on_in_the_next_block_before_the_walltime(load: Load, run_dir: Path) -> None:
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    provider.walltime = f"00:00:{WALLTIME_S}"  # as a provider of a batch system has it; here nobody enforces it
    load(max_workers_per_node=1, provider=provider, config={"strategy": "simple", "strategy_period": 0.2})
    app(0.1).result(timeout=30)
    began = time.time()
    calls = [app(4.0) for _ in range(4)]
    found = [future.result(timeout=60) for future in calls]
    managers = [manager for manager, _ in found]
    first = managers.count(managers[0])
    assert 1 <= first < 4
    assert found[first - 1][1] - began < WALLTIME_S, "nobody here would have ended the block then"
    (log,) = run_dir.glob("**/interchange.log")
    assert "no call that waits could end in the" in log.read_text()
