"""Prints what workers have printed (`echo=True`), in the script's own streams and in a thread of its own.

A terminal that is held up must not hold up results: lines wait here, so many and no more, and others are counted. The
thread that takes messages waits for a moment after lines came, so that those of a call are seen before its result is.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from parsl_context.retain import echoing
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer

logger = logging.getLogger(f"parsl.{__name__}")

_MOST_CHARACTERS = 1 << 20  # of lines that wait to be printed
_SETTLE_S = 0.02  # that results wait for lines to be printed. [s]
_CLOSE_S = 1.0  # that the end of the executor waits for that. [s]
_TELL_S = 1.0  # between two lines that tell how many were dropped. [s]


class _Entry(NamedTuple):
    text: str  # a line, with its end
    is_error: bool


class Labels:
    """Says whose a line is, once lines of more than one worker have come. Pure."""

    def __init__(self) -> None:
        self._first: tuple[str, str] | None = None
        self._hosts: set[str] = set()  # two are enough to know
        self._are_several = False

    def label(self, manager: str, host: str, who: str) -> str:
        """What is put before a line that does not say it itself."""
        self._first = self._first or (manager, who)
        self._are_several |= self._first != (manager, who)
        if len(self._hosts) < 2:
            self._hosts.add(host)
        if not self._are_several:
            return ""
        return f"[{who}] " if len(self._hosts) == 1 else f"[{who} on {host}] "


class Printer:
    """Takes lines from the client's thread and prints them in another, which begins with the first one."""

    def __init__(self) -> None:
        self._labels = Labels()
        self._waiting: deque[_Entry] = deque()
        self._size = 0  # characters that wait
        self._dropped = 0
        self._told_at = 0.0
        self._news = threading.Condition()
        self._is_idle = True  # all was printed
        self._is_closed = False
        self._is_slow = False  # the last time, results waited in vain
        self._thread: threading.Thread | None = None

    def said(self, said: m.Said, frames: Sequence[Buffer]) -> None:
        """Lines have come."""
        entries: list[_Entry] = []
        for frame in frames:
            try:
                packet = echoing.decode(frame)
            except ValueError:
                logger.warning("Manager %s sent something else than lines", said.manager, exc_info=True)
                continue
            is_unsaid = not all(line.is_labelled for line in packet.lines)
            label = self._labels.label(said.manager, said.host, packet.who) if is_unsaid else ""
            entries += [
                _Entry(f"{'' if line.is_labelled else label}{line.text}\n", line.is_error) for line in packet.lines
            ]
        with self._news:
            self._dropped += said.dropped
            for entry in entries:
                if self._size > _MOST_CHARACTERS:
                    self._dropped += 1
                else:
                    self._waiting.append(entry)
                    self._size += len(entry.text)
            self._begin()
            self._is_idle = False
            self._news.notify_all()
            if not self._is_slow:
                self._is_slow = not self._news.wait_for(lambda: self._is_idle, _SETTLE_S)

    def close(self) -> None:
        """Print what waits, if that is soon, and how many lines were dropped."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ContextExecutor-echo", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._news:
                if not self._waiting:
                    self._is_idle, self._is_slow = True, False
                    self._news.notify_all()
                    untold_s = _TELL_S if self._dropped else None
                    self._news.wait_for(lambda: self._waiting or self._is_closed, untold_s)
                entries, self._waiting, self._size = self._waiting, deque(), 0
                dropped = self._dropped if self._is_closed or time.monotonic() - self._told_at >= _TELL_S else 0
                self._dropped -= dropped
                is_over = self._is_closed and not entries
            _print(entries)
            if dropped:
                self._told_at = time.monotonic()
                text = f"[{dropped:,} lines that workers printed are not shown: more came than could be passed on]\n"
                _print([_Entry(text, True)])
            if is_over:
                return


def _print(entries: Sequence[_Entry] | deque[_Entry]) -> None:
    """Write lines to the streams as they are now, those of one stream together."""
    texts: list[str] = []
    is_error = False
    for entry in [*entries, None]:
        if texts and (entry is None or entry.is_error != is_error):
            stream = sys.stderr if is_error else sys.stdout
            with contextlib.suppress(Exception):  # it is closed, or none
                stream.write("".join(texts))
                stream.flush()
            texts = []
        if entry is not None:
            texts.append(entry.text)
            is_error = entry.is_error
