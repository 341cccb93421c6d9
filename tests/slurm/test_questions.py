"""How often Slurm is asked: its controller serves everybody, and centres bar those who ask it all the time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import parsl
import pytest

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for
from tests.slurm.cluster import Cluster

Load = Callable[..., ContextExecutor]
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "sinfo", "scontrol")
WRAPPER = """#!/bin/bash
echo "$(date +%s.%N) {name} $*" >> {log}
exec {program} "$@"
"""


@context
def nothing() -> None: ...


@context_app(context=nothing())
def nap(_: None, seconds: float) -> str:
    time.sleep(seconds)
    return os.environ["SLURM_JOB_ID"]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Tells how a command of Slurm's was called by the script: its arguments each time."""
    log, folder = tmp_path / "asked", tmp_path / "wrappers"
    folder.mkdir()
    for name in COMMANDS:
        program = shutil.which(name)
        assert program is not None
        (folder / name).write_text(WRAPPER.format(name=name, log=log, program=program))
        (folder / name).chmod(0o755)
    log.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def calls(name: str) -> list[str]:
        words = [line.split(" ", 2)[1:] for line in log.read_text().splitlines()]
        return [arguments for called, arguments in words if called == name]

    return calls


def test_one_question_an_interval_is_for_all_blocks(
    asked: Callable[[str], list[str]], load: Load, slurm: Cluster
) -> None:
    """Parsl's interval is a minute; here it is three seconds. Calls come when all blocks are there: one that is not is
    given up at once, as Parsl has it, when there are fewer calls than slots.
    """
    before = time.monotonic()
    executor = load(
        provider={"init_blocks": 4, "max_blocks": 4},
        config={"strategy": "htex_auto_scale", "strategy_period": 0.2, "max_idletime": 60},
        max_workers_per_node=1,
        every_s=3.0,
    )
    wait_for(lambda: len(executor.connected_managers()) == 4)
    futures = [nap(0.5) for _ in range(40)]
    wait_for(lambda: time.monotonic() - before > 9)
    reasons = [each for each in asked("squeue") if "%r" in each]  # why blocks wait, asked ever more seldom
    assert len(reasons) <= 2
    assert len(asked("squeue")) - len(reasons) <= (time.monotonic() - before) / 3
    jobs = {future.result(timeout=30) for future in futures}
    assert len(jobs) == 4
    looks = [set(each.partition("--job ")[2].split(",")) for each in asked("squeue") if "%r" not in each]
    assert looks[-1] == jobs
    assert all(each <= jobs for each in looks)  # a first one may come before all are submitted
    time.sleep(1.0)  # blocks are idle, but not for so long that they are given back
    assert asked("scancel") == []
    parsl.dfk().cleanup()
    assert len(asked("sbatch")) == 4
    assert len(asked("sacct")) == 1, "whether there is accounting"
    assert len(asked("scancel")) == 1
    assert asked("sinfo") == asked("scontrol") == []
