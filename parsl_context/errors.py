"""Every exception a user may meet.

Each says what happened, to which task, context, manager and block, the likely cause and the next step. Identifiers
are attributes as well as text. All survive pickling, because DataFlowKernel checkpoints and remote workers pickle them.
`transient` tells whether a retry can help.
"""

from __future__ import annotations

import platform
import signal as signals
from typing import Any

from parsl.errors import ParslError
from parsl.executors.high_throughput.errors import ManagerLost as HTEXManagerLost
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.executors.high_throughput.errors import WorkerLost as HTEXWorkerLost
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.serialize.errors import SerializationError


class ParslContextError(ParslError):
    """Base class of what this package raises."""

    transient = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only constructors are not covered by what BaseException does.
        return _restore, (type(self), self.args, dict(self.__dict__), self.__cause__)


def _restore(
    kind: type[ParslContextError],
    args: tuple[Any, ...],
    attributes: dict[str, Any],
    cause: BaseException | None,
) -> ParslContextError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    if cause is not None:  # setting it, even to None, would hide the exception that was being handled
        error.__cause__ = cause
    return error


class ConfigurationError(ParslContextError, ValueError):
    """An executor, context or app was given something that cannot work."""


class ContextDriftWarning(UserWarning):
    """Calls have changed a context that others share."""


class SplitError(ConfigurationError):
    """A function cannot be split into a context and a body.

    Attributes
    ----------
    function : str
        Its qualified name.
    file : str
        The file that it is written in; empty if that is not known.
    line : int
        The line of what is in the way.
    reason : str
        What that is, and what to do.
    """

    def __init__(self, function: str, file: str, line: int, reason: str) -> None:
        self.function = function
        self.file = file
        self.line = line
        self.reason = reason
        place = f" ({file}, line {line})" if file else ""
        ParslError.__init__(self, f"{function}{place} cannot be split: {reason}")


_CREATE_THERE = (
    "Create objects that cannot travel (connections, locks, open files, device handles) inside the context function "
    "instead."
)


class ContextSerializationError(ParslContextError, SerializationError):
    """A context, a body or an argument cannot be sent to a worker, or a result cannot be sent back.

    Attributes
    ----------
    part : str
        What could not be serialized.
    """

    def __init__(self, part: str, cause: BaseException, advice: str = _CREATE_THERE) -> None:
        self.part = part
        reason = sentence(_told(cause))
        ParslError.__init__(self, f"{part} cannot be serialized: {reason} {advice}")

    def __str__(self) -> str:
        return str(self.args[0])


class CarriedCodeError(ParslContextError):
    """Code of the user's is not the same where it runs: a module changed on disk, or its name is taken there."""

    def __init__(self, text: str) -> None:
        ParslError.__init__(self, text)


class ContextBuildError(ParslContextError):
    """A context function failed on a node, so the calls that waited for its context cannot run.

    The exception of the context function, with its remote traceback, is the `__cause__`.

    Attributes
    ----------
    context : str
        Name of the context.
    digest : str
        Its digest.
    manager, host, block : str
        Where the last attempt was made.
    attempts : int
        Builds that were tried.
    """

    def __init__(
        self,
        *,
        context: str,
        digest: str,
        manager: str,
        host: str,
        block: str,
        attempts: int,
        cause: BaseException | None = None,
    ) -> None:
        self.context = context
        self.digest = digest
        self.manager = manager
        self.host = host
        self.block = block
        self.attempts = attempts
        super().__init__(self._text(cause))
        self.__cause__ = cause

    def _text(self, cause: BaseException | None) -> str:
        reason = _told(cause) if cause is not None else "unknown reason"
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        text = (
            f"Context {self.context} could not be built after {tries}, the last on manager {self.manager} "
            f"(host {self.host}, block {self.block}): {sentence(reason)}"
        )
        if isinstance(cause, ImportError):
            text += " The worker may run another environment than the submitter; see worker_init of the provider."
        elif isinstance(cause, OSError):
            text += " Files named by a context are opened on the node: use paths that exist there."
        elif isinstance(cause, WorkerLost):
            text += " The context function ended its process, or used more memory than the node has."
        return text


