"""A log that cannot be read is a clear error of each command that looks at runs, and never a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from parsl_context.cli.main import main
from parsl_context.errors import EventLogError
from parsl_context.report import records as r
from parsl_context.report.reading import LogReader
from parsl_context.report.segments import FOLDER, frame
from tests.unit.report import samples as s

DAMAGE: dict[str, tuple[bytes, str]] = {
    "random bytes": (random.Random(1).randbytes(5000), "none of its 5000 bytes is part of a record"),
    "cut within its first record": (frame(s.began())[:20], "none of its 20 bytes is part of a record"),
    "empty": (b"", "it is empty"),
    "of a later release": (frame(s.began(version=r.LOG_VERSION + 1)), "does not read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_log_that_cannot_be_read_is_one_clear_error(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each command that reads it: no traceback, nothing on standard output, and a status of its own."""
    data, words = DAMAGE[name]
    folder = tmp_path / "contexts" / FOLDER
    folder.mkdir(parents=True)
    (folder / "events-00000.bin").write_bytes(data)
    with pytest.raises(EventLogError, match=words):
        list(LogReader(folder).read())
    run = str(tmp_path)
    for command in (
        ["report", run], ["report", run, "--json"], ["report", run, "--trace", f"{run}/trace.json"],
        ["top", "--once", run], ["explain", "--run-dir", run], ["explain", "7", "--run-dir", run],
    ):  # fmt: skip
        assert main(command) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert words in printed.err
        assert str(folder) in printed.err
        assert len(printed.err.splitlines()) == 1


def test_a_log_that_is_cut_later_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a run that was killed while it wrote, and of one whose file was damaged."""
    folder = tmp_path / "contexts" / FOLDER
    folder.mkdir(parents=True)
    whole = b"".join(map(frame, [s.began(), s.work(), s.joined(), s.ended([(3.0, 1, 0.5)])]))
    for rest in (frame(s.waits(2))[:-1], random.Random(2).randbytes(3000)):
        (folder / "events-00000.bin").write_bytes(whole + rest)
        for command in (["report", str(tmp_path)], ["top", "--once", str(tmp_path)]):
            assert main(command) == 0
            assert "1 call" in capsys.readouterr().out


def test_logs_of_random_bytes_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("parsl.log", "contexts/interchange.log", "contexts/manager.jsonlog", "contexts/block-0.stdout"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(3).randbytes(3000) + b"\n17\n[]\n{}\n")
    assert main(["logs", "--run-dir", str(tmp_path), "--no-prints"]) == 0
    assert main(["logs", "--run-dir", str(tmp_path)]) == 0
    assert main(["logs", "--run-dir", str(tmp_path / "contexts" / "nowhere")]) == 2
    assert "No logs were found in" in capsys.readouterr().err
