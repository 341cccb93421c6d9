"""`parsl-context top`: a run as it goes on, from its event log; nothing is asked of the run itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from parsl_context.cli.looking import is_alive, now_of
from parsl_context.report.explain import explain_all
from parsl_context.report.parts import Context, Manager
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.story import Story, seconds_left, waiting_of
from parsl_context.wire.rows import duration_text, rate_text, size_text

_ROWS = 12  # of each table
_REASONS = 5


class View:
    """The run of one executor, as it was when it was last read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = LogReader(folder)
        self.story = Story()

    def refresh(self) -> View:
        """Read what is new."""
        self.story.take_all(self._reader.read())
        return self

    def render(self) -> RenderableType:
        """What is shown of it."""
        story, now = self.story, now_of(self.story, self.folder)
        parts: list[RenderableType] = [_head(story, now)]
        for table in (_blocks(story, now), _nodes(story), _contexts(story, now), _queue(story, now)):
            if table is not None:
                parts += ["", table]
        reasons = [Text(reason, style="yellow") for reason in explain_all(story, now)]
        if reasons and story.over is None:
            parts += ["", *reasons[:_REASONS]]
        return Group(*parts)


def top(run_dir: str | None, *, once: bool, every_s: float) -> int:
    """Show a run until interrupted, or once. Gives the exit status."""
    views = [View(folder) for folder in find_logs(run_dir)]
    console = Console()
    if once:
        for view in views:
            console.print(view.refresh().render())
        return 0
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(*(view.refresh().render() for view in views)), refresh=True)
                time.sleep(every_s)
    except KeyboardInterrupt:
        return 0


def _head(story: Story, now: float) -> Text:
    label = story.began.label if story.began else "?"
    if story.over is not None:
        state, style = f"over: {story.over.reason}", "dim"
    elif is_alive(story):
        state, style = "runs", "green"
    else:
        ago = duration_text(time.time() - story.wall(story.at))
        state, style = f"killed or lost; last heard of {ago} ago", "bold red"
    pulse = story.pulse
    calls = sum(kind.calls for kind in story.kinds.values())
    waiting, held = (pulse.waiting, pulse.held) if pulse is not None and story.over is None else (0, 0)
    parts = [f"{calls:,} calls done", f"{held:,} at nodes", f"{waiting:,} wait"]
    if per_s := story.per_second():
        parts.append(f"{rate_text(per_s)} calls/s")
    if (left_s := seconds_left(story)) is not None and waiting + held:
        parts.append(f"about {duration_text(left_s)} left")
    raised = sum(kind.raised for kind in story.kinds.values())
    if raised or story.outcomes:
        parts.append(f"{raised} raised, {len(story.outcomes)} without outcome")
    return Text.assemble((f"{label}  ", "bold"), (state, style), f"  {duration_text(now)}\n", "  ".join(parts))


def _blocks(story: Story, now: float) -> Table | None:
    if not story.blocks:
        return None
    table = _table("block", "job", "state", "in queue", "time left", "")
    for block in list(story.blocks.values())[-_ROWS:]:
        queued_s = (block.joined_at if block.joined_at is not None else now) - block.asked_at
        managers = [manager for manager in story.managers.values() if manager.joined.block == block.id]
        left = [
            manager.joined.at + manager.joined.ends_in_s - now
            for manager in managers
            if manager.is_there and manager.joined.ends_in_s is not None
        ]
        state = "over" if block.left_at is not None else block.state.lower()
        left_text = duration_text(max(0.0, min(left))) if left else ""
        table.add_row(block.id, block.job, state, duration_text(queued_s), left_text, block.text[:60])
    return table


def _nodes(story: Story) -> Table | None:
    managers = [(number, manager) for number, manager in story.managers.items() if manager.is_there]
    if not managers:
        return None
    table = _table("node", "block", "workers", "calls held", "calls done", "contexts", "memory of contexts", "state")
    for number, manager in managers[:_ROWS]:
        held = sum(1 for row in story.held.values() if row.manager == number)
        taken = sum(manager.holds(digest) * context.size_bytes for digest, context in story.contexts.items())
        limit = manager.joined.memory_bytes
        memory = f"{size_text(taken)} of {size_text(limit)}" if limit is not None else size_text(taken)
        names = sum(1 for digest in story.contexts if manager.holds(digest))
        state = "open" if manager.is_open else "drains" if manager.drains else "held"
        joined = manager.joined
        table.add_row(
            joined.host, joined.block, str(joined.slots), str(held), f"{manager.calls:,}", str(names), memory, state
        )
    return _and_more(table, len(managers))


def _contexts(story: Story, now: float) -> Table | None:
    if not story.contexts:
        return None
    heads = ("context", "state", "copies", "memory", "builds", "again", "each", "calls", "hits", "a call", "wait")
    table = _table(*heads)
    waiting = waiting_of(story)
    by_context: dict[str, list[int]] = {}
    for number, kind in story.kinds.items():
        for digest in kind.work.contexts:
            by_context.setdefault(digest, []).append(number)
    for digest, context in list(story.contexts.items())[-3 * _ROWS :]:
        numbers = by_context.get(digest, [])
        kinds = [story.kinds[number] for number in numbers]
        tasks, run_s = sum(kind.tasks for kind in kinds), sum(kind.run_s for kind in kinds)
        copies = sum(manager.holds(digest) for manager in story.managers.values() if manager.is_there)
        builds = len(context.builds)
        table.add_row(
            context.known.name,
            _state(context, digest, story.managers.values(), now),
            str(copies),
            size_text(context.size_bytes) if context.size_bytes else "",
            str(builds),
            str(sum(1 for build in context.builds if build.cause)),
            duration_text(context.usual_s),
            f"{sum(kind.calls for kind in kinds):,}",
            f"{max(0.0, 1 - builds / tasks):.0%}" if tasks else "",
            duration_text(run_s / tasks) if tasks else "",
            f"{sum(waiting[number] for number in numbers):,}" if story.over is None else "",
        )
    return _and_more(table, len(story.contexts))


def _state(context: Context, digest: str, managers: Iterable[Manager], now: float) -> str:
    builds = [since for manager in managers for (each, _), since in manager.building.items() if each == digest]
    if builds:
        return f"building {duration_text(max(0.0, now - min(builds)))}"
    if any(manager.is_there and manager.holds(context.known.context) for manager in managers):
        return "ready"
    if context.broken is not None:
        return "failed" if context.broken.given_up else "failed, is tried again"
    return "cold"


def _queue(story: Story, now: float) -> Table | None:
    pulse = story.pulse
    if pulse is None or not pulse.lines or story.over is not None:
        return None
    table = _table("waiting calls", "contexts", "count", "the first for", "priority")
    for line in pulse.lines[:_ROWS]:
        work = story.kind(line.what).work
        contexts = ", ".join(story.name(digest) for digest in work.contexts)
        priority = "" if line.priority == float("inf") else f"{line.priority:g}"
        table.add_row(work.name, contexts, f"{line.size:,}", duration_text(max(0.0, now - line.since)), priority)
    return _and_more(table, len(pulse.lines))


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, expand=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    return table


def _and_more(table: Table, count: int) -> Table:
    if count > len(table.rows):
        table.add_row(f"... and {count - len(table.rows)} more", *[""] * (len(table.columns) - 1))
    return table
