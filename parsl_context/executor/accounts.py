"""What an executor tells of its run, from the event log that its interchange writes.

The modules that read the log are imported when somebody asks: most runs never do.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

logger = logging.getLogger(f"parsl.{__name__}")


def write_report(logdir: str, path: str | os.PathLike[str] | None) -> str:
    """Write the report of the run whose logs lie in a folder. Gives its path."""
    from parsl_context.report.making import make_report, write_page
    from parsl_context.report.reading import find_logs

    (folder,) = find_logs(logdir)
    target = Path(logdir, "report.html") if path is None else Path(path)
    write_page(make_report(folder), target)
    return str(target)


def explain_future(logdir: str, future: Future[Any]) -> str:
    """Why the call of a future waits, or what became of it."""
    from parsl_context.report.explain import explain_call
    from parsl_context.report.reading import LogReader, find_logs
    from parsl_context.report.story import Story

    number = _number_of(future)
    if number is None:
        return (
            "The call was not given to an executor: it waits for what its arguments come from, or it has ended before."
        )
    (folder,) = find_logs(logdir)
    story = Story().take_all(LogReader(folder).read())
    now = story.at if story.began is None or story.over else max(story.at, time.time() - story.began.wall_s)
    return explain_call(story, number, now)


def print_summary(logdir: str) -> None:
    """Print the summary of a run that is over. That it cannot be made is no error of the run."""
    from parsl_context.report.making import make_report
    from parsl_context.report.reading import find_logs
    from parsl_context.report.summary import summary

    try:
        (folder,) = find_logs(logdir)
        print(summary(make_report(folder)), file=sys.stderr)
    except Exception:
        logger.exception("There is no summary of the run")


def _number_of(future: Future[Any]) -> int | None:
    """The number that an executor of ours gave a call: of its own future, or of the one that an app's waits for."""
    record = getattr(future, "task_record", None)
    inner = future if record is None else record.get("exec_fu")
    number = getattr(inner, "parsl_executor_task_id", None)
    return number if isinstance(number, int) else None
