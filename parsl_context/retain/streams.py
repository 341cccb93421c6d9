"""Streams that stand for `sys.stdout` and `sys.stderr`, and do more than these when something is written."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

STREAMS = ("stdout", "stderr")


class StandingStream:
    """In all but `write` the stream that it stands for. Code of the user's may keep it."""

    __slots__ = ("__dict__", "_name", "_stream")

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name  # in `sys`

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # for those who ask whether it is a stream
        return type(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stream)

    def __enter__(self) -> Any:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._stream.__exit__(*error)

    def write(self, text: Any) -> Any:
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def cover(kind: type[StandingStream]) -> None:
    """Have streams of a kind stand for those that are there, unless they do."""
    for name in STREAMS:
        stream = getattr(sys, name)
        if stream is not None and type(stream) is not kind:
            setattr(sys, name, kind(stream, name))


def uncover(name: str, kind: type[StandingStream]) -> None:
    """Put the stream back that one of a kind stands for, if it is there."""
    stream = getattr(sys, name)
    if type(stream) is kind and not stream.__dict__:  # else code of the user's has put its own in place of a method
        setattr(sys, name, stream._stream)
