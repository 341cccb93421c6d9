"""The harness measures real systems, notes what did not work, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import carrying

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def test_systems_are_measured_in_processes_of_their_own(run_dir: Path) -> None:
    systems = ["ours-submit", "there-dfk-quiet", "process-pool"]
    chosen = ["--case", "noop", *(f"--system={name}" for name in systems), "--quick", "--output", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *chosen],
        cwd=run_dir,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in (run_dir / "out" / "runs.jsonl").read_text().splitlines()]
    assert [record["system"] for record in records] == systems
    for record in records:
        assert len(record["metrics"]["calls_per_s"]) == 2
        assert all(rate > 10 for rate in record["metrics"]["calls_per_s"])
        assert record["left_behind"] == 0
    assert (run_dir / "out" / "noop.png").stat().st_size > 1000
    assert "not measured" in (run_dir / "out" / "summary.txt").read_text()


def test_first_and_warm_calls_of_projects_are_measured(tmp_path: Path) -> None:
    for project in (*carrying.PROJECTS, "warm"):
        folder = tmp_path / project.replace(" ", "-")
        folder.mkdir()
        if project == "warm":
            carrying.write_warm(folder, 2, 2)
        else:
            carrying.write_project(folder, project)
        figures = carrying.run(folder)
        assert figures.keys() == ({"submit_us"} if project == "warm" else {"first_s", "submit_s"})
        assert all(figure > 0 for figure in figures.values())
