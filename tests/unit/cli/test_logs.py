"""Logs of several processes in one order, and what is left out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from parsl_context.cli.logs import Line, Wanted, find_run, logs, merged
from parsl_context.errors import EventLogError

STAMP = "{at:.6f} 2026-11-28 00:17:35 MainProcess-12 ContextExecutor-client-140 parsl.x.y:130 run {level}: {text}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two logs, one in JSON, what a block has printed, and an event log."""
    folder = tmp_path / "runinfo" / "000"
    block = folder / "contexts" / "block-0" / "m1"
    for path in (block, folder / "submit_scripts", folder / "contexts" / "events"):
        path.mkdir(parents=True)
    lines = [(1.7e9, "INFO", "Parsl starts"), (1.7e9 + 5, "WARNING", "careful")]
    (folder / "parsl.log").write_text(
        "".join(STAMP.format(at=at, level=level, text=text) + "\n" for at, level, text in lines)
    )
    built = STAMP.format(at=1.7e9 + 2, level="ERROR", text="[worker 3, context model] failed")
    (block / "worker_3.log").write_text(f"a line without a stamp\n{built}\nTraceback (most recent call last):\n  oh\n")
    entry = {"created": 1.7e9 + 3, "name": "parsl", "levelname": "INFO", "formatted": "Context model: built"}
    (folder / "contexts" / "interchange.jsonlog").write_text(f"{json.dumps(entry)}\n{json.dumps(entry)[:20]}")
    printed = folder / "submit_scripts" / "block-0.stdout"
    printed.write_text("hello\n")
    os.utime(printed, (1.7e9 + 4, 1.7e9 + 4))
    (folder / "contexts" / "events" / "events-00000.bin").write_bytes(b"\x00\xff")
    return folder


def test_lines_come_in_order_with_what_follows_them(run: Path) -> None:
    assert [(line.at - 1.7e9, line.where, line.level) for line in merged(run)] == [
        (0, "parsl", "INFO"),
        (2, "contexts/block-0/m1/worker_3", "ERROR"),
        (3, "contexts/interchange", "INFO"),
        (4, "submit_scripts/block-0.stdout", "print"),
        (5, "parsl", "WARNING"),
    ]
    assert [line.text for line in merged(run)][1].endswith("failed\n    Traceback (most recent call last):\n      oh")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), 5),
        (Wanted(level="WARNING"), 3),
        (Wanted(level="WARNING", prints=False), 2),
        (Wanted(["model"]), 2),
        (Wanted(["model", "worker_3"]), 1),
        (Wanted(["nothing"]), 0),
    ],
)
def test_lines_are_left_out(run: Path, wanted: Wanted, found: int) -> None:
    assert sum(map(wanted.has, merged(run))) == found


def test_the_newest_run_is_shown(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parents[1])
    assert find_run(None) == Path("runinfo/000")
    assert logs(None, Wanted(["hello"])) == 0
    assert "block-0.stdout: hello" in capsys.readouterr().out
    with pytest.raises(EventLogError):
        find_run(str(run.parents[1]))


def test_a_level_that_is_not_known_is_shown() -> None:
    assert Wanted().has(Line(0.0, "x", "FANCY", "y", "z"))
