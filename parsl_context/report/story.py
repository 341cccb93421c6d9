"""What a run is like at a moment, told by its event log up to there. Pure: records in, questions answered.

Live view, explanations and report read the same story; of single calls it keeps those alone that have not ended.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable

from parsl_context.report import records as r
from parsl_context.report.parts import ENDED_STATES, Block, Build, Context, Environment, Kind, Manager
from parsl_context.report.ranges import Ranges
from parsl_context.wire.messages import Digest, TaskId, WorkerId

_RECENT_S = 10.0  # what counts for throughput
_GIVEN_UP = "given up to make room, or unused"


class Story:
    """Takes records, in order.

    Parameters
    ----------
    on_rows
        Called with the rows of calls that have ended, for who wants each.
    """

    def __init__(self, on_rows: Callable[[list[r.EndedRow]], None] | None = None) -> None:
        self._on_rows = on_rows
        self.began: r.Began | None = None
        self.over: r.Ended | None = None
        self.at = 0.0  # of the newest record. [s]
        self.blocks: dict[str, Block] = {}
        self.managers: dict[int, Manager] = {}
        self.contexts: dict[Digest, Context] = {}
        self.environments: dict[str, Environment] = {}
        self.kinds: dict[int, Kind] = {}
        self.refused: dict[tuple[int, tuple[Digest, ...]], str] = {}
        self.pulse: r.Pulse | None = None
        self.held: dict[int, r.PendingRow] = {}
        self.done = Ranges()  # numbers of calls that have ended, in whatever way
        self.raised = Ranges()  # of those, that ended with an error; not known of segments that were shrunk
        self.outcomes: dict[int, str] = {}  # of those that failed or were cancelled
        self.runs: list[r.PendingRow] = []  # that were submitted, by number
        self.files: list[r.FileCame] = []
        self.deaths: list[r.WorkerDied] = []
        self.requeued = 0
        self.gaps = 0  # [bytes]
        self.first_ended_at: float | None = None
        self.last_ended_at = 0.0
        self.recent: deque[tuple[float, int]] = deque()  # when calls ended, and how many
        self.bins: list[r.CallsBinned] = []
        self.pulses: list[r.Pulse] = []

    # --- questions

    def wall(self, at: float) -> float:
        """Wall time of a moment, since 1970. [s]"""
        return at + (self.began.wall_s if self.began else 0.0)

    def name(self, context: Digest) -> str:
        """What people call a context."""
        found = self.contexts.get(context)
        return found.known.name if found else context

    def kind(self, number: int) -> Kind:
        """Calls by their number in the log."""
        found = self.kinds.get(number)
        if found is None:
            found = self.kinds[number] = Kind(r.Work(number=number, name=f"work {number}"))
        return found

    def submission(self, task: int) -> r.PendingRow | None:
        """How a call was submitted, if it was ever seen to wait or run."""
        at = bisect.bisect_right(self.runs, task, key=lambda row: row.task) - 1
        if at >= 0 and task < self.runs[at].task + self.runs[at].size:
            return self.runs[at]
        return None

    def environment_of(self, contexts: Iterable[Digest]) -> str:
        """Environment that calls with these contexts run in; nothing: the managers' own."""
        named = list(contexts)
        if not named:
            return self.began.environment if self.began else ""
        known = (self.contexts[digest].known.environment for digest in named if digest in self.contexts)
        return next((name for name in known if name), "")

    def open_managers(self) -> list[tuple[int, Manager]]:
        """Those that take calls."""
        return [(number, each) for number, each in self.managers.items() if each.is_there and each.is_open]

    def state_of(self, block: Block) -> str:
        """The state of a block, for people: what it is, or what it was when the run ended."""
        word = block.state.lower()
        if block.state in ENDED_STATES:
            return word
        if self.over is not None:
            return f"{word} when the run ended"
        return "left by its managers" if block.left_at is not None else word

    def per_second(self) -> float:
        """Calls of bodies that ended in a second, lately."""
        start = max(0.0, self.last_ended_at - _RECENT_S)
        counted = [(at, count) for at, count in self.recent if at > start]
        span_s = self.last_ended_at - max(start, self.first_ended_at or 0.0)
        return sum(count for _, count in counted) / span_s if span_s > 0.05 else 0.0

    @property
    def tasks(self) -> int:
        """Tasks that ran to their end."""
        return sum(kind.tasks for kind in self.kinds.values())

    # --- records

    def take(self, record: r.Record) -> None:
        """Go on with a record."""
        at = getattr(record, "at", None)
        if at is not None:
            self.at = max(self.at, at)
        _TAKE[type(record)](self, record)

    def take_all(self, records: Iterable[r.Record]) -> Story:
        """Go on with these."""
        for record in records:
            self.take(record)
        return self

    def _begin(self, record: r.Began) -> None:
        self.began = self.began or record

    def _end(self, record: r.Ended) -> None:
        self.over = record

    def _work(self, record: r.Work) -> None:
        self.kind(record.number).work = record

    def _context(self, record: r.ContextKnown) -> None:
        found = self.contexts.get(record.context)
        if found is None:
            self.contexts[record.context] = Context(record)
        else:
            found.known = record

    def _block(self, record: r.BlockSeen) -> None:
        block = self.blocks.get(record.block)
        if block is None:
            block = self.blocks[record.block] = Block(record.block, record.at, state_at=record.at)
        if record.state != block.state:
            block.state_at = record.at
        block.state, block.text = record.state, record.text or (block.text if record.state == block.state else "")
        block.job = record.job or block.job

    def _join(self, record: r.ManagerJoined) -> None:
        manager = self.managers[record.number] = Manager(record)
        for worker, contexts in record.held.items():
            manager.held[worker] = set(contexts)
        block = self.blocks.setdefault(record.block, Block(record.block, record.at - record.up_s))
        if block.joined_at is None:
            block.joined_at = record.at
        if block.state == "PENDING":
            block.state, block.state_at = "RUNNING", record.at
        block.left_at = None

    def _close(self, record: r.ManagerClosed) -> None:
        manager = self.managers.get(record.manager)
        if manager is not None:
            manager.is_open = False
            manager.drains |= record.drains

    def _leave(self, record: r.ManagerLeft) -> None:
        manager = self.managers.get(record.manager)
        if manager is None:
            return
        manager.left_at, manager.left_reason, manager.is_open = record.at, record.reason, False
        for worker, contexts in manager.held.items():
            for context in contexts:
                self._lost(record.manager, worker, context, "its node was lost", record.at)
        for template in manager.templates:
            for context in template:
                self._lost(record.manager, None, context, "its node was lost", record.at)
        manager.held, manager.templates, manager.building, manager.orders = {}, set(), {}, {}
        block = self.blocks.get(manager.joined.block)
        if block and not any(m.is_there for m in self.managers.values() if m.joined.block == block.id):
            block.left_at = record.at

    def _lost(self, manager: int, worker: WorkerId | None, context: Digest, why: str, at: float) -> None:
        found = self.contexts.get(context)
        if found is not None:
            found.dropped[manager, worker] = why
            if (since := found.since.pop((manager, worker), None)) is not None:
                found.spans.append((since, at))

    def _order(self, record: r.BuildOrdered) -> None:
        if (manager := self.managers.get(record.manager)) is not None:
            manager.orders[record.order] = record.contexts, record.at

    def _end_order(self, record: r.OrderEnded) -> None:
        if (manager := self.managers.get(record.manager)) is not None:
            manager.orders.pop(record.order, None)

    def _begin_build(self, record: r.BuildBegan) -> None:
        if (manager := self.managers.get(record.manager)) is not None:
            manager.building[record.context, record.worker] = record.at

    def _end_build(self, record: r.BuildEnded) -> None:
        manager, context = self.managers.get(record.manager), self.contexts.get(record.context)
        if manager is not None:
            manager.building.pop((record.context, record.worker), None)
        if context is not None:
            cause = context.dropped.pop((record.manager, record.worker), "")
            place = record.manager, record.worker
            context.add(Build(record.at, *place, record.load_s, record.size_bytes, cause))
            if (since := context.since.get(place)) is not None:
                context.spans.append((since, record.at))
            context.since[place] = record.at
            context.broken = None

    def _break_build(self, record: r.BuildBroke) -> None:
        manager, context = self.managers.get(record.manager), self.contexts.get(record.context)
        if manager is not None:
            for key in [key for key in manager.building if key[0] == record.context]:
                del manager.building[key]
        if context is not None:
            context.broken = record
            context.failures += 1

    def _hold(self, record: r.Held) -> None:
        if (manager := self.managers.get(record.manager)) is not None:
            manager.held.setdefault(record.worker, set()).add(record.context)

    def _drop(self, record: r.Dropped) -> None:
        manager, context = self.managers.get(record.manager), self.contexts.get(record.context)
        if manager is not None:
            manager.held.get(record.worker, set()).discard(record.context)
        if context is not None:
            if (record.manager, record.worker) in context.since:  # else it had it from a template, which counts
                context.count_end(record.was_evicted)
            why = _GIVEN_UP if record.was_evicted else "its process ended"
            self._lost(record.manager, record.worker, record.context, why, record.at)

    def _template(self, record: r.TemplateHeld) -> None:
        manager = self.managers.get(record.manager)
        if manager is None:
            return
        if record.is_gone:
            manager.templates.discard(record.contexts)
            why = _GIVEN_UP if record.was_evicted else "the process that workers share it from ended"
            for context in record.contexts:
                if (found := self.contexts.get(context)) is not None:
                    found.count_end(record.was_evicted)
                self._lost(record.manager, None, context, why, record.at)
        else:
            manager.templates.add(record.contexts)

    def _note(self, record: r.Noted) -> None:
        if (context := self.contexts.get(record.context)) is not None:
            context.notes.append((record.at, record.text))

    def _refuse(self, record: r.Refused) -> None:
        self.refused[record.manager, record.contexts] = record.reason

    def _begin_environment(self, record: r.EnvironmentBegan) -> None:
        self.environments.setdefault(record.environment, Environment(record.source))
        if (manager := self.managers.get(record.manager)) is not None:
            manager.starting[record.environment] = record.at

    def _end_environment(self, record: r.EnvironmentEnded) -> None:
        manager, found = self.managers.get(record.manager), self.environments.get(record.environment)
        if manager is not None:
            manager.starting.pop(record.environment, None)
            if record.start_s is None:
                manager.environments.discard(record.environment)
            else:
                manager.environments.add(record.environment)
        if found is not None and record.start_s is not None:
            found.starts += 1
            found.start_s += record.start_s

    def _die(self, record: r.WorkerDied) -> None:
        self.deaths.append(record)

    def _seek_file(self, record: r.FileSought) -> None:
        if (manager := self.managers.get(record.manager)) is not None:
            manager.fetching[record.url] = record.at

    def _have_file(self, record: r.FileCame) -> None:
        self.files.append(record)
        if (manager := self.managers.get(record.manager)) is not None:
            manager.fetching.pop(record.url, None)

    # --- calls

    def _calls_ended(self, record: r.CallsEnded) -> None:
        rows = list(record.unpack())
        calls = 0
        held, kinds, managers = self.held, self.kinds, self.managers
        for row in rows:
            _, task, what, number, _, flags, count, run_s, *_ = row
            if task in held:
                del held[task]
            calls += count
            kind = kinds.get(what) or self.kind(what)
            kind.tasks += 1
            kind.calls += count
            kind.raised += flags & 1
            kind.run_s += run_s
            if run_s > kind.longest_s:
                kind.longest_s = run_s
            manager = managers.get(number)
            if manager is not None:
                manager.calls += 1
                manager.busy_s += run_s
        if rows:
            first, last = min(row[0] for row in rows), max(row[0] for row in rows)
            self._count(first, last, calls)
        self.done.add_all(row[1] for row in rows)
        self.raised.add_all(row[1] for row in rows if row[5] & r.Flag.RAISED)
        if self._on_rows is not None:
            self._on_rows(rows)

    def _count(self, first: float, last: float, calls: int) -> None:
        self.at = max(self.at, last)
        if self.first_ended_at is None:
            self.first_ended_at = first
        self.last_ended_at = max(self.last_ended_at, last)
        self.recent.append((last, calls))
        while self.recent and self.recent[0][0] < last - 2 * _RECENT_S:
            self.recent.popleft()

    def _calls_binned(self, record: r.CallsBinned) -> None:
        self.bins.append(record)
        for each in record.bins:
            kind, manager = self.kind(each.what), self.managers.get(each.manager)
            kind.tasks += each.tasks
            kind.calls += each.calls
            kind.raised += each.raised
            kind.run_s += each.run_s
            kind.longest_s = max(kind.longest_s, each.longest_s)
            if manager is not None:
                manager.calls += each.tasks
                manager.busy_s += each.run_s
            at = record.from_at + (each.interval + 1) * record.interval_s
            self._count(at - record.interval_s, at, each.calls)
        for first, last in record.tasks:
            self.done.add(first, last)
        for task in [task for task in self.held if task in self.done]:
            del self.held[task]

    def _calls_pending(self, record: r.CallsPending) -> None:
        for row in record.unpack():
            if row.manager:
                if row.task not in self.done:
                    self.held[row.task] = row
                if self.submission(row.task) is not None:
                    continue
            if not self.runs or row.task > self.runs[-1].task:
                self.runs.append(row)
            else:
                bisect.insort(self.runs, row, key=lambda each: each.task)

    def _calls_returned(self, record: r.CallsReturned) -> None:
        for task in record.tasks:
            self.held.pop(task, None)
        if record.reason:
            self.requeued += len(record.tasks)

    def _calls_over(self, tasks: Iterable[TaskId], outcome: str) -> None:
        for task in tasks:
            self.held.pop(task, None)
            self.outcomes[task] = outcome
            self.done.add(task, task)

    def _calls_cancelled(self, record: r.CallsCancelled) -> None:
        self._calls_over(record.tasks, "cancelled")

    def _calls_failed(self, record: r.CallsFailed) -> None:
        self._calls_over(record.tasks, record.reason)

    def _pulse(self, record: r.Pulse) -> None:
        self.pulse = record
        self.pulses.append(record)

    def _gap(self, record: r.Gap) -> None:
        self.gaps += record.size_bytes


