"""The bar of `app.map(progress=True)`: how many results were taken and, where none comes, what the map waits for.

On a terminal, and in a notebook with ipywidgets, a bar of rich's; in other notebooks a line of text; elsewhere nothing.
A thread shows it while the map is iterated over. As long as results come it asks nobody anything.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib.util
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from parsl_context.wire.rows import ContextRow, duration_text

_REFRESH_S = 0.1
_LOOK_S = 0.5  # between questions what the map waits for. [s]


class Shown(Protocol):
    """What people see. All but its making is done by one thread at a time."""

    def show(self, done: int, note: str) -> None:
        """So many results were taken; the note says what is waited for."""

    def end(self, done: int) -> None:
        """No more will be shown."""


def with_progress(
    results: Iterator[Any], name: str, total: int | None, why_waiting: Callable[[], str], console: Console
) -> Iterator[Any]:
    """Results, with progress shown where somebody looks.

    Parameters
    ----------
    results
        Of a map; closed when nobody takes them any more.
    name
        Of the app.
    total
        How many there will be, if that is known.
    why_waiting
        Says why none comes, in a few words, or nothing.
    console
        Where it is shown.
    """
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        return _tracked(results, lambda: NotebookLine(name, total), why_waiting)
    if console.is_terminal or console.is_jupyter:
        return _tracked(results, lambda: Bar(name, total, console), why_waiting)
    return results


def why_waiting(contexts: Sequence[Any], executors: Sequence[Any]) -> str:
    """What calls wait for that need these contexts, as their executors know it; nothing if none of them places any."""
    required = [required for context in contexts for required in getattr(context, "requires", ())]
    functions = {context.function.__name__ for context in (*contexts, *required)}
    rows = [row for executor in executors for row in executor.contexts()]
    has_workers = any(executor.connected_workers() for executor in executors)
    return waiting_text(rows, functions, has_workers=has_workers) if executors else ""


def waiting_text(rows: Iterable[ContextRow], functions: Collection[str], *, has_workers: bool) -> str:
    """What calls wait for: the builds of the contexts that these functions make, or workers. Pure."""
    going = [row for row in rows if row.building and row.name.partition("(")[0] in functions]
    if not going:
        return "" if has_workers else "waiting for workers"
    name = max(going, key=lambda row: row.building).name
    same = [row for row in going if row.name == name]
    others = len({row.name for row in going}) - 1
    count = sum(row.building for row in same)
    kind = "node" if all(row.shared for row in same) else "worker"
    since_s = max(row.building_s or 0.0 for row in same)
    usual_s = same[0].usual_s
    if usual_s is None:
        time_text = f"for {since_s:.0f} s"
    elif since_s <= usual_s:
        time_text = f"{since_s:.0f} of about {usual_s:.0f} s"
    else:
        time_text = f"for {since_s:.0f} s, it used to take {duration_text(usual_s)}"
    also = f", and {others} other context{'s' * (others != 1)}" if others else ""
    return f"building {name.removesuffix('()')} on {count} {kind}{'s' * (count != 1)}, {time_text}{also}"


def progress_text(name: str, done: int, total: int | None, took_s: float, note: str) -> str:
    """Progress as a line. Pure."""
    if total is None:
        text = f"{name}: {done:,} done, {took_s:.0f} s"
    else:
        text = f"{name}: {done:,} of {total:,} ({done / max(total, 1):.0%}), {took_s:.0f} s"
        if 0 < done < total:
            text += f", about {took_s * (total - done) / done:.0f} s left"
    return f"{text}; {note}" if note else text


class Bar:
    """A bar of rich's; in its place what is waited for."""

    def __init__(self, name: str, total: int | None, console: Console) -> None:
        self._progress = Progress(
            TextColumn("[progress.description]{task.description}"),
            _BarOrNote(),
            TaskProgressColumn(show_speed=total is None),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            auto_refresh=False,  # this is what `_Watch` is for
        )
        self._task = self._progress.add_task(name, total=total, note="")
        self._progress.start()

    def show(self, done: int, note: str) -> None:
        self._progress.update(self._task, completed=done, note=note, refresh=True)

    def end(self, done: int) -> None:
        self.show(done, "")
        self._progress.stop()


class _BarOrNote(BarColumn):
    def render(self, task: Task) -> RenderableType:  # type: ignore[override]
        note = Text(task.fields["note"], style="progress.remaining", no_wrap=True, overflow="ellipsis")
        return note if note else super().render(task)


class NotebookLine:
    """A line of text under a cell, which changes."""

    def __init__(self, name: str, total: int | None) -> None:
        from IPython.display import display

        self._name = name
        self._total = total
        self._begun_at = time.monotonic()
        self._shown = self._text(0, "")
        self._shown_at = self._begun_at
        self._handle: Any = display({"text/plain": self._shown}, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def show(self, done: int, note: str) -> None:
        if time.monotonic() - self._shown_at >= _LOOK_S:  # each is a message to the browser
            self._update(self._text(done, note))

    def end(self, done: int) -> None:
        self._update(self._text(done, ""))

    def _text(self, done: int, note: str) -> str:
        return progress_text(self._name, done, self._total, time.monotonic() - self._begun_at, note)

    def _update(self, text: str) -> None:
        self._shown_at = time.monotonic()
        if text != self._shown:
            self._shown = text
            self._handle.update({"text/plain": text}, raw=True)


def _tracked(results: Iterator[Any], show: Callable[[], Shown], why_waiting: Callable[[], str]) -> Iterator[Any]:
    try:
        watch = _Watch(show(), why_waiting)
        try:
            for result in results:
                yield result
                watch.done += 1
        finally:
            watch.end()
    finally:
        results.close()  # type: ignore[attr-defined]  # which lets go of what has not started


class _Watch:
    """Shows how many results were taken, in a thread."""

    def __init__(self, shown: Shown, why_waiting: Callable[[], str]) -> None:
        self.done = 0
        self._shown = shown
        self._why_waiting = why_waiting
        self._ended = threading.Event()
        # What is shown under a cell belongs to the one that runs now.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="ContextApp-progress", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Show nothing any more."""
        self._ended.set()
        self._thread.join(timeout=1.0)  # it may have asked, and get no answer
        self._shown.end(self.done)

    def _run(self) -> None:
        note, seen, look_at = "", 0, time.monotonic() + _LOOK_S
        while not self._ended.wait(_REFRESH_S):
            done, now = self.done, time.monotonic()
            if done != seen:
                note, seen, look_at = "", done, now + _LOOK_S
            elif now >= look_at:
                note = self._ask()
                look_at = time.monotonic() + _LOOK_S
            if not self._ended.is_set():
                self._shown.show(done, note)

    def _ask(self) -> str:
        with contextlib.suppress(Exception):  # of an executor that has ended: the map says so
            return self._why_waiting()
        return ""
