"""What the interchange does becomes the event log of the run: gathered as it happens, written twice a second.

On the way of a call nothing is written and little is done: a row is packed when it has ended, and that it was submitted
and sent is remembered until the next write, which notes it only if the call has not ended by then.
"""

from __future__ import annotations

import heapq
import os
import platform
import time
from pathlib import Path
from typing import TypeAlias

from parsl.version import VERSION as PARSL_VERSION

from parsl_context.interchange.config import InterchangeConfig
from parsl_context.report import records as r
from parsl_context.report.segments import FOLDER, LogWriter, frame
from parsl_context.report.shrinking import shrink
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.managers import Call
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.wire import messages as m
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId

_EVERY_S = 0.5  # between two writes,
_SOON_S = 0.1  # where something has happened that is no call, and
_IDLE_S = 8.0  # while calls are outstanding and nothing happens
_LINES = 50  # in a pulse
_CLOSES_WITHIN_S = 1.0
_AtPlace: TypeAlias = tuple[ManagerId, Digest, WorkerId | None]


class Recorder:
    """Records nothing."""

    def submitted(self, task: m.Task) -> None:
        """A call came."""

    def sent(self, task: TaskId) -> None:
        """A call was sent to a manager."""

    def ended(self, manager: ManagerId, result: m.Result, task: m.Task, call: Call, now: float) -> None:
        """A call has ended."""

    def failed(self, tasks: list[TaskId], reason: str) -> None:
        """Calls have no outcome of their own."""

    def cancelled(self, tasks: list[TaskId]) -> None:
        """Calls will not run."""

    def returned(self, tasks: list[TaskId], reason: str = "") -> None:
        """Calls wait again."""

    def named(self, code: Digest, name: str, size_bytes: int) -> None:
        """Code came."""

    def joined(self, joined: m.Joined, event: cluster.ManagerJoined) -> None:
        """A manager may be sent calls."""

    def left(self, manager: ManagerId, reason: str) -> None:
        """A manager is gone."""

    def block(self, block: str, state: str, job: str = "", text: str = "") -> None:
        """The provider says something of a block."""

    def building(self, place: _AtPlace) -> None:
        """A build began."""

    def built(self, place: _AtPlace, load_s: float, size_bytes: int) -> None:
        """A build ended."""

    def broke(self, place: _AtPlace, reason: str) -> None:
        """A build failed."""

    def died(self, died: m.WorkerDied) -> None:
        """A worker died."""

    def file(self, manager: ManagerId, url: str, took_s: float | None, chunks: dict[ManagerId, int]) -> None:
        """A file is on the disk of a node, or if it took no time is wanted there."""

    def event(self, event: cluster.Event) -> None:
        """Something happened that is decided upon."""

    def ordered(self, action: cluster.OrderBuild) -> None:
        """A build was ordered."""

    def close(self, reason: str) -> None:
        """The interchange ends."""


