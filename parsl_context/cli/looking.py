"""`parsl-context explain`: why calls wait, from the event log of a run."""

from __future__ import annotations

import time
from pathlib import Path

from parsl_context.report.explain import explain_all, explain_call, explain_context, find_context
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.story import Story


def tell(folder: Path) -> tuple[Story, float]:
    """The story of a run, and the time on its clock: now, or when it was last heard of if it is over."""
    story = Story().take_all(LogReader(folder).read())
    return story, now_of(story, folder)


def now_of(story: Story, folder: Path) -> float:
    """The time on the clock of a run. [s]"""
    if story.began is None or story.over is not None or not is_alive(story):
        return story.at
    return max(story.at, time.time() - story.began.wall_s)


def is_alive(story: Story) -> bool:
    """Whether the interchange of a run may still be there."""
    import platform

    import psutil

    if story.began is None or story.over is not None:
        return False
    if story.began.host != platform.node():
        return time.time() - story.wall(story.at) < 60
    return bool(psutil.pid_exists(story.began.pid))


def explain(run_dir: str | None, what: str | None) -> int:
    """Print why a call or a context waits, or all that does. Gives the exit status."""
    status = 0
    for folder in find_logs(run_dir):
        story, now = tell(folder)
        if story.over is None and not is_alive(story):
            print(f"The interchange was killed or lost {time.time() - story.wall(story.at):.0f} s ago. Until then:")
        elif story.over is not None:
            print(f"The run is over ({story.over.reason}). At its end:")
        sentences = list(_sentences(story, what, now))
        status |= not sentences
        print("\n".join(sentences) if sentences else f"There is no call and no context {what!r} in {folder}.")
    return status


def _sentences(story: Story, what: str | None, now: float) -> list[str]:
    if what is None:
        return list(explain_all(story, now)) or ["No call waits."]
    if what.isdecimal():
        return [explain_call(story, int(what), now)]
    return [explain_context(story, digest, now) for digest in find_context(story, what)]
