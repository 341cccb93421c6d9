"""Says which worker and context it is that prints or logs: many processes of a block write into one file.

While a context is built or cleaned up, or a hook of it runs, each line that goes to `sys.stdout` and `sys.stderr` has a
label, and so have records in log files. What is written by other ways (descriptors, `sys.stdout.buffer`) has none.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from parsl_context.retain.streams import STREAMS, StandingStream, cover, uncover


class _Topic(NamedTuple):
    """What this process is about."""

    who: str
    context: str

    @property
    def label(self) -> str:
        return f"[{self.who}, context {self.context}] "


_topic: _Topic | None = None
_writing = threading.local()  # a stream of ours may write to another one of ours


def is_labelling() -> bool:
    """Whether what is printed now says whose it is."""
    return _topic is not None


class Voice:
    """Labels what a process says.

    Parameters
    ----------
    who
        What people call the process.
    """

    def __init__(self, who: str) -> None:
        self._who = who

    @contextlib.contextmanager
    def about(self, context: str) -> Iterator[None]:
        """What runs now is about a context. What was printed has been written when it ends."""
        global _topic
        before = _topic
        _topic = _Topic(self._who, context)
        cover(_Labelling)
        try:
            yield
        finally:
            _topic = before
            if before is None:
                _uncover()
            _flush()


class _Labelling(StandingStream):
    """A stream with labels. It may be kept: without a topic it adds nothing."""

    __slots__ = ("_is_begun",)

    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream, name)
        self._is_begun: bool = False  # the line has its label

    def write(self, text: Any) -> Any:
        topic = _topic
        if topic is None or not text or not isinstance(text, str) or getattr(_writing, "is_nested", False):
            return self._stream.write(text)
        lines = text.split("\n")
        last = lines.pop()
        labelled = [f"{topic.label}{line}\n" for line in lines]
        if last:
            labelled.append(topic.label + last)
        if self._is_begun:
            labelled[0] = labelled[0][len(topic.label) :]
        self._is_begun = bool(last)
        _writing.is_nested = True
        try:
            self._stream.write("".join(labelled))
        finally:
            _writing.is_nested = False
        return len(text)

    def _end_line(self) -> None:
        if self._is_begun:
            self._is_begun = False
            with contextlib.suppress(Exception):
                self._stream.write("\n")


def _uncover() -> None:
    for name in STREAMS:
        stream = getattr(sys, name)
        if type(stream) is _Labelling:
            stream._end_line()
            uncover(name, _Labelling)


def _flush() -> None:
    """Or each process that is forked from this one would write it again."""
    for name in STREAMS:
        with contextlib.suppress(Exception):
            getattr(sys, name).flush()


def mark_logs() -> None:
    """Have the handlers of this process's logs label what is about a context."""
    for handler in {*logging.getLogger("parsl").handlers, *logging.getLogger().handlers}:
        handler.addFilter(_add_topic)
        if isinstance(handler, logging.FileHandler) and not isinstance(handler.formatter, _LabellingFormatter):
            handler.setFormatter(_LabellingFormatter(handler.formatter or logging.Formatter()))


def _add_topic(record: logging.LogRecord) -> bool:
    """Attributes of a record, which Parsl's JSON logs show by the begin of their names."""
    if _topic is not None:
        vars(record).update({"parsl.worker": _topic.who, "parsl.context": _topic.context})
    return True


class _LabellingFormatter(logging.Formatter):
    """Formats as another does, with a label before the message."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        if _topic is not None:
            record = copy.copy(record)
            record.msg, record.args = _topic.label + record.getMessage(), ()
        return self._inner.format(record)
