"""The environments of a node: each is made usable when it is first needed, and has a zygote of its own.

    absent ──prepare──▶ in a thread: fetched, unpacked ──▶ its interpreter starts ──▶ a `Nest`
                              │                                    │
                              └────────────── failed ◀─────────────┘   (and is tried again when it is needed again)

What takes time does so in a thread; processes are started by the first thread, since they end with the thread that has
started them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from parsl_context.errors import EnvironmentUnusableError, ParslContextError
from parsl_context.pool import apart
from parsl_context.pool.apart import Told
from parsl_context.retain import processes
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Environment, EnvironmentName

if TYPE_CHECKING:  # nodes whose contexts name no environment do without
    from parsl_context.distribute.environments.adopting import Bringing
    from parsl_context.distribute.peers.mailbox import Mailbox

logger = logging.getLogger(f"parsl.{__name__}")

_PACKET_BYTES = 1 << 16


@dataclass(eq=False)
class Nest:
    """A zygote in an environment, which stays usable as long as it does."""

    environment: Environment
    control: socket.socket
    process: subprocess.Popen[bytes]
    holds: contextlib.ExitStack
    start_s: float = 0.0  # time that it took until it was ready

    @property
    def name(self) -> EnvironmentName:
        """That of its environment."""
        return self.environment.name

    def close(self) -> None:
        """Nothing more is forked from it; it ends what it has forked, and then itself."""
        self.control.close()
        self.holds.close()

    def ended(self, code: int) -> None:
        """It was reaped by its number."""
        self.process.returncode = code


@dataclass(eq=False)
class _Wait:
    """One who waits for an environment."""

    ready: Callable[[Nest], None]
    failed: Callable[[], None]


@dataclass(eq=False)
class _Coming:
    """A nest that is being made."""

    environment: Environment
    waits: list[_Wait]
    began_at: float = field(default_factory=time.monotonic)


class NodeEnvironments:
    """Makes nests, and keeps those that may be used again.

    Parameters
    ----------
    told
        What zygotes are told.
    bringing
        How archives come here.

    Attributes
    ----------
    on_began, on_ready, on_gone : callable
        Called with an environment that is kept when it is being started; has been, with the time that it took; and must
        be started anew when it is needed.
    on_broken : callable
        Called with an environment that cannot be used, and why.
    """

    def __init__(self, loop: EventLoop, told: Told, bringing: Callable[[], Bringing]) -> None:
        self._loop = loop
        self._told = told
        self._bringing = bringing
        self._known: dict[EnvironmentName, Environment] = {}
        self._nests: dict[EnvironmentName, Nest] = {}
        self._starting: dict[Nest, _Coming] = {}
        self._coming: dict[EnvironmentName, _Coming] = {}
        self._mail: Mailbox | None = None
        self.by_pid: dict[int, Nest] = {}
        self.on_broken: Callable[[EnvironmentName, EnvironmentUnusableError], None] = lambda name, error: None
        self.on_began: Callable[[Environment], None] = lambda environment: None
        self.on_ready: Callable[[Environment, float], None] = lambda environment, start_s: None
        self.on_gone: Callable[[Environment], None] = lambda environment: None
        self._is_closed = False

    def tell_all(self) -> None:
        """Tell of all that are kept as if it had just happened, to those who have not heard it."""
        for coming in self._coming.values():
            self.on_began(coming.environment)
        for nest in self._nests.values():
            self.on_ready(nest.environment, nest.start_s)

    def declare(self, environment: Environment) -> None:
        """Contexts may name it from now on."""
        self._known[environment.name] = environment

    def want(
        self,
        name: EnvironmentName,
        ready: Callable[[Nest], None],
        failed: Callable[[], None],
    ) -> None:
        """Have one of these called: at once where there is a nest, else later.

        When all who waited know that it failed, `on_broken` is called.
        """
        if (nest := self._nests.get(name)) is not None:
            ready(nest)
            return
        wait = _Wait(ready, failed)
        if (coming := self._coming.get(name)) is not None:
            coming.waits.append(wait)
            return
        environment = self._known[name]
        coming = _Coming(environment, [wait])
        if environment.is_kept:
            self._coming[name] = coming
            self.on_began(environment)
        self._adopt(coming)

    def reaped(self, ended: processes.Exit) -> bool:
        """A child of ours has ended. Gives whether it was one of these."""
        nest = self.by_pid.pop(ended.pid, None)
        if nest is None:
            return False
        nest.ended(ended.code if ended.code is not None else -(ended.signal or 0))
        if nest in self._starting:
            self._hear(nest)  # the last of what it said
        elif self._nests.get(nest.name) is nest:
            logger.warning("The zygote of environment %s died: %s", nest.environment.source, ended)
            del self._nests[nest.name]
            nest.close()
            self.on_gone(nest.environment)
        return True

    def close(self) -> None:
        """End all zygotes; none of their workers is left."""
        self._is_closed = True
        nests = list(self.by_pid.values())
        for nest in nests:
            if nest in self._starting:
                self._loop.unwatch(nest.control)
            nest.close()
        for nest in nests:
            processes.kill(nest.process.pid)  # it has nothing left to do, and may be stopped
            with contextlib.suppress(ChildProcessError):
                os.waitpid(nest.process.pid, 0)
            nest.ended(0)
        self.by_pid.clear()
        if self._mail is not None:
            self._mail.close()

    # --- how one is made

    def _adopt(self, coming: _Coming) -> None:
        from parsl_context.distribute.environments import interpreters, runtime
        from parsl_context.distribute.environments.adopting import adopt
        from parsl_context.distribute.peers.mailbox import Mailbox

        mail = self._mail = self._mail or Mailbox(self._loop)
        bringing = self._bringing()

        def work() -> None:
            holds = contextlib.ExitStack()
            try:
                top = adopt(coming.environment, bringing, holds)
                made = Path(tempfile.mkdtemp(prefix="runtime-", dir=self._told.code_folder))
                holds.callback(shutil.rmtree, made, ignore_errors=True)
                if (reason := runtime.lend(interpreters.sites_of(top), made)) is not None:
                    raise _unusable(coming, reason)
            except Exception as error:
                failure = error
                holds.close()
                mail.put(lambda: self._fail(coming, failure))
            else:
                mail.put(lambda: self._begin(coming, top, made, holds))

        threading.Thread(target=work, name="environment", daemon=True).start()

    def _begin(self, coming: _Coming, top: Path, runtime: Path, holds: contextlib.ExitStack) -> None:
        from parsl_context.distribute.environments import interpreters

        if self._is_closed:
            holds.close()
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = subprocess.Popen(
                apart.command(interpreters.python_in(top), theirs.fileno(), runtime, self._told),
                pass_fds=(theirs.fileno(), *self._told.descriptors),
                env=interpreters.variables(top, dict(os.environ)),
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            ours.close()
            holds.close()
            self._fail(coming, error)
            return
        finally:
            theirs.close()
        nest = Nest(coming.environment, ours, process, holds)
        self.by_pid[process.pid] = nest
        self._starting[nest] = coming
        self._loop.watch(ours, lambda: self._hear(nest))

    def _hear(self, nest: Nest) -> None:
        """It has said that it is ready, or why not, or has ended without a word."""
        coming = self._starting.pop(nest, None)
        if coming is None:
            return
        self._loop.unwatch(nest.control)
        try:
            said = nest.control.recv(_PACKET_BYTES)
        except OSError:
            said = b""
        if said != apart.READY:
            nest.close()
            text = said.removeprefix(apart.FAILED).decode("utf-8", "replace").strip()
            logger.warning("The interpreter of %s cannot be used: %s", coming.environment.source, text or "it ended")
            last = text.splitlines()[-1] if text else "it ended without a word; see the output of the block's job"
            self._fail(coming, _unusable(coming, f"its interpreter cannot run workers: {last}"))
            return
        nest.start_s = time.monotonic() - coming.began_at
        logger.info("Environment %s is ready after %.2f s", coming.environment.source, nest.start_s)
        self._coming.pop(nest.name, None)
        if nest.environment.is_kept:
            self._nests[nest.name] = nest
        for wait in coming.waits:
            wait.ready(nest)
        if nest.environment.is_kept:
            self.on_ready(nest.environment, nest.start_s)

    def _fail(self, coming: _Coming, error: Exception) -> None:
        self._coming.pop(coming.environment.name, None)
        if not isinstance(error, ParslContextError):
            logger.error("Environment %s cannot be made", coming.environment.source, exc_info=error)
        if not isinstance(error, EnvironmentUnusableError):
            error = _unusable(coming, str(error) or type(error).__name__)
        logger.warning("%s", error)
        if not self._is_closed:
            for wait in coming.waits:
                wait.failed()
            if coming.environment.is_kept:
                self.on_gone(coming.environment)
            self.on_broken(coming.environment.name, error)


def _unusable(coming: _Coming, reason: str) -> EnvironmentUnusableError:
    return EnvironmentUnusableError(environment=coming.environment.source, reason=reason)
