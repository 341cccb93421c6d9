"""The executor's link to its interchange: a thread with an event loop, fed from any thread.

Calls that follow each other closely leave together, as the thread finds them; others are sent by the thread that makes
them. Nothing waits for a batch to fill. Answers to requests wake the thread that asked. The interchange runs on this
host; it holds the other end of a socket pair, which needs no encryption, and whose end is the end of the process.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import IO, TypeVar

from typing_extensions import assert_never

from parsl_context.executor.outbox import Outbox, Outgoing
from parsl_context.interchange.config import InterchangeConfig, write_config
from parsl_context.wire import messages as m
from parsl_context.wire.channel import Channel
from parsl_context.wire.codec import Buffer, Decoder, Frames, deal
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.giving_way import GivingWay

logger = logging.getLogger(f"parsl.{__name__}")

_START_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 120.0
# Calls further apart than this leave one by one. To wake the thread for each costs a system call as well, and has the
# two threads take turns at the interpreter lock. Calls of `executor.submit` in a row are closer, and those through a
# DataFlowKernel that logs each call are further apart. [s]
_APART_S = 0.25e-3

AnswerType = TypeVar("AnswerType", bound=m.Answer)


class InterchangeClient:
    """Starts an interchange process and talks with it.

    Parameters
    ----------
    on_result
        Called with the result of a call that ran, and its frames.
    on_failed
        Called with calls that ended without an outcome of their own, and the frames of the cause.
    on_cancelled
        Called with calls that were to be cancelled, and whether they are, or have started.
    on_versions_differ
        Called when a manager of other versions tried to join: the executor cannot go on.
    on_death
        Called with the exit code, if there is one, when the interchange ended and was not told to.
    on_said
        Called with lines that workers have printed.
    on_block
        Called with what became of a block. Must not wait.
    on_sought
        Called with a file that a node does not see; gives what there is of it.
    clock
        Tells how far apart calls are. [s]

    Notes
    -----
    All `on_...` are called in the client's thread.
    """

    def __init__(
        self,
        *,
        on_result: Callable[[m.Result, Sequence[Buffer]], None],
        on_failed: Callable[[m.TasksFailed, Sequence[Buffer]], None],
        on_cancelled: Callable[[Sequence[m.TaskId], bool], None],
        on_versions_differ: Callable[[m.VersionsDiffer], None],
        on_death: Callable[[int | None], None],
        on_said: Callable[[m.Said, Sequence[Buffer]], None],
        on_block: Callable[[m.BlockNews], None],
        on_sought: Callable[[m.FileSought], m.FileFound],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_result = on_result
        self._on_failed = on_failed
        self._on_cancelled = on_cancelled
        self._on_versions_differ = on_versions_differ
        self._on_death = on_death
        self._on_said = on_said
        self._on_block = on_block
        self._on_sought = on_sought
        self.process: subprocess.Popen[bytes] | None = None
        self._command: Sequence[str] = ()
        self._loop = EventLoop()
        ours, self._theirs = socket.socketpair()
        self._channel = Channel(self._loop, ours, self._received, self._interchange_ended, who="the interchange")
        self._decoder: Decoder[m.FromInterchange] = Decoder(m.FromInterchange)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._outbox = Outbox(self._channel, self._wake_writer)
        self._clock = clock
        self._last_call_at = -math.inf
        self._give_way = GivingWay()
        self._requests = itertools.count(1)
        self._asked: dict[m.RequestId, Future[m.Answer]] = {}
        self._ready: Future[m.InterchangeReady] = Future()
        self._closing = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="ContextExecutor-client", daemon=True)

    def launch(
        self,
        command: Sequence[str],
        config: Callable[[int], InterchangeConfig],
        listener: socket.socket | None = None,
    ) -> None:
        """Start the interchange. What is sent from now on reaches it.

        Parameters
        ----------
        config
            Makes the configuration from the descriptor of the interchange's end of the link.
        listener
            Where managers connect.
        """
        self._command = command
        given = () if listener is None else (listener.fileno(),)
        with self._theirs as theirs:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=(theirs.fileno(), *given), start_new_session=True
            )
            stdin: IO[bytes] | None = self.process.stdin
            assert stdin is not None
            with contextlib.suppress(BrokenPipeError):  # its death is reported below
                write_config(config(theirs.fileno()), stdin)
        self._thread.start()

    def wait(self) -> m.InterchangeReady:
        """What the interchange says when it runs.

        Raises
        ------
        RuntimeError
            If it does not start.
        """
        try:
            return self._ready.result(timeout=_START_TIMEOUT_S)
        except TimeoutError:
            raise RuntimeError(
                f"The interchange ({' '.join(self._command)}) did not start within {_START_TIMEOUT_S:g} s."
            ) from None

    def submit(self, task: m.Task, frames: Sequence[Buffer], *, is_only: bool = False) -> None:
        """Send a call. From any thread.

        Parameters
        ----------
        is_only
            No other call is on its way: this one need not wait until the thread has woken, and neither need one that
            comes some time after the one before. Calls of a burst had better, so that they leave together.
        """
        outgoing = Outgoing(task, frames)
        try:
            now = self._clock()
            is_apart = now - self._last_call_at > _APART_S
            self._last_call_at = now
            if not (is_only or (is_apart and not self._outbox)):
                self._outbox.add(outgoing)
            elif self._outbox.add_and_send(outgoing) and is_only:
                self._give_way()
        except BaseException:  # of a signal handler: nobody will wait for the call
            outgoing.withdraw()
            raise

    def send(self, message: m.ToInterchange, frames: Sequence[Buffer] = ()) -> None:
        """Send a message after what was sent before. From any thread."""
        self._outbox.add(Outgoing(message, frames))

    def ask(
        self,
        make: Callable[[m.RequestId], m.ToInterchange],
        kind: type[AnswerType],
        within_s: float = _ANSWER_TIMEOUT_S,
    ) -> AnswerType:
        """Send a request and wait for its answer. From any thread but the client's own.

        Raises
        ------
        RuntimeError
            If the interchange has ended.
        TimeoutError
            If it does not answer.
        """
        request = m.RequestId(next(self._requests))
        future: Future[m.Answer] = Future()
        self._asked[request] = future
        self.send(make(request))
        if self._ended:
            self._fail_requests()
        try:
            answer = future.result(timeout=within_s)
        finally:
            self._asked.pop(request, None)
        assert isinstance(answer, kind)
        return answer

    def quit(self, timeout_s: float) -> None:
        """Tell the interchange to end. From then on nothing is heard of it."""
        self._closing = True
        self.send(m.Quit())
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_s)

    def close(self, timeout_s: float) -> None:
        """Wait for the end of the interchange, which waits for clean-ups, and release everything."""
        if self.process is not None:
            try:
                self.process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                logger.warning("The interchange does not end; killing process %d", self.process.pid)
                self.process.kill()
                self.process.wait()
            if self.process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self.process.stdin.close()
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_s)
        if not self._thread.is_alive():
            self._channel.close()
        self._wake_writer.close()

    # --- in the thread

    @property
    def is_this_thread(self) -> bool:
        """Whether it is the client's thread that asks."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        loop = self._loop
        loop.watch(self._wake_reader, self._woken)
        loop.run()
        self._channel.close()
        loop.close()
        self._wake_reader.close()
        self._ended = True  # before the requests fail: one made after that fails itself
        self._fail_requests()

    def _woken(self) -> None:
        self._wake_reader.recv(4096)
        self._outbox.empty()

    def _received(self, parts: Frames) -> None:
        message, frames = self._decoder.decode(parts)
        match message:
            case m.Results():
                for result, own in deal(message.results, frames):
                    self._on_result(result, own)
            case m.TasksFailed():
                self._on_failed(message, frames)
            case m.TasksCancelled():
                self._on_cancelled(message.tasks, True)
            case m.CancelsRefused():
                self._on_cancelled(message.tasks, False)
            case m.InterchangeReady():
                self._ready.set_result(message)
            case m.Said():
                self._on_said(message, frames)
            case m.BlockNews():
                self._on_block(message)
            case m.FileSought():
                self.send(self._on_sought(message))
            case m.Notice():
                logger.warning("%s", message.text)
            case m.VersionsDiffer():
                self._on_versions_differ(message)
            case m.ManagerList() | m.PackageList() | m.BlockList() | m.ContextList() | m.Useful() | m.Done():
                asked = self._asked.get(message.request)
                if asked is not None:
                    asked.set_result(message)
            case _:
                assert_never(message)

    def _interchange_ended(self) -> None:
        """The other end is closed: only the end of the process does that."""
        self._loop.stop()
        if self._closing or self.process is None:
            return
        try:
            exit_code: int | None = self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            exit_code = None
        if not self._ready.done():
            self._ready.set_exception(RuntimeError(f"The interchange ended as it started, status {exit_code}."))
        self._on_death(exit_code)

    def _fail_requests(self) -> None:
        for asked in list(self._asked.values()):
            if not asked.done():
                asked.set_exception(RuntimeError("The interchange has ended."))