class LogRecorder(Recorder):
    """Records what happens in the event log.

    Parameters
    ----------
    state
        Asked what became of calls, and how many wait.
    """

    def __init__(self, loop: EventLoop, state: ClusterState, config: InterchangeConfig) -> None:
        self._loop = loop
        self._state = state
        self._base = time.monotonic()
        self._writer = LogWriter(Path(config.logdir, FOLDER), _began(config), shrink)
        self._frames: list[bytes] = []
        self._rows = bytearray()
        self._new: list[list[float]] = []  # runs of calls that came: first, count, what, when, priority
        self._next: tuple[int, int, float] = (-1, 0, 0.0)  # what the next call of the last run would be
        self._sent: list[TaskId] = []
        self._work: dict[tuple[Digest | None, tuple[Digest, ...], bool], int] = {}
        self._names: dict[Digest, tuple[str, int]] = {}
        self._managers: dict[ManagerId, int] = {}
        self._nodes: dict[str, ManagerId] = {}  # managers that are there, by their node
        self._there: dict[ManagerId, str] = {}  # and their nodes
        self._timer: Timer | None = None
        self._is_idle = True  # nothing is waiting to be written
        self._pulsed = 0.0
        self._last_pulse: r.Pulse | None = None

    # --- on the way of a call

    def submitted(self, task: m.Task) -> None:
        what = self._work.get((task.code, task.contexts, task.fresh)) or self._name_work(task)
        key = task.id, what, task.priority
        if key == self._next:
            self._new[-1][1] += 1
        else:
            self._new.append([task.id, 1, what, time.monotonic() - self._base, task.priority])
        self._next = task.id + 1, what, task.priority
        if self._is_idle:
            self._wake()

    def sent(self, task: TaskId) -> None:
        self._sent.append(task)

    def ended(self, manager: ManagerId, result: m.Result, task: m.Task, call: Call, now: float) -> None:
        leader = call.leader
        flags = 0 if result.ok else 1
        self._rows += r.ended_row.pack(
            now - self._base,
            result.id,
            self._work.get((task.code, task.contexts, task.fresh)) or self._name_work(task),
            self._managers[manager],
            r.NO_WORKER if result.worker is None else result.worker,
            flags | 2 if task.fresh else flags,
            task.calls,
            result.run_s,
            now - (call.sent_at if leader is None else leader.sent_at),
            now - call.since,
        )
        if self._is_idle:
            self._wake()

    # --- rare

    def failed(self, tasks: list[TaskId], reason: str) -> None:
        self._add(r.CallsFailed(at=self._now, tasks=tasks, reason=reason))

    def cancelled(self, tasks: list[TaskId]) -> None:
        self._add(r.CallsCancelled(at=self._now, tasks=tasks))

    def returned(self, tasks: list[TaskId], reason: str = "") -> None:
        self._write_pending()  # what was sent before has to come before
        self._add(r.CallsReturned(at=self._now, tasks=tasks, reason=reason))

    def named(self, code: Digest, name: str, size_bytes: int) -> None:
        self._names[code] = name, size_bytes

    def joined(self, joined: m.Joined, event: cluster.ManagerJoined) -> None:
        if event.node in self._nodes:
            self.left(self._nodes[event.node], "it joined anew after its link broke")
        self._nodes[event.node], self._there[event.manager] = event.manager, event.node
        number = self._managers[event.manager] = len(self._managers) + 1
        self._add(
            r.ManagerJoined(
                at=self._now,
                number=number,
                manager=event.manager,
                block=event.block,
                host=joined.host,
                slots=event.slots,
                memory_bytes=event.memory_bytes,
                up_s=event.up_s,
                ends_in_s=event.ends_in_s,
                held=event.held,
            )
        )

    def left(self, manager: ManagerId, reason: str) -> None:
        node = self._there.pop(manager, None)
        if node is not None:
            del self._nodes[node]
            self._add(r.ManagerLeft(at=self._now, manager=self._managers[manager], reason=reason))

    def block(self, block: str, state: str, job: str = "", text: str = "") -> None:
        self._add(r.BlockSeen(at=self._now, block=block, state=state, job=job, text=text))

    def building(self, place: _AtPlace) -> None:
        manager, context, worker = place
        self._add(r.BuildBegan(at=self._now, manager=self._managers[manager], context=context, worker=worker))

    def built(self, place: _AtPlace, load_s: float, size_bytes: int) -> None:
        manager, context, worker = place
        number = self._managers[manager]
        self._add(
            r.BuildEnded(
                at=self._now, manager=number, context=context, load_s=load_s, size_bytes=size_bytes, worker=worker
            )
        )

    def broke(self, place: _AtPlace, reason: str) -> None:
        manager, context, _ = place
        record = self._state.records.get(context)
        self._add(
            r.BuildBroke(
                at=self._now,
                manager=self._managers[manager],
                context=context,
                reason=reason,
                failures=record.failures if record else 1,
                barred_s=max(0.0, record.pause_until - time.monotonic()) if record else 0.0,
                given_up=record is not None and record.given_up,
            )
        )

    def died(self, died: m.WorkerDied) -> None:
        reason = f"exit status {died.exit_code}" if died.signal is None else f"signal {died.signal}"
        number = self._managers[died.manager]
        self._add(r.WorkerDied(at=self._now, manager=number, worker=died.worker, reason=reason))

    def file(self, manager: ManagerId, url: str, took_s: float | None, chunks: dict[ManagerId, int]) -> None:
        number = self._managers.get(manager, 0)
        if took_s is None:
            self._add(r.FileSought(at=self._now, manager=number, url=url))
        else:
            counts = {str(source): count for source, count in chunks.items()}
            self._add(r.FileCame(at=self._now, manager=number, url=url, took_s=took_s, chunks=counts))

    def ordered(self, action: cluster.OrderBuild) -> None:
        number = self._managers[action.manager]
        self._add(r.BuildOrdered(at=self._now, manager=number, order=action.order, contexts=action.contexts))

    def event(self, event: cluster.Event) -> None:
        record = self._record_of(event)
        if record is not None:
            self._add(record)

    def close(self, reason: str) -> None:
        self._pulsed = 0.0  # the last is due
        self._add(r.Ended(at=self._now, reason=reason))
        self.write(repeats=False)
        self._writer.close(_CLOSES_WITHIN_S)

    # --- helpers

    @property
    def _now(self) -> float:
        return time.monotonic() - self._base

    def _record_of(self, event: cluster.Event) -> r.Record | None:
        match event:
            case cluster.ContextDeclared():
                return self._known(event)
            case cluster.ManagerHeld():
                return self._closed(event.manager, drains=False)
            case cluster.ManagerLeaving():
                return self._closed(event.manager, drains=True)
            case cluster.BlockEnded():
                return r.BlockSeen(at=self._now, block=event.block, state="COMPLETED", text=event.reason)
            case cluster.BuildSettled():
                return r.OrderEnded(at=self._now, manager=self._managers[event.manager], order=event.order)
            case cluster.ContextHeld():
                number = self._managers[event.manager]
                return r.Held(at=self._now, manager=number, context=event.context, worker=event.worker)
            case cluster.ContextGone():
                return r.Dropped(
                    at=self._now,
                    manager=self._managers[event.manager],
                    context=event.context,
                    worker=event.worker,
                    was_evicted=event.was_evicted,
                )
            case cluster.TemplateHeld() | cluster.TemplateGone():
                return r.TemplateHeld(
                    at=self._now,
                    manager=self._managers[event.manager],
                    contexts=event.contexts,
                    is_gone=isinstance(event, cluster.TemplateGone),
                    was_evicted=isinstance(event, cluster.TemplateGone) and event.was_evicted,
                )
            case cluster.ContextNoted():
                number = self._managers[event.manager]
                return r.Noted(at=self._now, manager=number, context=event.context, text=event.note)
            case cluster.BuildRefused():
                number = self._managers[event.manager]
                return r.Refused(at=self._now, manager=number, contexts=event.contexts, reason=event.reason)
            case cluster.EnvironmentBegan():
                number, name = self._managers[event.manager], event.environment
                return r.EnvironmentBegan(at=self._now, manager=number, environment=name, source=event.source)
            case cluster.EnvironmentReady() | cluster.EnvironmentGone():
                return r.EnvironmentEnded(
                    at=self._now,
                    manager=self._managers[event.manager],
                    environment=event.environment,
                    start_s=event.start_s if isinstance(event, cluster.EnvironmentReady) else None,
                )
            case cluster.TasksReturned():
                self.returned(event.tasks)
        return None

    def _known(self, event: cluster.ContextDeclared) -> r.ContextKnown:
        options = event.options
        return r.ContextKnown(
            at=self._now,
            context=event.context,
            name=options.name,
            reuse=options.reuse,
            requires=options.requires,
            memory_bytes=None if options.memory_gb is None else int(options.memory_gb * 1e9),
            pinned=options.pinned,
            code_bytes=self._names.get(event.context, ("", 0))[1],
            environment="" if options.environment is None else options.environment.name,
        )

    def _closed(self, manager: ManagerId, *, drains: bool) -> r.ManagerClosed | None:
        number = self._managers.get(manager)
        return None if number is None else r.ManagerClosed(at=self._now, manager=number, drains=drains)

    def _name_work(self, task: m.Task) -> int:
        key = task.code, task.contexts, task.fresh
        number = self._work[key] = len(self._work) + 1
        name, size_bytes = self._names.get(task.code, ("", 0)) if task.code is not None else ("a payload", 0)
        batch = task.batch
        self._add(
            r.Work(
                number=number,
                name=name,
                contexts=task.contexts,
                fresh=task.fresh,
                batch=None if batch is None else batch.size or 0,
                batch_wait_s=0.0 if batch is None else batch.wait_s,
                code_bytes=size_bytes,
            )
        )
        return number

    def _add(self, record: r.Record) -> None:
        self._frames.append(frame(record))
        if self._is_idle or self._timer is None or self._timer.at > time.monotonic() + _SOON_S:
            self._wake(_SOON_S)

    def _wake(self, delay_s: float = _EVERY_S) -> None:
        """Something is to be written, soon."""
        self._is_idle = False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self.write)

    def write(self, *, repeats: bool = True) -> None:
        """Write what was gathered, and go on to if there is more to come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rows:
            self._frames.append(frame(r.CallsEnded(rows=bytes(self._rows))))
            self._rows.clear()
        self._write_pending()
        self._pulse()
        if self._writer.lost_bytes:
            lost, self._writer.lost_bytes = self._writer.lost_bytes, 0
            self._frames.insert(0, frame(r.Gap(at=self._now, size_bytes=lost)))
        self._is_idle = not self._frames
        if self._frames:
            self._writer.write(b"".join(self._frames))
            self._frames = []
        if repeats and (self._state.calls or not self._is_idle):
            self._timer = self._loop.call_later(_IDLE_S if self._is_idle else _EVERY_S, self.write)
        elif repeats:
            self._is_idle = True

    def _write_pending(self) -> None:
        rows: list[bytes] = []
        calls = self._state.calls
        for first, count, what, at, priority in self._new:
            if count > 1 or TaskId(int(first)) in calls:
                rows.append(r.pending_row.pack(int(first), int(count), int(what), 0, at, 0.0, priority))
        for task in self._sent:
            call = calls.get(task)
            if call is not None and call.pair is not None:
                for each in call.batch:
                    rows.append(self._held_row(each, call))
        self._new, self._sent, self._next = [], [], (-1, 0, 0.0)
        if rows:
            self._frames.append(frame(r.CallsPending(at=self._now, rows=b"".join(rows))))

    def _held_row(self, call: Call, first: Call) -> bytes:
        assert first.pair is not None
        number = self._managers[first.pair.holder.id]
        times = call.since - self._base, first.sent_at - self._base
        return r.pending_row.pack(call.id, 1, self._what_of(call), number, *times, call.priority)

    def _pulse(self) -> None:
        """How many calls wait and run, unless that was said just now or is what was said last."""
        now = self._now
        if self._pulsed and now - self._pulsed < 2 * _EVERY_S - 0.1:
            return
        lines = [line for line in self._state.lines.values() if line.waiting]
        rows = []
        for line in heapq.nlargest(_LINES, lines, key=lambda line: line.waiting):
            first = line.queue.first()
            if first is not None:
                what = self._what_of(first)
                rows.append(r.Waiting(what, line.waiting, first.id, first.since - self._base, first.priority))
        waiting = sum(line.waiting for line in lines)
        pulse = r.Pulse(
            at=now,
            waiting=waiting,
            held=len(self._state.calls) - waiting,
            lines=rows,
            left=waiting - sum(row.size for row in rows),
        )
        last = self._last_pulse
        is_news = last is None or (pulse.waiting, pulse.held, pulse.lines) != (last.waiting, last.held, last.lines)
        if is_news or now - self._pulsed > _IDLE_S - 0.1:
            self._pulsed, self._last_pulse = now, pulse
            self._frames.append(frame(pulse))

    def _what_of(self, call: Call) -> int:
        lane = call.line.lane
        return self._work.get((call.code, lane.contexts, lane.fresh), 0)


def _began(config: InterchangeConfig) -> r.Began:
    limits = config.limits
    most = config.blocks.most
    return r.Began(
        version=r.LOG_VERSION,
        label=config.label,
        wall_s=time.time(),
        pid=os.getpid(),
        host=platform.node(),
        run_id=config.run_id,
        every_s=_EVERY_S,
        software={"python": platform.python_version(), "parsl": PARSL_VERSION},
        reuse=config.reuse,
        max_blocks=None if most == float("inf") else most,
        requeue_lost=config.requeue_lost,
        memory_bytes=limits.memory_bytes,
        contexts_per_worker=limits.contexts_per_worker,
        walltime_s=config.walltime_s,
        environment="" if config.environment is None else config.environment.name,
    )
