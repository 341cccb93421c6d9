"""Lines that bodies and context functions print, sent to the user's script (`echo=True`) beside where they go anyway.

What is written to `sys.stdout` and `sys.stderr` within a scope leaves as whole lines, through a socket that this
process shares with others of its node. No print waits for that: lines for which there is no room are counted, not kept,
but for a few. What is written by other ways (descriptors, programs that are started) is not sent.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from parsl_context.retain.speaking import is_labelling
from parsl_context.retain.streams import STREAMS, StandingStream, cover, uncover

LINE_CHARACTERS = 4096  # of a line; what is beyond them is cut off
KEPT_LINES = 256  # that wait for room
PACKET_CHARACTERS = 8192  # more, by a line at most
PACKET_BYTES = 1 << 16  # none is larger
_PAUSE_S = 0.005  # before it is tried again to send, when there was no room
_LAST_PATIENCE_S = 0.02  # of a process that ends, and has printed more than could be sent. [s]
_head = struct.Struct("<II")  # of a packet: lines in it, and lines before it that were dropped


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line that somebody printed."""

    text: str
    is_error: bool  # to stderr
    is_labelled: bool  # it says whose it is


class Packet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one process says at a time."""

    who: str
    lines: list[Line]


_decoder: msgspec.msgpack.Decoder[Packet] = msgspec.msgpack.Decoder(Packet)


def encode(who: str, lines: list[Line], dropped: int) -> bytes:
    """A packet as it travels. Those who pass it on read the head alone."""
    return _head.pack(len(lines), dropped) + msgspec.msgpack.encode(Packet(who, lines))


def counts(data: bytes) -> tuple[int, int]:
    """Lines in a packet, and lines dropped before it.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return _head.unpack_from(data)
    except struct.error as error:
        raise ValueError("too short for a packet of lines") from error


def decode(data: Any) -> Packet:
    """A packet.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return _decoder.decode(memoryview(data)[_head.size :])
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


class Echo:
    """Sends lines.

    Parameters
    ----------
    sock
        Leads to the manager; a socket that keeps packets whole.
    who
        What people call this process.
    """

    def __init__(self, sock: socket.socket, who: str) -> None:
        self._socket = sock
        self._who = who
        self._begun = threading.local()  # lines without an end, of each thread
        self._waiting: deque[Line] = deque()
        self._dropped = 0
        self._again_at = 0.0

    def take(self, name: str, text: str) -> None:
        """Something was written to a stream."""
        *lines, begun = (getattr(self._begun, name, "") + text).split("\n")
        setattr(self._begun, name, begun[: LINE_CHARACTERS + 1])
        for line in lines:
            self._add(line, name)
        if lines and time.monotonic() >= self._again_at:
            self.send()

    @property
    def has_more(self) -> bool:
        """Whether something waits for room."""
        return bool(self._waiting or self._dropped)

    def end(self) -> None:
        """Nothing more will be written for a while: send what waits, lines without an end as well."""
        for name in STREAMS:
            if begun := getattr(self._begun, name, ""):
                setattr(self._begun, name, "")
                self._add(begun, name)
        if self.has_more:
            self.send()

    def send_until(self, fd: int | None, timeout_s: float | None = None) -> None:
        """Send what waits as soon as there is room, until a descriptor can be read or the time is over."""
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        others = [] if fd is None else [fd]
        while self.has_more and (left_s := end - time.monotonic()) > 0:
            with contextlib.suppress(OSError, ValueError):  # code of the user's has closed the socket: then it is sent
                readable, _, _ = select.select(others, [self._socket], [], None if left_s == math.inf else left_s)
                if readable:
                    return
            self.send()

    def send(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting or self._dropped:
            lines, size = [], 0
            while self._waiting and size < PACKET_CHARACTERS:
                line = self._waiting.popleft()
                size += len(line.text) + 8
                lines.append(line)
            dropped, self._dropped = self._dropped, 0
            try:
                self._socket.send(encode(self._who, lines, dropped), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._waiting.extendleft(reversed(lines))
                self._dropped += dropped
                self._again_at = time.monotonic() + _PAUSE_S
                return
            except OSError:  # the manager is gone, or code of the user's has closed the socket
                self._waiting.clear()

    def forget(self) -> None:
        """In a child: what waits is the parent's."""
        self._waiting.clear()
        self._dropped = 0
        self._begun = threading.local()

    def _add(self, line: str, name: str) -> None:
        if len(self._waiting) >= KEPT_LINES:
            self._dropped += 1
            return
        if len(line) > LINE_CHARACTERS:
            line = line[:LINE_CHARACTERS] + " ..."
        text = line.encode("utf-8", "backslashreplace").decode()  # lone surrogates
        self._waiting.append(Line(text, name == "stderr", is_labelling()))


_echo: Echo | None = None
_depth = 0  # scopes that are open


class _Echoing(StandingStream):
    """Passes on what is written, and has it sent as long as a scope is open."""

    __slots__ = ()

    def write(self, text: Any) -> Any:
        written = self._stream.write(text)
        if _depth and _echo is not None and isinstance(text, str):
            _echo.take(self._name, text)
        return written

    def flush(self) -> None:
        self._stream.flush()
        if _depth and _echo is not None:
            _echo.send()


def start(sock: socket.socket, who: str, *, always: bool) -> None:
    """Say where lines of this process are to be sent.

    Parameters
    ----------
    always
        All that is written, rather than what is within a scope.
    """
    global _echo, _depth
    _echo = Echo(sock, who)
    _depth = int(always)
    if always:
        cover(_Echoing)


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """What is written within goes to the script, if this process belongs to an executor that can bring it there."""
    global _depth
    if _echo is None:
        yield
        return
    if not _depth:
        cover(_Echoing)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        _echo.end()
        if not _depth:
            for name in STREAMS:
                uncover(name, _Echoing)


def end() -> None:
    """A call has ended in a process that sends all that is written."""
    if _echo is not None:
        _echo.end()


def end_last() -> None:
    """This process ends: send what waits, if that is soon."""
    if _echo is not None:
        _echo.send_until(None, _LAST_PATIENCE_S)


def has_more() -> bool:
    """Whether lines wait for room."""
    return _echo is not None and _echo.has_more


def send_until(fd: int) -> None:
    """This process has nothing to do until a descriptor can be read."""
    if _echo is not None:
        _echo.send_until(fd)


def _forget() -> None:
    if _echo is not None:
        _echo.forget()


os.register_at_fork(after_in_child=_forget)
