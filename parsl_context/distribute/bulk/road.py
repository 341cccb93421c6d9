"""The manager's end of the bulk road, in a thread of its own: what is called here returns at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from parsl_context.distribute.bulk.channel import BulkChannel, Done, Lack
from parsl_context.distribute.bulk.connecting import connect
from parsl_context.distribute.peers.mailbox import Mailbox
from parsl_context.distribute.peers.tuning import upload_rate
from parsl_context.wire.bulk import BulkRoad
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Segment
from parsl_context.wire.segments import Segments

logger = logging.getLogger(f"parsl.{__name__}")

_CLOSE_S = 2.0


class Road:
    """One connection to the script's host. All calls come in the thread of the owner's loop.

    Parameters
    ----------
    on_open
        Called when segments can be asked for and offered.
    on_end
        Called once when they can be no more, with the reason; not by `close`. Those on their way have failed before.
    """

    def __init__(
        self,
        owner: EventLoop,
        segments: Segments,
        host: str,
        road: BulkRoad,
        *,
        on_open: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._segments = segments
        self._on_open = on_open
        self._on_end = on_end
        self._mail = Mailbox(owner)  # to the owner
        self._loop = EventLoop()
        self._orders = Mailbox(self._loop)
        self._channel: BulkChannel | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, args=(host, road), name="bulk road", daemon=True)
        self._thread.start()

    def want(self, segment: Segment, done: Done) -> None:
        """Have a segment of the script's host come here."""
        self._orders.put(lambda: self._begin(BulkChannel.want, segment, done))

    def offer(self, segment: Segment, done: Done) -> None:
        """Have a segment go to the script's host."""
        self._orders.put(lambda: self._begin(BulkChannel.offer, segment, done))

    def close(self) -> None:
        """End it; nothing is called any more."""
        self._is_closed = True
        self._orders.put(self._stop)
        self._thread.join(_CLOSE_S)
        self._mail.close()

    # --- in the thread

    def _run(self, host: str, road: BulkRoad) -> None:
        try:
            sock, ciphers = connect(host, road)
        except OSError as error:
            reason = f"{host} cannot be reached at port {road.port}: {error}"
            self._tell(lambda: self._on_end(reason))
        else:
            self._channel = BulkChannel(
                self._loop,
                sock,
                self._segments,
                ciphers,
                most=upload_rate(),
                on_hello=lambda: self._tell(self._on_open),
                on_end=self._ended,
            )
            self._channel.hello()
        self._loop.run()
        self._orders.close()
        self._loop.close()

    def _begin(self, start: Callable[[BulkChannel, Segment, Done], None], segment: Segment, done: Done) -> None:
        def told(lack: Lack | None) -> None:
            self._tell(lambda: done(lack))

        if self._channel is None or self._channel.is_closed:
            told(Lack("the connection for large values has ended"))
        else:
            start(self._channel, segment, told)

    def _ended(self, reason: str) -> None:
        self._tell(lambda: self._on_end(reason))

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close("it is not needed any more")
        self._loop.stop()

    def _tell(self, call: Callable[[], None]) -> None:
        def tell() -> None:
            if not self._is_closed:
                call()

        self._mail.put(tell)
