"""The table of faults is made by running them; here a few of its cells, and a fault that it must see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import STATES, TARGETS, Cell, measure

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("target", "fault", "state"),
    [
        ("script", "KILL", "running"),
        ("interchange", "KILL", "running"),
        ("manager", "KILL", "queued"),
        ("template", "KILL", "building"),
        ("worker", "STOP", "running"),
    ],
)
def test_no_fault_leaves_a_call_without_an_end_or_anything_behind(target: str, fault: str, state: str) -> None:
    cell = measure(target, fault, state, stop_s=1.0)
    assert cell.is_good(), cell
    if target != "script":
        assert sum(cell.outcomes.values()) == STATES[state].calls


@pytest.mark.parametrize("wrong", [{"twice": 1}, {"left": ["worker"]}, {"after": "hangs"}, {"outcomes": {"hangs": 1}}])
def test_what_is_wrong_is_seen(wrong: dict[str, object]) -> None:
    assert Cell("worker", "KILL", "idle").is_good()
    assert not Cell("worker", "KILL", "idle", **wrong).is_good()  # type: ignore[arg-type]


def test_the_command_says_what_there_is() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert all(name in done.stdout for name in TARGETS)
