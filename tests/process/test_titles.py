"""What batch systems read of our processes: whose child each is, and of which job."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import family

pytestmark = pytest.mark.process

Load = Callable[..., ContextExecutor]


@context(share="node")
def shared() -> int:
    return os.getpid()


@context_app(context=shared())
def environment(_: int) -> dict[str, str]:
    return dict(os.environ)


def test_titles_hold_no_space_and_leave_the_environment_readable(
    load: Load, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's process tracking reads /proc/PID/stat by white space; an epilog finds a job's processes by its id."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    load(max_workers_per_node=1)
    seen = environment().result(timeout=30)
    assert "SPT_NOENV" not in seen
    titles = set()
    for process in family(run_dir):
        if "context" in process.cmdline()[0]:
            titles.add(process.cmdline()[0])
            proc = Path(f"/proc/{process.pid}")
            assert (proc / "stat").read_text().split()[3] == str(process.ppid())
            assert b"SLURM_JOB_ID=4711" in (proc / "environ").read_bytes().split(b"\0")
    assert titles >= {f"parsl:context-{role}" for role in ("interchange", "manager", "zygote", "template", "worker-0")}