class FileFetchError(ParslContextError):
    """A file that a context needs could not be brought to the node. The `__cause__` of `ContextBuildError`.

    Attributes
    ----------
    url : str
        Its address, as given to `File`.
    host : str
        The node.
    reason : str
        What was seen, and what to do.
    """

    def __init__(self, *, url: str, reason: str) -> None:
        self.url = url
        self.host = platform.node()
        self.reason = reason
        super().__init__(f"File {url} cannot be had on node {self.host}: {sentence(reason)}")


class EnvironmentUnusableError(ParslContextError):
    """An environment cannot be used on a node: the `__cause__` of `ContextBuildError`, if it is that of a context.

    Attributes
    ----------
    environment : str
        Where it is, as given as ``environment=``.
    host : str
        The node.
    reason : str
        What was seen, and what to do.
    """

    def __init__(self, *, environment: str, reason: str) -> None:
        self.environment = environment
        self.host = platform.node()
        self.reason = reason
        super().__init__(f"Environment {environment} cannot be used on node {self.host}: {sentence(reason)}")


class ContextIsolationError(ParslContextError):
    """A context with ``isolation="call"`` is held by a process that cannot be forked, so its calls cannot run.

    Attributes
    ----------
    context : str
        Name of the context.
    reason : str
        Why a fork would not work.
    """

    def __init__(self, *, context: str, reason: str) -> None:
        self.context = context
        self.reason = reason
        super().__init__(
            f'Context {context} has isolation="call": each of its calls runs in a fork of the process that holds it. '
            f"That process cannot be forked: {sentence(reason)} Start threads and open accelerators in the body, or "
            'in a function given as after_fork=, rather than in the context function; or do without isolation="call".'
        )


class BatchResultError(ParslContextError):
    """The body of an app with ``batch=`` did not return one result for each call of a batch.

    Attributes
    ----------
    app : str
        Name of the app.
    given : str
        What its body returned.
    calls : int
        Calls in the batch.
    """

    def __init__(self, app: str, given: str, calls: int) -> None:
        self.app = app
        self.given = given
        self.calls = calls
        super().__init__(
            f"The body of {app} returned {given} for {calls} calls. With batch=, a body gets a list for each of its "
            "parameters, and returns a list with a result, or an exception, for each call."
        )


class WorkerLost(ParslContextError, HTEXWorkerLost):
    """A worker died while it ran the call (signal, out of memory, `os._exit`). Parsl's retries apply.

    Attributes
    ----------
    worker_id, pid : int
        The worker's rank on its node, and its process.
    hostname, manager, block : str
        Where it ran.
    exit_code, signal : int or None
        Exit status, or the signal that ended it.
    """

    transient = True

    def __init__(
        self,
        *,
        worker_id: int,
        hostname: str,
        manager: str,
        block: str,
        pid: int,
        exit_code: int | None,
        signal: int | None,
    ) -> None:
        self.worker_id = worker_id
        self.hostname = hostname
        self.manager = manager
        self.block = block
        self.pid = pid
        self.exit_code = exit_code
        self.signal = signal
        ParslError.__init__(self, self._text())

    def _text(self) -> str:
        if self.signal is not None:
            end = f"was ended by {_signal_name(self.signal)}"
            hint = " A SIGKILL that nobody sent is mostly the system's answer to too little memory."
            hint = hint if self.signal == signals.SIGKILL else ""
        else:
            end = f"exited with status {self.exit_code}"
            hint = ""
        return (
            f"Task failure due to loss of worker {self.worker_id} on host {self.hostname}: process {self.pid} of "
            f"manager {self.manager} (block {self.block}) {end} while it ran the task.{hint}"
        )

    def __str__(self) -> str:
        return str(self.args[0])


