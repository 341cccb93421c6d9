"""A worker: runs calls one at a time and keeps the contexts they need.

It reads messages from its manager, in order, and answers each call before it starts the next; so the manager knows
that only the oldest call it has not heard of can have started. Parsl's serializers and the user's code run here and
nowhere above.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from parsl.executors.execute_task import execute_task
from typing_extensions import assert_never

from parsl_context.content.carried import unpack_code
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import BodyExitError, ContextIsolationError, WorkerLost
from parsl_context.pool.bond import Bond, ManagerGone
from parsl_context.pool.outcomes import Calls, fail, pack_result
from parsl_context.pool.preparing import describe_resources, prepare_process, threads_of, voice_of
from parsl_context.pool.settings import WorkerSettings
from parsl_context.pool.stops import Stops
from parsl_context.retain import calls as resident_calls
from parsl_context.retain import echoing, large_pages, sharing
from parsl_context.retain.batches import Outcome, Row
from parsl_context.retain.calls import BatchCall
from parsl_context.retain.instances import Instances
from parsl_context.retain.isolation import Answer, Forks
from parsl_context.retain.loader import Loader, pack_error
from parsl_context.retain.processes import Exit, alone, flush_streams, interruptible, status_of
from parsl_context.retain.surroundings import LimitValues, Surroundings
from parsl_context.wire import messages as m
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Buffer, Decoder, Frames, deal, encode
from parsl_context.wire.messages import Digest, WorkerId
from parsl_context.wire.segments import Segments, join_segments

logger = logging.getLogger(f"parsl.{__name__}")

_FUNCTIONS_KEPT = 256
# After a call that took longer, all is set back that it may have changed: that takes a hundredth of the time. [s]
_LONG_CALL_S = 1e-3
# What follows the build of a context may take as long as that did, or so long. [s]
_GATHER_S = 1.0


def main(
    ends: Sequence[socket.socket],
    message: m.ForkWorker,
    settings: WorkerSettings,
    inherited: Instances | None = None,
    limits: LimitValues | None = None,
) -> int:
    """Serve one manager until it says so or is gone. Gives the exit status.

    Parameters
    ----------
    inherited, limits
        What a template has built, and the limits that its contexts have set.
    """
    bond = prepare_process(message, settings)
    sock, claims = ends
    claims.setblocking(False)
    threads = threads_of(message, settings)
    segments = join_segments(message.segments)
    instances = inherited or Instances()
    worker = Worker(WorkerChannel(sock), claims, settings, instances, segments, message.worker, threads, bond)
    worker.echoes_all = message.echo
    if limits is not None:
        worker.limit(limits)
    try:
        return worker.run()
    finally:
        segments.close()


class _UnfitError(Exception):
    """This process cannot run a call that another could."""


class Worker:
    """The loop of a worker, and what it remembers."""

    def __init__(
        self,
        channel: WorkerChannel,
        claims: socket.socket,
        settings: WorkerSettings,
        instances: Instances,
        segments: Segments,
        number: WorkerId,
        threads: int,
        bond: Bond,
    ) -> None:
        self._channel = channel
        self._bond = bond
        self._claims = claims
        self._settings = settings
        self._decoder: Decoder[m.ToWorker] = Decoder(m.ToWorker)
        self._functions: OrderedDict[Digest, tuple[Digest | None, Callable[..., Any]]] = OrderedDict()
        self._loader = Loader(self._send, instances, voice_of(number), settings.code_folder, settings.node_store)
        self._segments = segments
        self._number = number
        self._threads = threads  # that libraries may use which were held at one
        self._put_off: deque[tuple[m.ToWorker, Sequence[Buffer]]] = deque()
        self._is_open = False  # whether anything ran in this process that may keep it from being forked
        self._surroundings = Surroundings()
        self._forks = Forks(self._prepare_fork)
        self._forks_next = False  # a call in a fork is the likeliest next one
        self._has_run = False  # a call, since all was set back that it may have changed
        self._ran_long = False
        self.echoes_all = False  # what is printed goes to the script
        resident_calls.resident = instances
        resident_calls.exit_error = self._exit_error

    def limit(self, limits: LimitValues) -> None:
        """Have calls run within limits that contexts have set where they were built."""
        self._surroundings.limits.impose(limits)

    def run(self) -> int:
        """Serve until told to exit or the manager is gone; clean up."""
        instances = self._loader.instances
        self._send(m.WorkerUp(pid=os.getpid(), inherited=list(instances)))
        try:
            self._serve()
        except _UnfitError as error:
            self._send(m.Unfit(reason=str(error)))
            self._wait_for_exit()
        finally:
            self._forks.close()
            instances.close()
            flush_streams()
        return 0

    def _serve(self) -> None:
        while (received := self._receive()) is not None:
            if isinstance(received[0], m.Exit):
                return
            self._handle(*received)

    def _receive(self) -> tuple[m.ToWorker, Sequence[Buffer]] | None:
        """The next message and its frames; None when the manager is gone."""
        if self._put_off:
            return self._put_off.popleft()
        if self._has_run and (self._ran_long or not self._channel.has_message()):
            self._settle()
        if echoing.has_more() and not self._channel.has_message():
            echoing.send_until(self._channel.fileno())
        if not self._channel.has_message():
            self._wait_with_forks()
        frames = self._channel.receive()
        return None if frames is None else self._decoder.decode(frames)

    def _wait_with_forks(self) -> None:
        """Look after children until there is a message, if there are any or there should be."""
        self._forks.reap_until(self._channel.fileno())
        if self._forks_next and not self._forks.has_spare and self._channel.read() and not self._channel.has_message():
            self._forks_next = False  # it is tried once
            if sharing.why_unsafe() is None:
                with self._surroundings.limits.lifted():
                    self._forks.fork_ahead()

    def _settle(self) -> None:
        """Set all back that calls may have changed."""
        self._has_run = self._ran_long = False
        self._surroundings.restore_rest()

    def _pause(self) -> None:
        """Start nothing until the manager has taken back what is not to run here."""
        while (frames := self._channel.receive()) is not None:
            message, rest = self._decoder.decode(frames)
            if isinstance(message, m.GoOn):
                return
            self._put_off.append((message, rest))
            if isinstance(message, m.Exit):
                return

    def _wait_for_exit(self) -> None:
        """Start nothing any more; the manager gives what was sent here to others."""
        while (frames := self._channel.receive()) is not None:
            if isinstance(self._decoder.decode(frames)[0], m.Exit):
                return

    def _handle(self, message: m.ToWorker, frames: Sequence[Buffer]) -> None:
        match message:
            case m.RunTask():
                if message.is_ahead and not self._claim():
                    self._send(m.TaskSkipped(task=message.task.id))
                    return
                self._run_task(message, frames)
            case m.StoreBlobs():
                self._forks.renew()
                self._loader.store(message, frames)
            case m.LoadContext():
                self._load_wanted(message.context)
            case m.DropContext():
                self._drop([message.context])
            case m.ForgetBlobs():
                self._forks.renew()
                self._forks_next = False
                self._loader.forget(message.digests)
                self._surroundings.note()
                for digest in message.digests:
                    self._functions.pop(digest, None)
            case m.StopTask():
                pass  # it came too late, or has been heeded
            case m.Exit() | m.GoOn():
                raise AssertionError("handled where it is waited for")
            case _:
                assert_never(message)

    def _send(self, message: m.FromWorker, frames: Sequence[Buffer] = ()) -> None:
        self._channel.send(encode(message, frames))

    # --- calls

    def _claim(self) -> bool:
        """Make sure that a call was not taken back. From then on it cannot be."""
        try:
            return bool(self._claims.recv(1))
        except BlockingIOError:
            return False

    def _run_task(self, message: m.RunTask, frames: Sequence[Buffer]) -> None:
        """Run a call, or a batch of them."""
        instances = self._loader.instances
        task, calls = message.task, self._described(message, frames)
        if self._loader.carried.has_tree and (reason := self._why_older(calls)) is not None:
            raise _UnfitError(reason)
        if instances.watched:
            self._drop(instances.outdated(task.contexts))
        for context in task.contexts:
            if context not in instances and not self._load(context, task.id, task.contexts):
                return
        if instances.watched and not task.fresh and instances.isolated(task.contexts):
            with self._surroundings.limits.lifted():
                answer, is_dirty = self._run_isolated(message, frames, calls)
        else:
            self._is_open = True
            self._forks_next = False
            self._forks.renew()
            answer, is_dirty = self._run(calls), False
        count = len(calls)
        worn = instances.after_call(task.contexts, calls=count, is_dirty=is_dirty) if instances.watched else []
        shared = [context for context in worn if instances.is_inherited(context)]
        if shared:
            self._send(m.Unloading(contexts=shared))
        self._channel.send(answer)
        self._drop(worn)
        if shared:
            self._pause()

    def _described(self, message: m.RunTask, frames: Sequence[Buffer]) -> Calls:
        """The calls of a message; what they are given stands in the environment."""
        describe_resources(message.task.resources, message.nodes, self._settings.mpi_launcher)
        return list(deal([message.task, *message.mates], frames))

    def _why_older(self, calls: Calls) -> str | None:
        """What calls need an older version of than this process has; None if they can run here."""
        header = None
        task, _ = calls[0]
        if task.code is not None:
            known = self._functions.get(task.code)
            header = unpack_code(self._loader.content(task.code))[0] if known is None else known[0]
        needs = [digest for each, _ in calls for digest in each.needs]
        return self._loader.carried.why_older([header, *needs, *self._loader.headers(task.contexts)])

    def _run(self, calls: Calls) -> Frames:
        """Run calls; gives the message that says how they ended."""
        self._has_run = True
        if len(calls) > 1:
            return self._run_batch(calls)
        ((task, frames),) = calls
        ok, run_s, stream, buffers = self._call(task, frames)
        self._ran_long |= run_s > _LONG_CALL_S
        payload, out = self._segments.make_payload(stream, buffers, task.id)
        return encode(m.TaskDone(result=m.Result(task.id, ok, payload, run_s, self._number)), out)

    def _run_batch(self, calls: Calls) -> Frames:
        start = time.perf_counter()
        packed = self._call_together(calls)
        run_s = time.perf_counter() - start
        self._ran_long |= run_s > _LONG_CALL_S
        results, frames = [], list[Buffer]()
        for place, (ok, stream, buffers) in reversed(list(enumerate(packed))):
            task = calls[place][0]
            payload, out = self._segments.make_payload(stream, buffers, task.id)
            results.append(m.Result(task.id, ok, payload, 0.0 if place else run_s, self._number))
            frames += out
        return encode(m.BatchDone(results=results), frames)

    def _run_isolated(self, message: m.RunTask, frames: Sequence[Buffer], calls: Calls) -> tuple[Frames, bool]:
        """Run calls in a fork of this process; as `_run`. And whether it asked for its contexts to be built anew."""
        instances = self._loader.instances
        task = message.task
        name = instances.isolated(task.contexts)[0]
        if (reason := self._why_not_forked()) is not None:
            if self._is_open:
                raise _UnfitError(f"it cannot be forked for a call of context {name}: {reason}")
            return fail(calls, pack_error(ContextIsolationError(context=name, reason=reason)), 0.0), False
        start = time.perf_counter()
        stops = Stops(self._channel, self._decoder, self._put_off, task.id)
        if stops.wants_end():
            return encode(m.TaskStopped(task=task.id)), False
        self._forks_next = will_last = not instances.will_be_worn(task.contexts, len(calls))
        self._bond.is_busy = True
        try:
            outcome = self._forks.run(encode(message, frames), stops, forks_ahead=will_last)
        except OSError as error:
            failed = ContextIsolationError(context=name, reason=f"no process can be forked ({error})")
            return fail(calls, pack_error(failed), 0.0), False
        finally:
            self._bond.is_busy = False
        if outcome.message is not None:
            return outcome.message, outcome.is_dirty
        self._segments.drop_results([task.id for task, _ in calls])
        if stops.wants_end():
            return encode(m.TaskStopped(task=task.id)), False
        assert outcome.ended is not None
        logger.warning("Process %d died while it ran task %d: %s", outcome.ended.pid, task.id, outcome.ended)
        return fail(calls, pack_error(self._lost(outcome.ended)), time.perf_counter() - start), False

    def _why_not_forked(self) -> str | None:
        """Why this process cannot be forked now, if so. It was looked at when the child was forked that waits."""
        return None if self._forks.has_spare else sharing.why_unsafe()

    def _prepare_fork(self) -> Answer:
        """In a fork that is to run calls: be ready for them."""
        self._bond.is_busy = False
        sharing.make_distinct({}, self._threads)
        return self._answer

    def _answer(self, received: Frames) -> tuple[Frames, bool]:
        """In such a fork: run what was handed over. Gives the message that says how it ended, and whether it spoilt."""
        self._bond.heed_terminate()  # from here on; one that waits may end at any time
        message, frames = self._decoder.decode(received)
        assert isinstance(message, m.RunTask)
        calls = self._described(message, frames)
        instances = self._loader.instances
        try:
            instances.inherit()
        except BaseException as error:  # a hook's is the call's
            return fail(calls, self._pack_raised(error), 0.0), False
        self._surroundings.limits.impose()
        answer = self._run(calls)
        echoing.end_last()
        return answer, instances.is_dirty

    def _lost(self, ended: Exit) -> WorkerLost:
        return WorkerLost(pid=ended.pid, exit_code=ended.code, signal=ended.signal, **self._where())

    def _where(self) -> dict[str, Any]:
        return {
            "worker_id": self._number,
            "hostname": platform.node(),
            "manager": self._settings.pool,
            "block": self._settings.block,
        }

    def _drop(self, contexts: list[Digest]) -> None:
        if not contexts:
            return
        self._forks.renew()
        self._forks_next = False
        self._settle()
        for context in contexts:
            self._loader.drop(context)
        self._surroundings.note()

    @interruptible
    def _call(self, task: m.Task, frames: Sequence[Buffer]) -> tuple[bool, float, bytes, Sequence[Buffer]]:
        start = time.perf_counter()
        self._bond.is_busy = True
        try:
            with alone():
                value = self._evaluate(task, self._segments.open_payload(task.payload, frames))
            run_s = time.perf_counter() - start
            return True, run_s, *pack_result(value)
        except ManagerGone:
            raise
        except BaseException as error:
            logger.info("Task %d raised", task.id, exc_info=True)
            return False, time.perf_counter() - start, self._pack_raised(error), []
        finally:
            self._bond.is_busy = False
            if self.echoes_all:
                echoing.end()

    @interruptible
    def _call_together(self, calls: Calls) -> list[tuple[bool, bytes, Sequence[Buffer]]]:
        """How each of some calls ended that run together, packed."""
        self._bond.is_busy = True
        try:
            with alone():
                outcomes = self._evaluate_together(calls)
            packed: dict[int, bytes] = {}  # errors that several calls have are packed once
            return [self._pack_outcome(outcome, packed) for outcome in outcomes]
        except ManagerGone:
            raise
        except BaseException as error:
            logger.info("The batch of task %d raised", calls[0][0].id, exc_info=True)
            raised = self._pack_raised(error)
            return [(False, raised, ()) for _ in calls]
        finally:
            self._bond.is_busy = False
            if self.echoes_all:
                echoing.end()

    def _pack_outcome(self, outcome: Outcome, packed: dict[int, bytes]) -> tuple[bool, bytes, Sequence[Buffer]]:
        error = outcome.error
        if error is None:
            try:
                return True, *pack_result(outcome.value)
            except Exception as cause:
                return False, pack_error(cause), ()
        if id(error) not in packed:
            logger.info("A call of a batch raised", exc_info=error)
            packed[id(error)] = self._pack_raised(error)
        return False, packed[id(error)], ()

    def _evaluate_together(self, calls: Calls) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        rows: dict[int, Row] = {}
        try:
            code = calls[0][0].code
            assert code is not None, "calls of one code run together"
            function = self._function(code)
            assert isinstance(function, BatchCall), "calls of an app that takes batches run together"
            for place, (task, frames) in enumerate(calls):
                try:
                    for header in task.needs:
                        self._loader.carried.prepare(header)
                    rows[place] = unpack_value(self._segments.open_payload(task.payload, frames))
                except Exception as error:  # of these arguments: the other calls go on
                    outcomes[place] = Outcome(error=error)
            ran = function.together(list(rows.values())) if rows else []
            outcomes |= dict(zip(rows, ran, strict=True))
            return [outcomes[place] for place in range(len(calls))]
        finally:
            if not self._bond.is_orphaned:
                self._surroundings.restore()

    def _pack_raised(self, error: BaseException) -> bytes:
        """What user code raised, as the error of its call."""
        return pack_error(error if isinstance(error, Exception) else self._exit_error(error))

    def _exit_error(self, error: BaseException) -> BodyExitError:
        """What else than an `Exception` user code raised, as the error of its call."""
        if isinstance(error, ManagerGone):
            raise error
        return BodyExitError(cause=error, pid=os.getpid(), exit_code=status_of(error), **self._where())

    def _evaluate(self, task: m.Task, payload: list[Buffer]) -> Any:
        try:
            if task.code is None:
                context, buffer = unpack_value(payload)
                return _execute_payload(context, buffer)
            function = self._function(task.code)
            for header in task.needs:
                self._loader.carried.prepare(header)
            args, kwargs = unpack_value(payload)
            return function(*args, **kwargs)
        finally:
            if not self._bond.is_orphaned:
                self._surroundings.restore()

    def _function(self, digest: Digest) -> Callable[..., Any]:
        found = self._functions.get(digest)
        if found is not None:
            header, function = found
            if header is not None:
                self._loader.carried.prepare(header)
            return function
        found = self._functions[digest] = self._loader.code(digest)
        if len(self._functions) > _FUNCTIONS_KEPT:
            self._functions.popitem(last=False)
        return found[1]

    def _load_wanted(self, digest: Digest) -> None:
        if digest in self._loader.instances:
            self._send(m.FoundLoaded(context=digest))
        else:
            self._load(digest, None, [digest])

    def _load(self, digest: Digest, task: m.TaskId | None, group: Sequence[Digest]) -> bool:
        """Build a context of a group that calls use together."""
        self._forks.renew()
        self._settle()
        try:
            with self._bond.building(self._loader.instances):
                return self._load_openly(digest, task, group)
        finally:
            if not self._bond.is_orphaned:
                self._surroundings.note()

    def _load_openly(self, digest: Digest, task: m.TaskId | None, group: Sequence[Digest]) -> bool:
        if not any(map(self._loader.is_isolated, group)):
            self._is_open = True
            return self._loader.load(digest, task)
        with sharing.held_threads():
            is_built = self._loader.load(digest, task)
        if is_built:
            self._forks_next = True
            large_pages.gather(max(_GATHER_S, self._loader.instances.load_s(digest)))
        return is_built


def _execute_payload(context: dict[str, Any], buffer: bytes) -> Any:
    """Run what `submit_payload` was given, as HTEX's workers do."""
    chosen = context.get("task_executor")
    if not chosen:
        return execute_task(buffer)
    module, _, name = chosen["f"].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    return function(buffer, *chosen.get("a", ()), **chosen.get("k", {}))
