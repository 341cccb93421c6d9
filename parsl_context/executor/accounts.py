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

from parsl_context.executor.telling import number_of, tell, who

_LINKS = 4  # calls that wait for each other are followed so far
logger = logging.getLogger(f"parsl.{__name__}")


def write_report(logdir: str, path: str | os.PathLike[str] | None) -> str:
    """Write the report of the run whose logs lie in a folder. Gives its path."""
    from parsl_context.report.making import make_report, write_page
    from parsl_context.report.reading import find_logs

    (folder,) = find_logs(logdir)
    target = Path(logdir, "report.html") if path is None else Path(path)
    write_page(make_report(folder), target)
    return str(target)


def explain_future(logdir: str, label: str, future: Future[Any]) -> str:
    """Why the call of a future waits, or what became of it; of what it waits for, too."""
    sentences: list[str] = []
    asked: Future[Any] | None = future
    while asked is not None and len(sentences) < _LINKS:
        told = tell(asked, label)
        sentence, awaited = (_from_log(logdir, asked), []) if told is None else told
        sentences.append(sentence)
        asked = awaited[0] if awaited else None
    return " ".join(sentences)


def _from_log(logdir: str, future: Future[Any]) -> str:
    from parsl_context.report.explain import explain_call, is_known
    from parsl_context.report.reading import LogReader, find_logs
    from parsl_context.report.story import Story

    number = number_of(future)
    assert number is not None  # else `tell` has told
    (folder,) = find_logs(logdir)
    story = Story().take_all(LogReader(folder).read())
    if not is_known(story, number):
        every_s = 0.5 if story.began is None else story.began.every_s
        return (
            f"{who(future)} was given to the executor; its log, written every {every_s:g} s, does not tell of it yet."
        )
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
