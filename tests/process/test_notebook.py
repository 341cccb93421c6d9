"""A notebook: cells that are interrupted, and what is defined anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.conftest import run_cells

pytestmark = [pytest.mark.process, pytest.mark.library("ipykernel", "jupyter_client")]

START = """
import os, parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app

os.chdir({run_dir!r})  # inherited by all that the run starts
executor = ContextExecutor(max_workers_per_node=2, provider=LocalProvider(max_blocks=1))
config = parsl.Config(executors=[executor], run_dir={run_dir!r}, usage_tracking=0, initialize_logging=False)
kernel = parsl.load(config)
"""
APP = """
@context
def model():
    return {value}

@context_app(context=model)
def add(model, x, run_s=0.1):
    import time
    time.sleep(run_s)
    return model + x

add(1).result()
"""
MAPS = {
    "a loop": "found = []\nfor each in add.map(range(5000), [0.3] * 5000, chunksize=1): found.append(each)",
    "a list": "list(add.map(range(5000), chunksize=5))",
}
SOON_S = 3.0  # the tasks that were sent by then take ten seconds and more


@pytest.mark.parametrize("code", MAPS.values(), ids=MAPS)
def test_after_a_map_that_was_interrupted_cells_go_on(run_dir: Path, code: str) -> None:
    cells = {
        START.format(run_dir=str(run_dir)): ("", None),
        APP.format(value=10): ("11", None),
        code: ("KeyboardInterrupt", 1.0),
        "add(2).result()": ("12", None),
        APP.format(value=20): ("21", None),
        "add(3).result()": ("23", None),
        "kernel.cleanup()": ("", None),
    }
    found = run_cells([(cell, interrupt_after_s) for cell, (_, interrupt_after_s) in cells.items()])
    assert [shown for shown, _ in found] == [shown for shown, _ in cells.values()]
    assert sum(run_s for _, run_s in found[3:6]) < SOON_S
