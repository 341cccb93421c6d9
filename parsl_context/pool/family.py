"""The processes of a node: workers and templates, how they start, what they were sent, and how they end.

Knows nothing of calls and decides nothing; the manager tells it what to start and to end, and is told what members say
and that they have died.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from parsl_context.distribute import code_files
from parsl_context.errors import CarriedCodeError
from parsl_context.pool import accelerators, hardware
from parsl_context.pool.environments import Nest as Nest
from parsl_context.pool.environments import NodeEnvironments
from parsl_context.pool.forking import request_fork
from parsl_context.pool.leftovers import Leftovers
from parsl_context.pool.settings import ManagerSettings
from parsl_context.retain import processes
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import TemplateKey
from parsl_context.wire import messages as m
from parsl_context.wire.channel import Channel
from parsl_context.wire.codec import Buffer, Frames, encode
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import Digest, EnvironmentName, WorkerId

logger = logging.getLogger(f"parsl.{__name__}")

# A process whose stream has ended has this long to end by itself. [s]
_STREAM_GRACE_S = 0.5
# Deaths that are remembered while a process of ours has not said which it is: it has died just now if it has. Others
# are of what the user's code has left to us.
_EXITS_KEPT = 1024
# Time for clean-ups until the interchange says otherwise. [s]
CLEANUP_S = 5.0


@dataclass(eq=False)
class Member:
    """A process that serves, or served, a worker or a template."""

    channel: Channel
    worker: WorkerId | None = None
    template: TemplateKey | None = None
    control: socket.socket | None = None  # of a template: takes requests to fork
    claims: tuple[socket.socket, socket.socket] | None = None  # of a worker: both ends, see `allow`
    started_at: float = field(default_factory=time.monotonic)
    pid: int | None = None  # known from its first message on
    group: int | None = None  # process group of what it starts
    known: set[Digest] = field(default_factory=set)  # content that it was sent
    tasks: deque[m.TaskId] = field(default_factory=deque)
    resident: set[Digest] = field(default_factory=set)
    has_clean_ups: bool = False  # of contexts that it has built
    retired: bool = False  # told to end; what it says no longer counts
    is_frozen: bool = False  # a template that workers can be forked from
    cleaning: Digest | None = None  # context whose clean-up it runs
    limit: Timer | None = None  # for that clean-up
    building: Digest | None = None  # what it was told to build, and has begun
    builds: list[Timer] = field(default_factory=list)  # for the context function that runs: a warning, and an end
    nest: Nest | None = None  # the environment that it runs in; None: the manager's own
    is_up: bool = False  # it is ready to be told what to do
    overdue: m.Overdue | None = None  # the build for which it was killed
    fork_of: TemplateKey | None = None  # the template that was asked to fork it
    error: tuple[m.LoadFailed | m.NotForked, Sequence[Buffer]] | None = None  # what a hook raised, of which it dies;
    # or why there is no such process

    @property
    def environment(self) -> EnvironmentName:
        """Name of the environment that it runs in."""
        return node.MANAGERS_OWN if self.nest is None else self.nest.name

    @property
    def name(self) -> str:
        """What people call it."""
        return f"Worker {self.worker}" if self.worker is not None else "Template"

    def send(self, message: msgspec.Struct, frames: Iterable[Buffer] = ()) -> None:
        """Send it a message."""
        self.channel.send(encode(message, frames))

    def allow(self) -> None:
        """Let the worker start one more call of those that may be taken back.

        A byte for each such call goes into a socket pair. The worker takes one out before it starts the call, and so
        does the manager to take a call back: the kernel gives a byte to one of them.
        """
        assert self.claims is not None
        self.claims[0].send(b"\0")

    def revoke(self, count: int) -> int:
        """Take back up to this many calls. Gives how many the worker will not start."""
        assert self.claims is not None
        try:
            return len(self.claims[1].recv(count, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0

    def end_limits(self) -> None:
        """The context function, or the hook of one, that ran has ended."""
        for timer in self.builds:
            timer.cancel()
        self.builds.clear()

    def close(self) -> None:
        """Close our ends."""
        self.channel.close()
        for end in self.claims or ():
            end.close()
        if self.control is not None:
            self.control.close()
            self.control = None


class Family:
    """Starts, supplies and ends processes.

    Parameters
    ----------
    zygote, zygote_pid
        The process that the first ones are forked from.
    environments
        Others, in which workers may run; None: there are none.
    code_folder
        For the user's modules.
    segments
        Directory of segments that workers are to use.
    echo
        Whether all that members print goes to the script.
    on_zygote_death
        Called when the zygote died.
    """

    def __init__(
        self,
        loop: EventLoop,
        settings: ManagerSettings,
        zygote: socket.socket,
        zygote_pid: int,
        *,
        code_folder: Path,
        segments: str | None,
        echo: bool,
        on_zygote_death: Callable[[], None],
        environments: NodeEnvironments | None = None,
    ) -> None:
        self._loop = loop
        self._environments = environments
        self._settings = settings
        self._zygote = zygote
        self._zygote_pid: int | None = zygote_pid
        self._code_folder = code_folder
        self._segments = segments
        self._echo = echo
        self._on_zygote_death = on_zygote_death
        self._leftovers = Leftovers(loop)
        self._on_message: Callable[[Member, Frames], None]  # see `listen`
        self._on_death: Callable[[Member, processes.Exit], None]
        self.cleanup_s = CLEANUP_S
        self.build_s: float | None = None
        self.workers: dict[WorkerId, Member] = {}
        self.templates: dict[TemplateKey, Member] = {}
        self._by_pid: dict[int, Member] = {}
        self._nameless = 0  # members whose first message is still to come
        self._exits: dict[int, processes.Exit] = {}  # deaths that may be of such, or of strangers
        self._blobs: dict[Digest, tuple[m.Blob, Buffer | None]] = {}  # without content: it is a file by now
        self._options: dict[Digest, m.ContextOptions] = {}

    def listen(
        self, *, on_message: Callable[[Member, Frames], None], on_death: Callable[[Member, processes.Exit], None]
    ) -> None:
        """Say who is told, before the first process is started.

        Parameters
        ----------
        on_message
            Called with what a member says.
        on_death
            Called when a member that was not retired has died, after the last of what it said.
        """
        self._on_message = on_message
        self._on_death = on_death

    # --- content

    def store(self, blob: m.Blob, frame: Buffer) -> None:
        """Keep content for members. Files are written for all of them at once, or sent to each if that fails."""
        is_written = blob.is_file and blob.stretch is None and self._write(blob.digest, frame)
        self._blobs[blob.digest] = (blob, None if is_written else frame)

    def _write(self, digest: Digest, data: Buffer) -> bool:
        try:
            code_files.write(self._code_folder, digest, data)
        except (OSError, CarriedCodeError) as error:
            logger.warning("A file of the user's modules cannot be written: %s", error)
            return False
        return True

    def label(self, digest: Digest) -> str:
        """Name of some content for people."""
        return self._blobs[digest][0].label if digest in self._blobs else digest

    def declare(self, context: Digest, options: m.ContextOptions) -> None:
        """Know what a context needs and how long it lasts."""
        self._options[context] = options

    def max_age_s(self, context: Digest) -> float | None:
        """Age from which an instance of a context is to be built anew, if there is one. [s]"""
        return self._options[context].max_age_s if context in self._options else None

    def build_timeout_s(self, context: Digest) -> float | None:
        """Time that a build of a context may take, if there is a limit. [s]"""
        own = self._options[context].build_timeout_s if context in self._options else None
        return self.build_s if own is None else own

    def provide(self, member: Member, digests: Sequence[Digest]) -> None:
        """Send a member content that it lacks, with what that requires."""
        if member.known.issuperset(digests):
            return
        wanted = deque(digests)
        while wanted:
            digest = wanted.popleft()
            if digest not in member.known:
                member.known.add(digest)
                blob, frame = self._blobs[digest]
                if frame is not None:
                    member.send(m.StoreBlobs(blobs=[blob]), [frame])
                wanted.extend(blob.needs)
                if digest in self._options:
                    wanted.extend(self._options[digest].requires)

    def forget(self, digests: list[Digest]) -> None:
        """Drop content here and in all members."""
        for digest in digests:
            self._blobs.pop(digest, None)
            self._options.pop(digest, None)
        for member in self.workers.values():
            known = [digest for digest in digests if digest in member.known or digest in member.resident]
            member.known.difference_update(known)
            if known:
                member.send(m.ForgetBlobs(digests=known))

    def forget_all(self) -> None:
        """Drop all content; what members hold of it they keep until it is sent again."""
        self._blobs.clear()
        self._options.clear()
        for member in [*self.workers.values(), *self.templates.values()]:
            member.known.clear()

    # --- life

    def start_worker(self, worker: WorkerId, template: TemplateKey | None = None, nest: Nest | None = None) -> None:
        """Start a process for a worker, forked from a template, or from the zygote of an environment or the manager's.

        Raises
        ------
        OSError
            If the system has no room for it; there is no process for the worker then.
        """
        self.workers.pop(worker, None)
        with contextlib.ExitStack() as undo:
            if nest is not None and not nest.environment.is_kept:
                undo.callback(nest.close)
            self._start_worker(worker, template, nest)
            undo.pop_all()

    def _start_worker(self, worker: WorkerId, template: TemplateKey | None, nest: Nest | None) -> None:
        settings = self._settings
        environment: dict[str, str] = {}
        cores = hardware.cores_of_worker(settings.cpu_affinity, worker, settings.workers)
        if cores is not None:
            environment |= hardware.affinity_environment(cores)
        if settings.accelerators:
            environment |= accelerators.accelerator_environment(
                settings.accelerators, worker, settings.workers, accelerators.devices_here(), os.environ
            )
        message = m.ForkWorker(
            worker=worker, environment=environment, cores=cores, segments=self._segments, echo=self._echo
        )
        with contextlib.ExitStack() as made:
            ours, theirs = (made.enter_context(end) for end in socket.socketpair())
            claims = socket.socketpair()
            for end in claims:
                made.enter_context(end)
            parent = self.templates.get(template) if template is not None else None
            is_forked = parent is not None and self._try_fork(parent, message, theirs, claims[1])
            if not is_forked:
                request_fork(self._zygote if nest is None else nest.control, message, theirs, claims[1])
            made.pop_all()
        theirs.close()
        member = self.workers[worker] = self._add(ours, worker=worker)
        member.nest = nest
        member.fork_of = template if is_forked else None
        member.claims = claims

    def start_template(self, template: TemplateKey, nest: Nest | None = None) -> Member:
        """Start a process that is to build these contexts.

        Raises
        ------
        OSError
            If the system has no room for it.
        """
        with contextlib.ExitStack() as made:
            ours, theirs = (made.enter_context(end) for end in socket.socketpair())
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            control, their_control = (made.enter_context(end) for end in pair)
            zygote = self._zygote if nest is None else nest.control
            request_fork(zygote, m.ForkTemplate(echo=self._echo), theirs, their_control)
            made.pop_all()
        theirs.close()
        their_control.close()
        member = self.templates[template] = self._add(ours, template=template, control=control)
        member.nest = nest
        return member

    def end_template(self, template: TemplateKey) -> bool:
        """End a template; workers forked from it stay. Gives whether more could have been forked."""
        member = self.templates.pop(template, None)
        if member is None:
            return False
        self.retire(member)
        return member.is_frozen

    def retire(self, member: Member, *, kill: bool = False) -> None:
        """Tell a process to end; nothing it says counts any more."""
        member.retired = True
        member.end_limits()
        if kill and member.pid is not None:
            processes.kill(member.pid)
        else:
            member.send(m.Exit())
            self._loop.call_later(self.cleanup_s, lambda: self._end_late(member))

    def kill(self, member: Member) -> None:
        """End a process at once; `on_death` is called as for any other death."""
        if member.pid is not None:
            processes.kill(member.pid)

    def greet(self, member: Member, pid: int) -> bool:
        """Take a member's first message into account. False if the member has died meanwhile."""
        if member.pid is not None:
            return True
        member.pid = pid
        member.group = processes.group_of(pid)
        self._by_pid[pid] = member
        ended = self._exits.pop(pid, None)
        self._has_name()
        if ended is not None:
            self._bury(member, ended)
            return False
        return True

    def reap(self) -> None:
        """Notice processes that have ended."""
        for ended in processes.reap():
            member = self._by_pid.get(ended.pid)
            if member is not None:
                member.channel.read()  # the last of what it said
                self._bury(member, ended)
            elif ended.pid == self._zygote_pid:
                self._zygote_pid = None
                self._on_zygote_death()
            elif self._environments is not None and self._environments.reaped(ended):
                pass
            elif self._nameless:
                self._exits.pop(ended.pid, None)
                self._exits[ended.pid] = ended
                if len(self._exits) > _EXITS_KEPT:
                    del self._exits[next(iter(self._exits))]

    def end_all(self, on_clean: Callable[[], None]) -> None:
        """End everything; members run their clean-ups, and those that take too long are killed.

        Parameters
        ----------
        on_clean
            Called when no member is left that has something to clean up. Others may still run calls.
        """
        for member in [*self.workers.values(), *self.templates.values()]:
            if not member.retired:
                self.retire(member)
        deadline = time.monotonic() + self.cleanup_s
        is_clean = False
        while self._by_pid and time.monotonic() < deadline:
            if not is_clean and not any(map(_may_clean_up, self._by_pid.values())):
                is_clean = True
                on_clean()
            self._hear()
            self.reap()
            time.sleep(0.005)
        for member in list(self._by_pid.values()):
            self._end_late(member)
        self._await_ends(processes.LEFT_GRACE_S)
        if not is_clean:
            on_clean()
        if self._environments is not None:
            self._environments.close()
        self._zygote.close()
        if self._zygote_pid is not None:
            processes.kill(self._zygote_pid)  # it has nothing left to do, and may be stopped
            os.waitpid(self._zygote_pid, 0)
        self._leftovers.end_all()

    def _hear(self) -> None:
        """Take what members say while the loop does not run: which clean-up they are in. Unheard, they would block."""
        for member in list(self._by_pid.values()):
            member.channel.read()

    def _await_ends(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._by_pid and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.005)

    def _end_late(self, member: Member) -> None:
        """Kill a process that has not ended in time."""
        if member.pid is None or member.pid not in self._by_pid:
            return
        doing = f", in the clean-up of context {self.label(member.cleaning)}," if member.cleaning is not None else ""
        text = "%s (process %d) did not end within %g s%s and is killed"
        logger.warning(text, member.name, member.pid, self.cleanup_s, doing)
        processes.kill(member.pid)

    def _add(
        self,
        ours: socket.socket,
        *,
        worker: WorkerId | None = None,
        template: TemplateKey | None = None,
        control: socket.socket | None = None,
    ) -> Member:
        member: Member
        channel = Channel(
            self._loop,
            ours,
            on_message=lambda frames: self._on_message(member, frames),
            on_end=lambda: self._stream_ended(member),
            who="a template" if worker is None else f"worker {worker}",
        )
        member = Member(channel, worker=worker, template=template, control=control)
        self._nameless += 1
        return member

    @staticmethod
    def _try_fork(parent: Member, message: m.ForkWorker, *ends: socket.socket) -> bool:
        if parent.control is None:
            return False
        try:
            request_fork(parent.control, message, *ends)
        except OSError:
            return False  # it has just died
        return True

    def _stream_ended(self, member: Member) -> None:
        """The other end is closed: the process ends, or it broke the stream; make sure of the first."""
        if member.pid is None:
            self._has_name()
            self._bury(member, processes.Exit(0, None, None))
        elif member.pid in self._by_pid:
            self._loop.call_later(_STREAM_GRACE_S, lambda: self._kill_if_alive(member))

    def _has_name(self) -> None:
        """One member fewer is to say what its process is, or it never will."""
        self._nameless -= 1
        if not self._nameless:
            self._exits.clear()  # of strangers, whose numbers others may get

    def _kill_if_alive(self, member: Member) -> None:
        if member.pid in self._by_pid and not member.retired:
            processes.kill(member.pid)

    def _bury(self, member: Member, ended: processes.Exit) -> None:
        if self._by_pid.pop(ended.pid, None) is not None:
            self._leftovers.end(ended.pid, member.group)
        member.end_limits()
        member.close()
        if member.nest is not None and not member.nest.environment.is_kept:
            member.nest.close()
        if not member.retired:
            member.retired = True
            self._on_death(member, ended)


def _may_clean_up(member: Member) -> bool:
    return bool(member.has_clean_ups or member.building or member.cleaning)
