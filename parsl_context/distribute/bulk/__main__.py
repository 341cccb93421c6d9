"""Server of the bulk road, on the host of the script: a process of its own, which the interchange starts and ends.

It reads its configuration from standard input and says at which port it listens. Then each line there is the ticket of
a manager that is gone; the end of standard input is its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading

import msgspec

from parsl_context.parsl_parts import lightly

with lightly.uncollected():
    lightly.put_off()

    from parsl_context.distribute.bulk.channel import BulkChannel
    from parsl_context.distribute.bulk.connecting import CONNECT_S, answer
    from parsl_context.distribute.peers.mailbox import Mailbox
    from parsl_context.distribute.peers.tuning import tune, upload_rate
    from parsl_context.errors import MessageError
    from parsl_context.parsl_parts.titles import set_title
    from parsl_context.wire.bulk import BulkConfig
    from parsl_context.wire.eventloop import EventLoop
    from parsl_context.wire.segments import Segments, join_segments

    lightly.settle()

logger = logging.getLogger(f"parsl.{__name__}")

_BACKLOG = 128
_PAUSE_S = 0.5  # without descriptors. [s]
_MOST_STRANGERS = 64  # connections that have not greeted


class Server:
    """Serves the managers of one executor."""

    def __init__(self, loop: EventLoop, listener: socket.socket, segments: Segments, secret: bytes) -> None:
        self._loop = loop
        self._listener = listener
        self._segments = segments
        self._secret = secret
        self._mail = Mailbox(loop)
        self._channels: dict[bytes, BulkChannel] = {}
        self._strangers = threading.Semaphore(_MOST_STRANGERS)
        self._rate = upload_rate()
        loop.watch(listener, self._accept)

    def forget(self, ticket: bytes) -> None:
        """A manager is gone: nothing more comes of it."""
        if (channel := self._channels.get(ticket)) is not None:
            channel.close("the manager is gone")

    def close(self) -> None:
        """End all connections."""
        for channel in list(self._channels.values()):
            channel.close("the run is over")

    def _accept(self) -> None:
        try:
            sock, address = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # there are no descriptors: it would be asked for at once again
            logger.warning("No connection can be accepted: %s", error)
            self._loop.unwatch(self._listener)
            self._loop.call_later(_PAUSE_S, lambda: self._loop.watch(self._listener, self._accept))
            return
        if not self._strangers.acquire(blocking=False):
            sock.close()
            return
        threading.Thread(target=self._greet, args=(sock, address[0]), daemon=True).start()

    def _greet(self, sock: socket.socket, address: str) -> None:
        """Hear who it is, in a thread that may wait: nobody waits for somebody else's greeting."""
        try:
            ticket, ciphers = answer(sock, self._secret)
        except (OSError, MessageError) as error:
            logger.warning("A connection from %s was closed: %s", address, error)
            sock.close()
            return
        finally:
            self._strangers.release()

        def begin() -> None:
            channel: BulkChannel

            def ended(reason: str) -> None:
                counts = channel.sent, channel.received
                logger.info("Connection of %s ended (sent %d bytes, received %d): %s", address, *counts, reason)
                if self._channels.get(ticket) is channel:
                    del self._channels[ticket]

            channel = BulkChannel(
                self._loop,
                sock,
                self._segments,
                ciphers,
                most=self._rate,
                on_hello=lambda: self._known(ticket, channel),
                on_end=ended,
            )
            self._loop.call_later(CONNECT_S, lambda: self._check(ticket, channel))

        self._mail.put(begin)

    def _check(self, ticket: bytes, channel: BulkChannel) -> None:
        """Close a connection whose other end has not shown that it has the key."""
        if self._channels.get(ticket) is not channel:
            channel.close("it has not shown that it has the key")

    def _known(self, ticket: bytes, channel: BulkChannel) -> None:
        if (before := self._channels.pop(ticket, None)) is not None:
            before.close("the manager has connected anew")
        self._channels[ticket] = channel
        channel.hello()


def main() -> int:
    """Serve until standard input ends. Gives the exit status."""
    set_title("bulk-road")
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=BulkConfig)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    segments = join_segments(config.segments)
    if segments.path is None:
        logger.error("%s is not shared with this process", config.segments)
        return 1
    loop = EventLoop()
    with _listen(config) as listener:
        server = Server(loop, listener, segments, config.secret)
        print(listener.getsockname()[1], flush=True)

        def told() -> None:
            data = os.read(sys.stdin.fileno(), 1 << 16)
            if not data:
                loop.stop()
            for line in data.split():
                with contextlib.suppress(ValueError):
                    server.forget(bytes.fromhex(line.decode(errors="replace")))

        loop.watch(sys.stdin.fileno(), told)
        loop.run()
        server.close()
    segments.close()
    return 0


def _listen(config: BulkConfig) -> socket.socket:
    """At a port of those that managers are told to come to: firewalls may let no others through."""
    low, high = config.ports
    is_any = config.address in (None, "", "*")
    error: OSError = OSError(f"no port from {low} to {high} is free")
    start = os.getpid() % max(1, high - low)
    for port in (low + (start + step) % max(1, high - low) for step in range(max(1, high - low))):
        try:
            if is_any and socket.has_dualstack_ipv6():
                made = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
            else:
                family = socket.AF_INET6 if config.address is not None and ":" in config.address else socket.AF_INET
                made = socket.create_server(("" if is_any else config.address, port), family=family, backlog=_BACKLOG)
        except OSError as failed:
            error = failed
            continue
        made.setblocking(False)
        tune(made)  # what it accepts has the same buffers from the start
        return made
    raise error


if __name__ == "__main__":
    sys.exit(main())