_TAKE: dict[type, Callable[..., None]] = {
    r.Began: Story._begin,
    r.Ended: Story._end,
    r.Work: Story._work,
    r.ContextKnown: Story._context,
    r.BlockSeen: Story._block,
    r.ManagerJoined: Story._join,
    r.ManagerClosed: Story._close,
    r.ManagerLeft: Story._leave,
    r.BuildOrdered: Story._order,
    r.OrderEnded: Story._end_order,
    r.BuildBegan: Story._begin_build,
    r.BuildEnded: Story._end_build,
    r.BuildBroke: Story._break_build,
    r.Held: Story._hold,
    r.Dropped: Story._drop,
    r.TemplateHeld: Story._template,
    r.Noted: Story._note,
    r.Refused: Story._refuse,
    r.EnvironmentBegan: Story._begin_environment,
    r.EnvironmentEnded: Story._end_environment,
    r.WorkerDied: Story._die,
    r.FileSought: Story._seek_file,
    r.FileCame: Story._have_file,
    r.CallsEnded: Story._calls_ended,
    r.CallsBinned: Story._calls_binned,
    r.CallsPending: Story._calls_pending,
    r.CallsReturned: Story._calls_returned,
    r.CallsCancelled: Story._calls_cancelled,
    r.CallsFailed: Story._calls_failed,
    r.Pulse: Story._pulse,
    r.Gap: Story._gap,
}


def waiting_of(story: Story) -> Counter[int]:
    """How many calls of each kind wait, as last said."""
    pulse = story.pulse
    return Counter() if pulse is None else Counter({line.what: line.size for line in pulse.lines})


def seconds_left(story: Story) -> float | None:
    """Time until all calls that are outstanding have ended, at the speed of late; None if that is not known. [s]"""
    pulse = story.pulse
    per_second = story.per_second()
    if pulse is None or not per_second or story.over is not None:
        return None
    outstanding = pulse.waiting + pulse.held
    tasks = max(1, story.tasks)
    calls_per_task = sum(kind.calls for kind in story.kinds.values()) / tasks
    left_s = outstanding * calls_per_task / per_second
    return left_s if math.isfinite(left_s) else None
