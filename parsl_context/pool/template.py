"""A template: a process that built contexts once and forks workers that own them copy-on-write.

It builds what the manager tells it to, freezes what the garbage collector would otherwise touch in every child, makes
sure that it may be forked from, and then only forks. It keeps one thread throughout. It ends when the manager says so
or is gone; the clean-ups of its contexts run then, here and nowhere else.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
from collections.abc import Sequence

from typing_extensions import assert_never

from parsl_context.parsl_parts.compat import start_logging
from parsl_context.parsl_parts.titles import set_title
from parsl_context.pool import worker
from parsl_context.pool.bond import Bond
from parsl_context.pool.forking import Nursery, receive_fork
from parsl_context.pool.preparing import threads_of, voice_of
from parsl_context.pool.settings import WorkerSettings
from parsl_context.retain import calls, echoing, large_pages, processes, sharing, surroundings
from parsl_context.retain.instances import Instances
from parsl_context.retain.loader import Loader, in_a_line, kinds_of, pack_error
from parsl_context.retain.processes import die_with
from parsl_context.retain.speaking import Voice, mark_logs
from parsl_context.wire import messages as m
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Buffer, Decoder, encode, make_payload

logger = logging.getLogger(f"parsl.{__name__}")

# What follows the builds of contexts may take as long as those did, or so long. [s]
_GATHER_S = 1.0


def main(
    channel: socket.socket,
    control: socket.socket,
    guard: socket.socket,
    message: m.ForkTemplate,
    settings: WorkerSettings,
) -> int:
    """Serve the manager until it says so or is gone. Gives the exit status."""
    bond = Bond(settings)
    set_title("template")
    signal.signal(signal.SIGINT, processes.interrupt)
    start_logging(settings.log_config, settings.log_dir, "template", debug=settings.debug)
    mark_logs()
    echoing.start(settings.echo, "template", always=message.echo)
    return Template(channel, control, guard, settings, bond).run()


class Template:
    """The loop of a template."""

    def __init__(
        self,
        channel: socket.socket,
        control: socket.socket,
        guard: socket.socket,
        settings: WorkerSettings,
        bond: Bond,
    ) -> None:
        self._sockets = (channel, control)
        self._guard = guard
        self._bond = bond
        self._channel = WorkerChannel(channel)
        self._control = control
        self._settings = settings
        self._decoder: Decoder[m.ToTemplate] = Decoder(m.ToTemplate)
        self._loader = Loader(self._send, Instances(), Voice("template"), settings.code_folder, settings.node_store)
        self._nursery = Nursery(guard)
        self._variables = sharing.hold_threads()
        self._limits = surroundings.Limits()  # of contexts: they hold in workers, and while contexts are built
        calls.resident = self._loader.instances

    def run(self) -> int:
        """Build, freeze, fork, clean up."""
        self._send(m.WorkerUp(pid=os.getpid(), inherited=[]))
        try:
            while self._channel.has_message() or self._wait():
                frames = self._channel.receive()
                if frames is None:
                    break
                message, rest = self._decoder.decode(frames)
                if isinstance(message, m.Exit):
                    break
                self._handle(message, rest)
        finally:
            self._loader.instances.close()
            processes.flush_streams()
        return 0

    def _wait(self) -> bool:
        """Fork what is asked for until a message arrives. False when the manager is gone."""
        channel, control = self._sockets
        while True:
            readable, _, _ = select.select([channel, control], [], [])
            if control in readable:
                request = receive_fork(control)
                if request is None:
                    return False
                message, ends = request
                assert isinstance(message, m.ForkWorker)
                try:
                    self._nursery.fork(lambda message=message, ends=ends: self._become_worker(message, ends))  # type: ignore[misc]
                except OSError as error:
                    _tell_not_forked(ends[0], error)
                for end in ends:
                    end.close()
            if channel in readable:
                return True

    def _become_worker(self, message: m.ForkWorker, ends: list[socket.socket]) -> int:
        die_with(self._settings.manager_pid)  # the worker's bond comes after code of the user's
        for sock in (*self._sockets, self._guard):
            sock.close()
        isolated = self._loader.instances.isolated(self._loader.instances)
        # A worker that is to be forked again must start no thread pools; its children may.
        sharing.make_distinct(self._variables, 1 if isolated else threads_of(message, self._settings))
        self._loader.instances.about = voice_of(message.worker).about
        _inherit(self._loader.instances, WorkerChannel(ends[0]))
        return worker.main(ends, message, self._settings, self._loader.instances, self._limits.theirs)

    def _handle(self, message: m.ToTemplate, frames: Sequence[Buffer]) -> None:
        match message:
            case m.StoreBlobs():
                self._loader.store(message, frames)
            case m.LoadContext():
                self._load(message.context)
            case m.Freeze():
                gc.collect()
                self._gather()
                gc.freeze()
                self._send(m.Frozen())
            case m.Exit():
                raise AssertionError("handled by the loop")
            case _:
                assert_never(message)

    def _gather(self) -> None:
        """Make it cheap to fork the workers again, for each of their calls, if that is to be done."""
        instances = self._loader.instances
        if instances.isolated(instances):
            large_pages.gather(max(_GATHER_S, sum(map(instances.load_s, instances))))

    def _load(self, context: m.Digest) -> None:
        if context in self._loader.instances:
            return  # it was built on the way to another, and looked at then
        self._limits.impose()
        with self._bond.building(self._loader.instances):
            is_built = self._loader.load(context, None)
        self._limits.note()
        self._limits.lift()
        if not is_built:
            return
        surroundings.tidy()
        processes.flush_streams()  # what a limit has kept from being written
        sharing.stop_helpers()
        if (reason := sharing.why_unsafe()) is not None:
            self._send(m.Unshareable(context=context, reason=reason))

    def _send(self, message: m.FromWorker, frames: Sequence[Buffer] = ()) -> None:
        self._channel.send(encode(message, frames))


def _tell_not_forked(end: socket.socket, error: OSError) -> None:
    """Tell the manager in the place of a worker that was not forked: it is no fault of the contexts."""
    logger.warning("No worker can be forked now: %s", error)
    payload, frames = make_payload(pack_error(error))
    message = m.NotForked(reason=str(error), error=payload, kinds=kinds_of(error))
    with contextlib.suppress(OSError):  # the manager is gone
        WorkerChannel(end).send(encode(message, frames))


def _inherit(instances: Instances, channel: WorkerChannel) -> None:
    """Run the hooks of what was inherited; the manager is told of each, and of what one raises."""
    begun: list[m.Digest] = []

    def tell(context: m.Digest) -> None:
        begun.append(context)
        channel.send(encode(m.HookBegan(pid=os.getpid(), context=context)))

    try:
        instances.inherit(tell)
    except BaseException as error:
        payload, frames = make_payload(pack_error(error))
        failed = m.LoadFailed(context=begun[-1], task=None, error=payload, kinds=kinds_of(error), text=in_a_line(error))
        channel.send(encode(failed, frames))
        raise