class BodyExitError(WorkerLost):
    """A body raised `SystemExit`, `KeyboardInterrupt` or another exception that is no `Exception`.

    It is a `WorkerLost` because that is what HTEX makes of it, whose worker ends then. Here the process lives on, with
    its contexts. What the body raised, with its remote traceback, is the `__cause__`.

    Attributes
    ----------
    worker_id, pid, hostname, manager, block
        Where it ran, as in `WorkerLost`.
    exit_code : int
        Status that Python would have ended the process with.
    """

    transient = False

    def __init__(self, *, cause: BaseException, **where: Any) -> None:
        self._raised = _told(cause)
        super().__init__(signal=None, **where)
        self.__cause__ = cause

    def _text(self) -> str:
        return (
            f"The call raised {sentence(self._raised)} This ends no process: worker {self.worker_id} on host "
            f"{self.hostname} (process {self.pid} of manager {self.manager}, block {self.block}) lives on, with its "
            "contexts. Raise an Exception, or return, to end a call."
        )


class ManagerLost(ParslContextError, HTEXManagerLost):
    """The manager that held the call died, left, or cannot be reached. Parsl's retries apply.

    Attributes
    ----------
    manager_id : bytes
        The manager, as in HTEX's exception of this name.
    hostname, block, reason : str
        Where it ran and what was seen.
    """

    transient = True

    def __init__(self, *, manager_id: bytes, hostname: str, block: str, reason: str) -> None:
        self.manager_id = manager_id
        self.hostname = hostname
        self.block = block
        self.reason = reason
        ParslError.__init__(
            self,
            f"Task failure due to loss of manager {manager_id.decode()} on host {hostname} (block {block}): "
            f"{sentence(reason)} "
            "The task may have run; let Parsl retry it (Config(retries=...)) if running twice does no harm.",
        )

    def __str__(self) -> str:
        return str(self.args[0])


class BlockStartError(ParslContextError, TooManyJobFailuresError):
    """A block failed as it started, and none has ever come up; the others would fail alike. The cause of Parsl's
    ``BadStateException``, which calls get.

    Attributes
    ----------
    executor, block : str
        Label of the executor, and the block that is told of.
    job : str or None
        Its job; None if the scheduler did not take it.
    said : str
        The last lines of what the job has written, or what the scheduler said.
    log : str or None
        The file with all that it has written.
    """

    def __init__(self, *, executor: str, block: str, job: str | None, said: str, log: str | None, advice: str) -> None:
        self.executor = executor
        self.block = block
        self.job = job
        self.said = said
        self.log = log
        what = f"Block {block} of executor {executor!r} could not be launched"
        if job is not None:
            what = f"Job {job} of block {block} of executor {executor!r} ended, and its workers failed to register"
        place = f", in {log}" if log else ""
        lines = "".join(f"\n    {line}" for line in said.splitlines())
        told = f". The last that it wrote{place}:{lines}\n" if job is not None else f". It was said:{lines}\n"
        super().__init__(f"{what}{told if said else '. It wrote nothing. '}{advice}")


class VersionsDifferError(ParslContextError, VersionMismatch):
    """Nodes have another minor version of Python, or another Parsl, than the script.

    Attributes
    ----------
    interchange_version, manager_version : str
        Here and there, as in HTEX's exception.
    host, block : str
        Where that is so.
    """

    def __init__(self, *, interchange: str, manager: str, host: str, block: str) -> None:
        self.interchange_version = interchange
        self.manager_version = manager
        self.host = host
        self.block = block
        ParslError.__init__(
            self,
            f"Node {host} of block {block} has {_versions(manager)}, this script {_versions(interchange)}: what one "
            "pickles, the other may not read. Have worker_init make the environment active that this script runs in.",
        )

    def __str__(self) -> str:
        return str(self.args[0])


def _versions(text: str) -> str:
    return text.replace("py.v=", "Python ").replace(" parsl.v=", " with Parsl ")


