"""`parsl-context top`: a run as it goes on, from its event log; nothing is asked of the run itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from parsl_context.cli.looking import is_alive, now_of
from parsl_context.cli.tables import Column, Fitted, lines_of
from parsl_context.report.explain import explain_all
from parsl_context.report.parts import Block, Context, Kind, Manager
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.story import Story, seconds_left, waiting_of
from parsl_context.wire.rows import duration_text, rate_text, size_text

_ROWS = 12  # of each table
_REASONS = 5

_BLOCKS = (
    Column("block", 9),
    Column("job", 6),
    Column("state", 8),
    Column("in queue", 5, is_number=True),
    Column("time left", 7, is_number=True),
    Column("the provider says", 3, is_name=True),
)
_NODES = (
    Column("node", 9, is_name=True),
    Column("block", 4),
    Column("workers", 7, is_number=True),
    Column("calls held", 6, is_number=True),
    Column("calls done", 8, is_number=True),
    Column("contexts", 3, is_number=True),
    Column("memory of contexts", 5),
    Column("state", 7),
)
_CONTEXTS = (
    Column("context", 11, is_name=True),
    Column("state", 10),
    Column("copies", 7, is_number=True),
    Column("memory", 6, is_number=True),
    Column("builds", 8, is_number=True),
    Column("again", 3, is_number=True),
    Column("a build", 4, is_number=True),
    Column("calls", 9, is_number=True),
    Column("hits", 5, is_number=True),
    Column("a call", 2, is_number=True),
    Column("wait", 8, is_number=True),
)
_QUEUE = (
    Column("waiting calls", 9, is_name=True),
    Column("contexts", 5, is_name=True),
    Column("count", 8, is_number=True),
    Column("the first for", 7, is_number=True),
    Column("priority", 4, is_number=True),
)


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
        parts: list[RenderableType] = [_Head(story, now)]
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


class _Head:
    """What there is to say of a run as a whole, in lines that end between its parts."""

    def __init__(self, story: Story, now: float) -> None:
        self.label = story.began.label if story.began else "?"
        self.state, self.style = _state_of_run(story)
        self.parts = [duration_text(now), *_figures(story)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text.assemble((f"{self.label}  ", "bold"), (self.state, self.style))
        for line in lines_of(self.parts, options.max_width):
            yield Text(line)


def _state_of_run(story: Story) -> tuple[str, str]:
    if story.over is not None:
        return f"over: {story.over.reason}", "dim"
    if is_alive(story):
        return "runs", "green"
    return f"killed or lost; last heard of {duration_text(time.time() - story.wall(story.at))} ago", "bold red"


def _figures(story: Story) -> list[str]:
    pulse = story.pulse
    calls = sum(kind.calls for kind in story.kinds.values())
    waiting, held = (pulse.waiting, pulse.held) if pulse is not None and story.over is None else (0, 0)
    parts = [f"{calls:,} calls done", f"{held:,} at nodes", f"{waiting:,} wait"]
    if per_s := story.per_second():
        parts.append(f"{rate_text(per_s)} calls/s")
    if (left_s := seconds_left(story)) is not None and waiting + held:
        parts.append(f"about {duration_text(left_s)} left")
    raised = sum(kind.raised for kind in story.kinds.values())
    cancelled = sum(1 for outcome in story.outcomes.values() if outcome == "cancelled")
    failed = len(story.outcomes) - cancelled
    parts += [
        f"{count:,} {word}"
        for count, word in ((raised, "raised"), (failed, "failed"), (cancelled, "cancelled"))
        if count
    ]
    return parts


def _blocks(story: Story, now: float) -> Fitted | None:
    blocks = list(story.blocks.values())
    rows = [_block(block, story, now) for block in blocks[-_ROWS:]]
    return Fitted(_BLOCKS, rows, len(blocks) - len(rows)) if rows else None


def _block(block: Block, story: Story, now: float) -> list[str]:
    queued_s = (block.joined_at if block.joined_at is not None else now) - block.asked_at
    left = [
        manager.joined.at + manager.joined.ends_in_s - now
        for manager in story.managers.values()
        if manager.joined.block == block.id and manager.is_there and manager.joined.ends_in_s is not None
    ]
    left_text = duration_text(max(0.0, min(left))) if left and story.over is None else ""
    return [block.id, block.job, story.state_of(block), duration_text(queued_s), left_text, block.text]


def _nodes(story: Story) -> Fitted | None:
    managers = [(number, manager) for number, manager in story.managers.items() if manager.is_there]
    rows = [_node(number, manager, story) for number, manager in managers[:_ROWS]]
    return Fitted(_NODES, rows, len(managers) - len(rows)) if rows else None


def _node(number: int, manager: Manager, story: Story) -> list[str]:
    held = sum(1 for row in story.held.values() if row.manager == number)
    taken = sum(manager.holds(digest) * context.size_bytes for digest, context in story.contexts.items())
    limit = manager.joined.memory_bytes
    memory = f"{size_text(taken)} of {size_text(limit)}" if limit is not None else size_text(taken)
    names = sum(1 for digest in story.contexts if manager.holds(digest))
    state = "open" if manager.is_open else "drains" if manager.drains else "held"
    joined = manager.joined
    return [joined.host, joined.block, str(joined.slots), str(held), f"{manager.calls:,}", str(names), memory, state]


def _contexts(story: Story, now: float) -> Fitted | None:
    waiting = waiting_of(story)
    shown = list(story.contexts.items())[-3 * _ROWS :]
    rows = []
    for digest, context in shown:
        kinds = {number: kind for number, kind in story.kinds.items() if digest in kind.work.contexts}
        waits = f"{sum(waiting[number] for number in kinds):,}" if story.over is None else ""
        state = _state(context, digest, story.managers.values(), now)
        copies = sum(manager.holds(digest) for manager in story.managers.values() if manager.is_there)
        rows.append([context.known.name, state, str(copies), *_figures_of(context, list(kinds.values())), waits])
    return Fitted(_CONTEXTS, rows, len(story.contexts) - len(rows)) if rows else None


def _figures_of(context: Context, kinds: list[Kind]) -> list[str]:
    tasks, run_s = sum(kind.tasks for kind in kinds), sum(kind.run_s for kind in kinds)
    builds = len(context.builds)
    return [
        size_text(context.size_bytes) if context.size_bytes else "",
        str(builds),
        str(sum(1 for build in context.builds if build.cause)),
        duration_text(context.usual_s),
        f"{sum(kind.calls for kind in kinds):,}",
        f"{max(0.0, 1 - builds / tasks):.0%}" if tasks else "",
        duration_text(run_s / tasks) if tasks else "",
    ]


def _state(context: Context, digest: str, managers: Iterable[Manager], now: float) -> str:
    builds = [since for manager in managers for (each, _), since in manager.building.items() if each == digest]
    if builds:
        return f"building {duration_text(max(0.0, now - min(builds)))}"
    if any(manager.is_there and manager.holds(context.known.context) for manager in managers):
        return "ready"
    if context.broken is not None:
        return "failed" if context.broken.given_up else "failed, is tried again"
    return "cold"


def _queue(story: Story, now: float) -> Fitted | None:
    pulse = story.pulse
    if pulse is None or not pulse.lines or story.over is not None:
        return None
    rows = []
    for line in pulse.lines[:_ROWS]:
        work = story.kind(line.what).work
        contexts = ", ".join(story.name(digest) for digest in work.contexts)
        priority = "" if line.priority == float("inf") else f"{line.priority:g}"
        rows.append([work.name, contexts, f"{line.size:,}", duration_text(max(0.0, now - line.since)), priority])
    return Fitted(_QUEUE, rows, len(pulse.lines) - len(rows))
