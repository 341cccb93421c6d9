"""One connection of the bulk road, the same at both ends: segments leave and arrive in pieces.

The manager's end asks for segments and offers some; the server's end answers. What is short goes before pieces.
"""

from __future__ import annotations

import heapq
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parsl_context.distribute.bulk.sealing import HEADER_BYTES, PIECE_BYTES, TAG_BYTES, Head, Kind, Opener, Sealer
from parsl_context.distribute.peers.faults import ended_by_faults
from parsl_context.distribute.peers.pace import Pace
from parsl_context.errors import MessageError, PayloadLostError
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Segment
from parsl_context.wire.segment_files import Arrival
from parsl_context.wire.segments import Segments

_FRAMES_PER_TURN = 8  # in each direction, before others get their turn
_OLDEST_EVERY = 4  # pieces
_WAKE_BYTES = 64 << 10
_REASON_BYTES = 1000


@dataclass(frozen=True)
class Lack:
    """Why a segment is not where it was to go.

    Attributes
    ----------
    reason : str
    is_ours : bool
        This end is to blame: it has no room.
    """

    reason: str
    is_ours: bool = False


Done = Callable[[Lack | None], None]
"""Called when a segment is where it was to go, with None, or else with the reason why it is not."""


@dataclass(eq=False)
class _Departure:
    """A segment that leaves."""

    number: int
    content: memoryview
    place: int = 0

    @property
    def left(self) -> int:
        """What is to go yet. [bytes]"""
        return len(self.content) - self.place