class InterchangeLost(ParslContextError):
    """The interchange process of an executor died; none of its calls can end any more.

    Attributes
    ----------
    executor : str
        Label of the executor.
    exit_code : int or None
        Exit status; negative for a signal.
    """

    def __init__(self, *, executor: str, exit_code: int | None, log: str) -> None:
        self.executor = executor
        self.exit_code = exit_code
        end = "ended"
        if exit_code is not None:
            end = f"was ended by {_signal_name(-exit_code)}" if exit_code < 0 else f"exited with status {exit_code}"
        super().__init__(f"The interchange of executor {executor!r} {end}. Its log is {log}. Load Parsl anew to go on.")


class ExecutorClosedError(ParslContextError):
    """The executor was shut down before the call ended.

    Attributes
    ----------
    executor : str
        Label of the executor.
    """

    def __init__(self, *, executor: str) -> None:
        self.executor = executor
        super().__init__(f"Executor {executor!r} was shut down before the task ended.")


class EventLogError(ParslContextError):
    """There is no event log of a run where one was looked for, or it is none that can be read.

    Attributes
    ----------
    folder : str
        Where.
    version : int or None
        Of its format, where that is the reason.
    problem : str or None
        What is wrong with it, where it is there.
    """

    def __init__(
        self, *, folder: str, version: int | None = None, problem: str | None = None, sought: str = "event log"
    ) -> None:
        self.folder = folder
        self.version = version
        self.problem = problem
        self.sought = sought
        if version is not None:
            text = (
                f"The event log in {folder} has format {version}, which this release of parsl-context does not read. "
                "Look at it with the release that wrote it."
            )
        elif problem is not None:
            text = (
                f"The event log in {folder} cannot be read: {problem}. What processes logged and printed can still be "
                "seen with `parsl-context logs`."
            )
        elif sought == "event log":
            text = (
                f"No event log was found in {folder}. Name a run directory, such as runinfo/000, of a run with a "
                "ContextExecutor that has started and does not have record_events=False."
            )
        else:
            text = f"No {sought} were found in {folder}. Name a run directory, such as runinfo/000."
        ParslError.__init__(self, text)


class UnservableTaskError(ParslContextError):
    """A call asks for something that no worker of its executor can give.

    Attributes
    ----------
    reason : str
        What is missing.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class PayloadLostError(ParslContextError):
    """A large argument or result was in shared memory and is gone: somebody removed it, or the run has ended.

    Attributes
    ----------
    segment, reason : str
        Name of the file that held it, and why it could not be opened.
    """

    transient = True

    def __init__(self, segment: str, reason: str) -> None:
        self.segment = segment
        self.reason = reason
        super().__init__(
            f"A large value of this call was in shared memory (segment {segment}) and cannot be opened: "
            f"{sentence(reason)} "
            "Nothing but the run itself may remove its directory parsl-context-segments-* in /dev/shm. Call again."
        )


class RemoteError(ParslContextError):
    """Stands for what a call raised on a worker, where that cannot be made again here.

    Its traceback is that of the exception that it stands for.

    Attributes
    ----------
    type_name : str
        Name of the class of that exception.
    text : str
        What it said.
    why : str
        What keeps it from being made here.
    """

    def __init__(self, *, type_name: str, text: str, why: str) -> None:
        self.type_name = type_name
        self.text = text
        self.why = why
        super().__init__(
            f"{type_name}: {sentence(text)} This is its text alone: the exception itself cannot be brought here "
            f"({why.rstrip('.')})."
        )


class MessageError(ParslContextError):
    """A message between processes could not be understood. Logged and counted, never fatal."""


def sentence(text: str) -> str:
    """A text of somebody else's, with a full stop unless it ends like a sentence."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _told(error: BaseException) -> str:
    """Type and text of an exception, whatever its own methods raise."""
    kind = type(error).__name__
    try:
        text = str(error)
    except BaseException as failed:
        return f"{kind}: <it has no text: {type(failed).__name__} was raised for it>"
    return f"{kind}: {text}" if text else kind


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
