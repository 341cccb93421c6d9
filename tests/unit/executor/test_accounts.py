"""What an executor tells of a call before its log does."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from parsl_context.executor.accounts import explain_future
from parsl_context.report.segments import FOLDER, frame
from tests.unit.report import samples as s


def test_a_call_that_the_log_does_not_have_yet(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "events-00000.bin").write_bytes(frame(s.began()))
    future: Future[Any] = Future()
    future.parsl_executor_task_id = 5  # type: ignore[attr-defined]
    said = explain_future(str(tmp_path), "contexts", future)
    assert said == "Call 5 was given to the executor; its log, written every 0.5 s, does not tell of it yet."