class BulkChannel:
    """Sends and receives segments until `close`, or until the connection ends.

    Parameters
    ----------
    sock
        Connected and greeted.
    ciphers
        Of what comes and of what goes.
    most
        What it may send. [bytes/s]
    on_hello
        Called when the other end has shown that it has the key.
    on_end
        Called once with the reason, also by `close`.
    """

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        segments: Segments,
        ciphers: tuple[AESGCM, AESGCM],
        *,
        most: float | None,
        on_hello: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._segments = segments
        self._opener, self._sealer = Opener(ciphers[0]), Sealer(ciphers[1])
        self._pace = Pace(sock, most)
        self._on_hello = on_hello
        self._on_end = on_end
        self._numbers = 0
        self._asked: dict[int, Done] = {}
        self._wanted: dict[int, Segment] = {}
        self._arrivals: dict[int, Arrival] = {}
        self._departures: dict[int, _Departure] = {}  # the oldest first
        self._shortest: list[tuple[int, int]] = []  # heap of what is left of each, and its number; some are past
        self._turns = 0
        self._notes: deque[tuple[Kind, int, bytes]] = deque()
        self._out: memoryview | None = None  # what is left of the frame that is being sent
        self._header = bytearray(HEADER_BYTES)
        self._body = bytearray(PIECE_BYTES + TAG_BYTES)
        self._head: Head | None = None
        self._filled = 0  # bytes of the part that is being read
        self._wakes_for = 1
        self._is_known = False
        self._is_sending = False  # the loop tells when more can be sent
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Segment)
        self.is_closed = False
        self.sent = self.received = 0  # [bytes]
        loop.watch(sock, self._readable)

    def hello(self) -> None:
        """Show that we have the key; the other end does the same."""
        self._note(Kind.HELLO, 0)

    def want(self, segment: Segment, done: Done) -> None:
        """Have a segment of the other end come here."""
        number = self._begin(done)
        self._wanted[number] = segment
        self._note(Kind.WANT, number, self._encoder.encode(segment))

    def offer(self, segment: Segment, done: Done) -> None:
        """Have a segment that is here go to the other end."""
        try:
            content = self._segments.departing(segment)
        except PayloadLostError as error:
            done(Lack(str(error), is_ours=True))
            return
        number = self._begin(done)
        self._leave(_Departure(number, content))
        self._note(Kind.OFFER, number, self._encoder.encode(segment))

    def close(self, reason: str) -> None:
        """End the connection. What has not come whole leaves nothing."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.unwatch(self._socket)
        self._socket.close()
        for arrival in self._arrivals.values():
            arrival.give_up()
        asked, self._asked = self._asked, {}
        self._arrivals, self._wanted = {}, {}
        self._departures.clear()
        self._shortest.clear()
        self._notes.clear()
        self._out = None
        for done in asked.values():
            done(Lack(reason))
        self._on_end(reason)

    def _begin(self, done: Done) -> int:
        self._numbers += 1
        self._asked[self._numbers] = done
        return self._numbers

    def _end(self, number: int, lack: Lack | None) -> None:
        self._wanted.pop(number, None)
        if (done := self._asked.pop(number, None)) is not None:
            done(lack)

    # --- out

    def _note(self, kind: Kind, number: int, content: bytes = b"") -> None:
        self._notes.append((kind, number, content))
        if not self._is_sending:
            self._writable()

    def _writable(self) -> None:
        if self.is_closed:
            return
        try:
            is_blocked = not self._send_some()
        except (OSError, MessageError) as error:
            self.close(str(error))
            return
        if is_blocked != self._is_sending:
            self._is_sending = is_blocked
            self._loop.watch_writable(self._socket, self._writable if is_blocked else None)

    def _send_some(self) -> bool:
        """Send until the connection takes no more, or it is somebody else's turn. Whether nothing is left."""
        for _ in range(_FRAMES_PER_TURN):
            if self._out is None and (frame := self._next()) is not None:
                self._out = frame
            if self._out is None:
                return True
            while self._out is not None:
                try:
                    sent = self._socket.send(self._out)
                except BlockingIOError:
                    return False
                self.sent += sent
                self._out = self._out[sent:] if sent < len(self._out) else None
            self._pace.adjust(time.monotonic())
        return self._out is None and not self._notes and not self._departures

    def _next(self) -> memoryview | None:
        """The next frame to send."""
        if self._notes:
            return self._sealer.seal(*self._notes.popleft())
        if not self._departures:
            return None
        leaving = self._turn()
        piece = leaving.content[leaving.place : leaving.place + PIECE_BYTES]
        leaving.place += len(piece)
        if leaving.left:
            self._leave(leaving)
        else:
            self._gone(leaving.number)
        return self._sealer.seal(Kind.PIECE, leaving.number, piece)

    def _turn(self) -> _Departure:
        """The segment whose next piece goes: that of which the least is left, and now and then the oldest.

        Were they all to go at once, calls would all begin late, and their outcomes wait while nothing comes.
        """
        self._turns += 1
        if self._turns % _OLDEST_EVERY == 0:
            return next(iter(self._departures.values()))
        while True:
            left, number = heapq.heappop(self._shortest)
            if number in self._departures and self._departures[number].left == left:
                return self._departures[number]

    def _leave(self, departure: _Departure) -> None:
        """More of it is to go."""
        self._departures[departure.number] = departure
        heapq.heappush(self._shortest, (departure.left, departure.number))

    # --- in

    def _readable(self) -> None:
        with ended_by_faults(self.close):
            for _ in range(_FRAMES_PER_TURN):
                while not self.is_closed and not self._read():
                    pass

    def _read(self) -> bool:
        """Read once. Whether a frame was complete."""
        target = memoryview(self._header)
        if self._head is not None:
            target = memoryview(self._body)[: self._head.size + TAG_BYTES]
        count = self._socket.recv_into(target[self._filled :])
        if not count:
            self.close("it was closed by the other side")
            return False
        self._filled += count
        self.received += count
        if self._head is not None:
            self._wake_for(len(target) - self._filled)
        if self._filled < len(target):
            return False
        self._filled = 0
        if self._head is None:
            self._head = self._opener.head(self._header)
            return False
        head, self._head = self._head, None
        self._take(head, self._opener.open(self._header, target))
        return True

    def _wake_for(self, left: int) -> None:
        """Have the system tell of no more than a part of a piece at a time: waking for each packet takes a core."""
        wanted = max(1, min(left, _WAKE_BYTES))
        if wanted != self._wakes_for:
            self._wakes_for = wanted
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _take(self, head: Head, content: memoryview) -> None:
        number = head.number
        if not self._is_known:
            self._is_known = True
            self._on_hello()
        match head.kind:
            case Kind.PIECE:
                self._take_piece(number, content)
            case Kind.WANT:
                self._depart(number, self._segment(content))
            case Kind.OFFER:
                self._arrive(number, self._segment(content))
            case Kind.GOT:
                self._end(number, None)
            case Kind.LACK:
                self._drop(number)
                self._end(number, Lack(bytes(content).decode(errors="replace")))
            case Kind.HELLO:
                pass

    def _segment(self, content: memoryview) -> Segment:
        try:
            return self._decoder.decode(content)
        except msgspec.MsgspecError as error:
            raise MessageError(f"No segment is described so: {error}") from error

    def _depart(self, number: int, segment: Segment) -> None:
        try:
            self._leave(_Departure(number, self._segments.departing(segment)))
        except PayloadLostError as error:
            self._lack(number, error)
        else:
            if not self._is_sending:
                self._writable()

    def _arrive(self, number: int, segment: Segment) -> None:
        if number in self._arrivals:
            raise MessageError(f"Transfer {number} begins a second time.")
        try:
            self._arrivals[number] = self._segments.arriving(segment)
        except (OSError, PayloadLostError) as error:
            self._lack(number, error)

    def _take_piece(self, number: int, content: memoryview) -> None:
        if number in self._wanted and number not in self._arrivals:
            self._arrive(number, self._wanted[number])
        arrival = self._arrivals.get(number)
        if arrival is None:
            return  # it was refused; the rest of it was on its way
        try:
            is_whole = arrival.write(content)
        except OSError as error:
            self._lack(number, error)
            return
        if is_whole:
            del self._arrivals[number]
            if number in self._asked:
                self._end(number, None)
            else:
                self._note(Kind.GOT, number)

    def _lack(self, number: int, error: Exception) -> None:
        """What was to come or go does not."""
        self._drop(number)
        self._note(Kind.LACK, number, str(error).encode()[:_REASON_BYTES])
        self._end(number, Lack(str(error), is_ours=True))

    def _drop(self, number: int) -> None:
        if (arrival := self._arrivals.pop(number, None)) is not None:
            arrival.give_up()
        self._gone(number)

    def _gone(self, number: int) -> None:
        """Nothing more of a segment is to go."""
        self._departures.pop(number, None)
        if not self._departures:
            self._shortest.clear()
