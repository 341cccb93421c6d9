"""A manager ends when what has launched it does, as on nodes of a PBS job that no signal reaches."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from parsl.launchers.base import Launcher
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


class FarLauncher(Launcher):  # type: ignore[misc]
    """Runs its command as the proxy of an mpiexec does on another node: in a session of its own, below two shells."""

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
        return f"setsid bash -c 'bash -c \"trap : TERM; {command}; true\"; true' & wait"


@context
def nothing(log: str) -> Any:
    yield None
    Path(log).touch()


@pytest.mark.parametrize("above", [0, 1], ids=["its shell", "the proxy"])
def test_calls_that_run_end_and_others_go_elsewhere_when_a_launcher_is_gone(
    load: Load, run_dir: Path, above: int
) -> None:
    provider = LocalProvider(init_blocks=2, max_blocks=2, launcher=FarLauncher())
    executor = load(max_workers_per_node=1, provider=provider)
    begun, cleaned = run_dir / "begun", run_dir / "cleaned"

    @context_app(context=nothing(str(cleaned)))
    def app(_: None, seconds: float) -> int:
        import os
        import time

        begun.touch()
        time.sleep(seconds)
        return os.getppid()

    wait_for(lambda: len(executor.connected_managers()) == 2)
    wait_for(lambda: len({future.result(timeout=20) for future in [app(0.2) for _ in range(2)]}) == 2)
    begun.unlink()
    running = [app(2.0) for _ in range(2)]
    waiting = [app(0.1) for _ in range(10)]
    wait_for(begun.exists)
    rows = {psutil.Process(pid): psutil.Process(pid).parents()[above] for pid in managers(run_dir)}
    manager, launcher = next(iter(rows.items()))
    before = time.monotonic()
    launcher.kill()
    assert len({future.result(timeout=20) for future in running}) == 2
    assert manager.pid not in {future.result(timeout=20) for future in waiting}
    manager.wait(timeout=10)
    assert time.monotonic() - before < 5
    assert cleaned.exists()
    assert len(executor.connected_managers()) == 1


SCRIPT = """
import os, sys, time
import parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context_app

@context_app(context=lambda: 0)
def app(state):
    import os
    return os.getppid()

executor = ContextExecutor(max_workers_per_node=1, provider=LocalProvider())
with parsl.load(parsl.Config(executors=[executor], run_dir=sys.argv[1], usage_tracking=0)):
    app().result()
    before = [row["manager"] for row in executor.connected_managers()]
    above = os.getppid()
    while os.getppid() == above:
        time.sleep(0.05)
    time.sleep(1.0)
    app().result()
    rows = executor.connected_managers()
    same = [row["manager"] for row in rows] == before and all(row["active"] for row in rows)
    open(sys.argv[2], "w").write("the same" if same else "another")
"""


# Adopts what the script leaves behind, as `systemd --user` does, and ends before it.
ADOPTS = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
subprocess.Popen([sys.executable, *sys.argv[1:]], start_new_session=True)
sys.stdin.read()
"""


def test_a_script_goes_on_when_its_user_logs_out(run_dir: Path) -> None:
    script, found = run_dir / "script.py", run_dir / "found"
    script.write_text(SCRIPT)
    command = [sys.executable, "-c", ADOPTS, str(script), str(run_dir / "runinfo"), str(found)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as above:
        wait_for(lambda: list(run_dir.glob("runinfo/**/manager.log")))
        assert above.stdin is not None
        wait_for(
            lambda: "parsl:context-manager" in {process.name() for process in family(run_dir)} or managers(run_dir)
        )
        time.sleep(1.0)
        above.stdin.close()
    wait_for(lambda: found.exists() and found.read_text(), timeout_s=60)
    assert found.read_text() == "the same"


def managers(run_dir: Path) -> list[int]:
    return [process.pid for process in family(run_dir) if process.cmdline()[0] == "parsl:context-manager"]
