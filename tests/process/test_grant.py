"""A process in a real control group, and one bound to a core, knows what it was given."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.process

SCRIPT = """
import dataclasses, json, os, sys
from parsl_context.pool.node_facts import read_grant
if len(sys.argv) > 1:
    open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
print(json.dumps(dataclasses.asdict(read_grant())))
"""
LIMIT_BYTES = 256 << 20


def given(*arguments: str, before: Any = None) -> dict[str, Any]:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=before).stdout
    return json.loads(printed)  # type: ignore[no-any-return]


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with a limit of memory, two levels below the top; skipped where none can be made."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    top, limit = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
    outer = top / f"parsl-context-{uuid.uuid4().hex}"
    inner = outer / "inner"
    with contextlib.ExitStack() as stack:
        try:
            outer.mkdir()
            stack.callback(outer.rmdir)
            (outer / limit).write_text(str(LIMIT_BYTES))
            inner.mkdir()
            stack.callback(inner.rmdir)
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        yield inner


def test_a_limit_of_an_outer_control_group_is_known(group: Path) -> None:
    found = given(str(group))
    assert (found["memory_bytes"], found["memory_by"]) == (LIMIT_BYTES, "control group")
    assert found["free_bytes"] <= LIMIT_BYTES


def test_a_process_that_is_bound_to_a_core_was_given_one() -> None:
    core = min(os.sched_getaffinity(0))
    found = given(before=lambda: os.sched_setaffinity(0, [core]))
    assert found["cores"] == 1
    assert found["cores_by"] == ("affinity" if psutil.cpu_count() > 1 else "the machine")
