"""The manager's link to the interchange.

A connection is a session. When it breaks, the interchange gives this manager's calls up at once; so the manager drops
them too and joins anew, under another identity and with what its workers hold, for as long as an interchange may be
there, which `Search` decides. When there is none it ends: no worker outlives its executor.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from urllib.parse import urlparse

import zmq
from parsl import curvezmq
from parsl.addresses import tcp_url
from typing_extensions import assert_never

from parsl_context.pool.probe import Probe
from parsl_context.pool.search import Found, GiveUp, Join, Look, Next, Search
from parsl_context.wire import messages as m
from parsl_context.wire.channel import Channel, tell_of
from parsl_context.wire.codec import BATCH_FRAMES, Buffer, Decoder, Frames, encode
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.giving_way import GivingWay
from parsl_context.wire.local_link import connect

logger = logging.getLogger(f"parsl.{__name__}")

_LINGER_MS = 1000


class InterchangeNotFound(ConnectionError):
    """No interchange answers where it should be."""


def find_interchange(
    context: curvezmq.ClientContext, addresses: Sequence[str], port: int, timeout_s: float
) -> tuple[str, m.ProbeReply]:
    """URL of the first address at which an interchange answers, and its answer.

    Raises
    ------
    InterchangeNotFound
        If none does in time.
    """
    sockets: dict[zmq.Socket[bytes], str] = {}
    poller = zmq.Poller()
    try:
        for address in addresses:
            url = tcp_url(address, port)
            sock = context.socket(zmq.DEALER)
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.IDENTITY, f"probe-{uuid.uuid4().hex}".encode())
            sock.connect(url)
            sock.send_multipart(encode(m.Probe()))
            poller.register(sock, zmq.POLLIN)
            sockets[sock] = url
        ready = poller.poll(int(timeout_s * 1000))
        if ready:
            answer, _ = Decoder[m.ProbeReply](m.ProbeReply).decode(ready[0][0].recv_multipart())
            return sockets[ready[0][0]], answer
    finally:
        for sock in sockets:
            sock.close()
    tried = ", ".join(sockets.values())
    raise InterchangeNotFound(
        f"No interchange answered within {timeout_s:g} s at {tried}. Set address= of the executor to one that "
        "compute nodes can reach, and check that a firewall lets the worker ports through. Parsl's own interchange, as "
        "a stock Globus Compute engine has it, does not answer: there the launch_cmd is "
        "`python -m parsl_context.globus.pool`."
    )


def host_of(url: str) -> str:
    """Host in an URL of ZeroMQ."""
    return urlparse(url).hostname or "127.0.0.1"


class InterchangeLink:
    """Sends to the interchange, beats, and joins anew when the connection breaks.

    Results are gathered and leave together at `flush`.

    Parameters
    ----------
    local
        Name under which the interchange listens for managers of its own host.
    join
        Makes the `Joined` message of a session from the identity given.
    on_message
        Called with each message and its frames.
    on_welcome
        Called when a session was accepted, with what contexts may take of the node.
    on_break
        Called when a session ended, before the next one begins.
    on_end
        Called when there is no interchange any more, with the reason.
    """

    def __init__(
        self,
        loop: EventLoop,
        context: curvezmq.ClientContext,
        url: str,
        *,
        local: str | None,
        node: str,
        heartbeat_period_s: float,
        heartbeat_threshold_s: float,
        join: Callable[[m.ManagerId], m.Joined],
        on_message: Callable[[m.ToManager, Frames], None],
        on_welcome: Callable[[m.Limits], None],
        on_break: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._context = context
        self._url = url
        self._local = local
        self._node = node
        self._period_s = heartbeat_period_s
        self._threshold_s = heartbeat_threshold_s
        self._join = join
        self._on_message = on_message
        self._on_welcome = on_welcome
        self._on_break = on_break
        self._on_end = on_end
        self._decoder: Decoder[m.ToManager] = Decoder(m.ToManager)
        self._results: list[m.Result] = []
        self._result_frames: Frames = []
        self._sessions = 0
        self._channel: Channel | None = None  # the shorter way, or
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._timer: Timer | None = None  # of what is waited for: a word, a welcome, or the time of the next look
        self._probe: Probe | None = None
        self._search: Search | None = None  # until the interchange has said welcome
        self._welcome = False
        self._leaving = False
        self._heard = True  # something arrived since the last check
        self._give_way = GivingWay()
        self._beat()

    @property
    def manager(self) -> m.ManagerId:
        """Identity of the present session."""
        return m.ManagerId(self._node if self._sessions == 1 else f"{self._node}.{self._sessions}")

    def connect(self) -> None:
        """Begin the first session, with the interchange that `find_interchange` has found."""
        self._search = Search(self._threshold_s, time.monotonic())
        self._begin_session(connect(self._local), self._threshold_s)

    def _begin_session(self, local: socket.socket | None, within_s: float) -> None:
        self._sessions += 1
        if local is not None:
            self._channel = Channel(self._loop, local, self._received, self._local_ended, who="the interchange")
            self._channel.send([self.manager.encode()])
        else:
            self._connect_far()
        self.send(self._join(self.manager))
        self._timer = self._loop.call_later(within_s, lambda: self._not_there(Found.SILENT))

    def _connect_far(self) -> None:
        sock = self._context.socket(zmq.DEALER)
        sock.setsockopt(zmq.IDENTITY, self.manager.encode())
        sock.setsockopt(zmq.LINGER, _LINGER_MS)
        sock.set_hwm(0)
        self._socket = sock
        self._monitor = sock.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
        self._loop.watch_zmq(self._monitor, self._link_event)
        self._loop.watch_zmq(sock, self._received)
        sock.connect(self._url)

    def send(self, message: m.FromManager, frames: Sequence[Buffer] = ()) -> None:
        """Send a message in the present session; between two there is nobody to hear it."""
        if self._channel is not None:
            self._channel.send(encode(message, frames))
        elif self._socket is not None:
            try:
                self._socket.send_multipart(encode(message, frames), zmq.DONTWAIT)
            except zmq.Again:  # what answers at this address is no interchange, and ZeroMQ has given it up
                logger.warning("Session %s takes no message; %s is lost", self.manager, type(message).__name__)
            else:
                self._loop.used_zmq()

    def leave(self, reason: str) -> None:
        """Take no more calls, and go on until the interchange says that none is on its way. No session follows."""
        self._leaving = True
        if self._welcome:
            self.send(m.Leaving(reason=reason))
        else:
            self._on_end(reason)

    def send_at_once(self, result: m.Result, frames: Sequence[Buffer]) -> None:
        """Send a result now, if the link takes it, and let the interchange have it before anything else is done."""
        self.flush()
        message = m.Results(results=[result])
        if self._channel is not None and self._channel.send_at_once(encode(message, frames)):
            self._give_way()
        else:
            self.send(message, frames)

    def add_result(self, result: m.Result, frames: Sequence[Buffer]) -> None:
        """Send a result at the next flush."""
        if len(self._result_frames) + len(frames) > BATCH_FRAMES:
            self.flush()
        self._results.append(result)
        self._result_frames += frames

    def flush(self) -> None:
        """Send the results gathered."""
        if self._results:
            results, frames = self.take_results()
            self.send(m.Results(results=results), frames)

    def take_results(self) -> tuple[list[m.Result], Frames]:
        """The results gathered and their frames; they will not be sent."""
        results, frames = self._results, self._result_frames
        self._results, self._result_frames = [], []
        return results, frames

    def close(self) -> None:
        """End the session; what was sent is delivered if it can be."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()
        self._welcome = False
        if self._channel is not None:
            self._channel.finish(_LINGER_MS / 1000)
            self._channel = None
        if self._socket is None or self._monitor is None:
            return
        self._loop.unwatch_zmq(self._monitor)
        self._loop.unwatch_zmq(self._socket)
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._socket = self._monitor = None

    def _received(self, parts: Frames) -> None:
        self._heard = True
        try:
            self._take(parts)
        except Exception as error:
            # What was to be done is lost with it: the interchange must know, and give what we hold to others.
            tell_of(logger, error, "A message of the interchange could not be handled")
            self._begin_anew("a message of the interchange could not be handled")

    def _take(self, parts: Frames) -> None:
        message, _ = self._decoder.decode(parts)
        match message:
            case m.Welcome():
                logger.info("Joined as %s", self.manager)
                self._welcome = True
                self._search = None
                self._expect_contact(self._threshold_s)
                self._on_welcome(message.limits)
            case m.Refuse():
                self._on_end(f"the interchange refused this manager: {message.reason}")
            case m.Rejoin():
                self._begin_anew("the interchange gave this manager up")
            case m.Ping() | m.HeartbeatReply() | m.ProbeReply():
                pass
            case _:
                self._on_message(message, parts[1:])

    def _link_event(self, parts: Frames) -> None:
        if self._welcome:
            self._begin_anew("the connection to the interchange broke")
        else:
            self._not_there(Found.DROPPED)

    def _local_ended(self) -> None:
        if self._welcome:
            self._begin_anew("the connection to the interchange broke")
        else:
            self._local = None  # we were not let in that way
            self._not_there(Found.DROPPED)

    def break_off(self, reason: str) -> None:
        """End this session and begin another: what was to be said in it cannot be."""
        self._begin_anew(reason)

    def _begin_anew(self, reason: str) -> None:
        logger.warning("Session %s ended: %s", self.manager, reason)
        if self._leaving:
            self._on_end(reason)
            return
        self.close()
        self._on_break()
        self._search = self._search or Search(self._threshold_s, time.monotonic())
        self._look()

    def _look(self) -> None:
        """See whether an interchange is there: on this host, or whoever answers at its address."""
        local = connect(self._local)
        if local is not None:
            self._try_to_join(local, self._threshold_s)  # what breaks here is seen at once
        else:
            self._probe = Probe(self._loop, self._url, self._found)

    def _not_there(self, found: Found) -> None:
        """No welcome came of a session."""
        logger.debug("No welcome as %s: %s", self.manager, found.value)
        self.close()
        self._found(found)

    def _found(self, found: Found) -> None:
        assert self._search is not None
        self._follow(self._search.handle(found, time.monotonic()))

    def _follow(self, action: Next) -> None:
        match action:
            case Look():
                self._timer = self._loop.call_later(action.after_s, self._look)
            case Join():
                self._try_to_join(None, action.within_s)
            case GiveUp():
                self._on_end(action.reason)
            case _:
                assert_never(action)

    def _try_to_join(self, local: socket.socket | None, within_s: float) -> None:
        try:
            self._begin_session(local, within_s)
        except OSError as error:  # the node is not what it was: the run's folder is gone, or there are no descriptors
            self._on_end(f"no new session can begin: {error}")

    def _beat(self) -> None:
        if self._welcome:
            self.send(m.Heartbeat())
        self._loop.call_later(self._period_s, self._beat)

    def _expect_contact(self, within_s: float) -> None:
        """End unless something arrives within this time, again and again."""
        if self._timer is not None:
            self._timer.cancel()
        self._heard = False

        def check() -> None:
            if not self._heard:
                self._on_end(f"nothing was heard of the interchange for {within_s:g} s")
            else:
                self._expect_contact(within_s)

        self._timer = self._loop.call_later(within_s, check)
