"""`map(progress=True)` tells of builds: on a terminal, in a notebook without widgets, and not at all in a file."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import run_cells

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]
BUILD_S = 2.5
START = f"""
import os, time, parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app

@context
def slow():
    time.sleep({BUILD_S})
    return 1

@context_app(context=slow())
def add(one, x):
    time.sleep(0.05)
    return one + x

os.chdir({{run_dir!r}})  # inherited by all that the run starts
executor = ContextExecutor(max_workers_per_node=2, cores_per_worker=0.1, provider=LocalProvider(init_blocks=1, max_blocks=1))
kernel = parsl.load(parsl.Config(executors=[executor], run_dir={{run_dir!r}}, usage_tracking=0, initialize_logging=False))
"""  # noqa: E501
FIRST = "print(sum(add.map(range(40), progress=True)))"
AGAIN = "executor.evict(slow)"
END = "kernel.cleanup()"


def script(run_dir: Path) -> str:
    path = run_dir / "script.py"
    path.write_text("\n".join([START.format(run_dir=str(run_dir)), FIRST, AGAIN, FIRST, END]))
    return str(path)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}


def check(shown: str) -> None:
    """Both maps were done, and both builds were told, the second with what the first had taken."""
    assert shown.count("820") == 2
    assert re.search(r"building slow on \d workers?, for \d s", shown), shown
    assert re.search(r"building slow on \d workers?, \d of about [23] s", shown), shown


def test_on_a_terminal(run_dir: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, script(run_dir)], stdout=theirs, stderr=theirs, env=environment())
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # nobody holds the other end any more
        pass
    finally:
        os.close(ours)
        assert process.wait(timeout=30) == 0, shown.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    check(text)
    assert "100%" in text


def test_in_a_file_nothing_is_shown(run_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, script(run_dir)], capture_output=True, text=True, env=environment(), timeout=50, check=True
    )
    assert done.stdout.split() == ["820", "820"]
    assert done.stderr == ""


def test_in_a_notebook_without_widgets(run_dir: Path) -> None:
    cells = [START.format(run_dir=str(run_dir)), FIRST, AGAIN, FIRST, END]
    shown = [text for text, _ in run_cells([(cell, None) for cell in cells])]
    check(shown[1] + shown[3])
    assert re.search(r"add: 40 of 40 \(100%\), \d s\n", shown[3]), shown[3]
    assert "ipywidgets" not in "".join(shown)
