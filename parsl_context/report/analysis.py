"""What a report says of a run: its tables and lines over time, from the event log. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from parsl_context.report import records as r
from parsl_context.report.calls import Calls, Place
from parsl_context.report.figures import (
    UNKNOWN,
    BlockFigures,
    BuildFigures,
    CallFigures,
    ContextFigures,
    KindFigures,
    NodeFigures,
    Report,
    Totals,
    TransferFigures,
    WorkerFigures,
    worker_word,
)
from parsl_context.report.parts import Build, Context, Manager
from parsl_context.report.story import Story
from parsl_context.report.timeline import Timeline

_BINS = 400  # in lines over time
_ROWS = 100  # of tables that could be long


def analyse(records: Iterable[r.Record]) -> tuple[Report, Story]:
    """The report of a run, and its story."""
    calls = Calls()
    story = Story(calls.take).take_all(records)
    return Analysis(story, calls).report(), story


class Analysis:
    """Counts."""

    def __init__(self, story: Story, calls: Calls) -> None:
        self.story = story
        self.calls = calls
        self.end = story.at
        self.boxes = calls.boxes(story.bins)
        self._build_s: dict[int, float] = defaultdict(float)  # by manager
        for context in story.contexts.values():
            for build in context.builds:
                self._build_s[build.manager] += build.load_s
        self._context_calls()

    def report(self) -> Report:
        """All that there is to say."""
        story = self.story
        return Report(
            totals=self.totals(),
            contexts=[self._context(context) for context in story.contexts.values()],
            kinds=[self._kind(number) for number in sorted(story.kinds)],
            nodes=[self._node(number, manager) for number, manager in story.managers.items()],
            workers=self.workers(),
            blocks=[
                BlockFigures(
                    block.id,
                    block.job,
                    story.state_of(block),
                    block.asked_at,
                    None if block.joined_at is None else block.joined_at - block.asked_at,
                    block.left_at,
                    block.text,
                )
                for block in story.blocks.values()
            ],
            builds=self._builds()[:_ROWS],
            slowest=self._slowest(),
            transfers=[
                TransferFigures(
                    file.url,
                    self._host(file.manager),
                    file.at,
                    file.took_s,
                    ", ".join(f"{count} from {source}" for source, count in file.chunks.items()),
                )
                for file in story.files[:_ROWS]
            ],
            lines=self.lines(),
            timeline=Timeline(story, self.boxes).data(),
        )

    # --- tables

    def totals(self) -> Totals:
        """The run in numbers."""
        story = self.story
        kinds = story.kinds.values()
        contexts = [self._context(context) for context in story.contexts.values()]
        available_s = sum(manager.joined.slots * self._there_s(manager) for manager in story.managers.values())
        run_s = sum(kind.run_s for kind in kinds)
        span_s = story.last_ended_at - (story.first_ended_at or 0.0)
        calls = sum(kind.calls for kind in kinds)
        cancelled = sum(1 for outcome in story.outcomes.values() if outcome == "cancelled")
        return Totals(
            label=story.began.label if story.began else "",
            began_wall_s=story.wall(0.0),
            duration_s=self.end,
            is_complete=story.over is not None,
            end=story.over.reason if story.over else "the log ends here: the interchange goes on, or was killed",
            blocks=len(story.blocks),
            nodes=len({manager.joined.host for manager in story.managers.values()}),
            most_workers=self._most_workers(),
            tasks=story.tasks,
            calls=calls,
            raised=sum(kind.raised for kind in kinds),
            failed=len(story.outcomes) - cancelled,
            cancelled=cancelled,
            requeued=story.requeued,
            run_s=run_s,
            build_s=sum(each.build_s for each in contexts),
            available_s=available_s,
            slot_use=run_s / available_s if available_s else None,
            builds=sum(each.builds for each in contexts),
            reloads=sum(each.reloads for each in contexts),
            evictions=sum(each.evictions for each in contexts),
            build_failures=sum(each.failures for each in contexts),
            dead_workers=len(story.deaths),
            saved_s=sum(each.saved_s for each in contexts),
            calls_per_s=calls / span_s if span_s > 0.05 else None,
            median_wait_s=self._median_wait(),
            missing_bytes=story.gaps,
        )

    def workers(self) -> list[WorkerFigures]:
        """What each worker did."""
        builds: dict[Place, list[Build]] = defaultdict(list)
        for context in self.story.contexts.values():
            for build in context.builds:
                builds[build.manager, r.NO_WORKER if build.worker is None else build.worker].append(build)
        rows = []
        for place in sorted({*self.boxes, *builds}):
            boxes, built = self.boxes.get(place, []), builds.get(place, [])
            manager = self.story.managers.get(place[0])
            rows.append(
                WorkerFigures(
                    manager.joined.host if manager else "",
                    manager.joined.manager if manager else "",
                    UNKNOWN if place[1] == r.NO_WORKER and not built else worker_word(place[1]),
                    sum(box.calls for box in boxes),
                    sum(box.busy_s for box in boxes),
                    len(built),
                    sum(build.load_s for build in built),
                )
            )
        return rows

    def _context_calls(self) -> None:
        for context in self.story.contexts.values():
            context.tasks, context.calls, context.run_s = 0, 0, 0.0
        for kind in self.story.kinds.values():
            for digest in kind.work.contexts:
                if (found := self.story.contexts.get(digest)) is not None:
                    found.tasks += kind.tasks
                    found.calls += kind.calls
                    found.run_s += kind.run_s

    def _context(self, context: Context) -> ContextFigures:
        usual_s = context.usual_s
        build_s = sum(build.load_s for build in context.builds)
        kept = context.known.reuse not in ("none", "disk")
        saved_s = max(0.0, context.tasks * usual_s - build_s) if usual_s is not None and kept else 0.0
        builds = len(context.builds)
        return ContextFigures(
            name=context.known.name,
            digest=context.known.context,
            builds=builds,
            reloads=sum(1 for build in context.builds if build.cause),
            build_s=build_s,
            mean_build_s=usual_s,
            size_bytes=context.size_bytes,
            evictions=context.evictions,
            losses=context.losses,
            failures=context.failures,
            tasks=context.tasks,
            calls=context.calls,
            run_s=context.run_s,
            hit_rate=max(0.0, 1 - builds / context.tasks) if context.tasks else None,
            saved_s=saved_s,
            note=context.notes[-1][1] if context.notes else "",
        )

    def _kind(self, number: int) -> KindFigures:
        kind = self.story.kinds[number]
        waited_s = self.calls.waited_s.get(number)
        return KindFigures(
            name=kind.work.name,
            contexts=", ".join(self.story.name(digest) for digest in kind.work.contexts),
            tasks=kind.tasks,
            calls=kind.calls,
            raised=kind.raised,
            run_s=kind.run_s,
            mean_s=kind.mean_s,
            longest_s=kind.longest_s,
            mean_wait_s=waited_s / kind.tasks if waited_s is not None and kind.tasks else None,
            code_bytes=kind.work.code_bytes,
        )

    def _node(self, number: int, manager: Manager) -> NodeFigures:
        there_s = self._there_s(manager) * manager.joined.slots
        return NodeFigures(
            manager=manager.joined.manager,
            host=manager.joined.host,
            block=manager.joined.block,
            workers=manager.joined.slots,
            joined_s=manager.joined.at,
            left_s=manager.left_at,
            reason=manager.left_reason,
            tasks=manager.calls,
            busy_s=manager.busy_s,
            build_s=self._build_s[number],
            use=manager.busy_s / there_s if there_s else None,
        )

    def _builds(self) -> list[BuildFigures]:
        rows = [
            BuildFigures(
                context.known.name,
                self._host(build.manager),
                worker_word(build.worker),
                build.at,
                build.load_s,
                build.size_bytes,
                build.cause,
            )
            for context in self.story.contexts.values()
            for build in context.builds
        ]
        return sorted(rows, key=lambda row: -row.load_s)

    def _slowest(self) -> list[CallFigures]:
        return [
            CallFigures(
                slow.task,
                self.story.kind(slow.what).work.name,
                self._host(slow.manager),
                UNKNOWN if slow.worker == r.NO_WORKER else slow.worker,
                slow.started_at,
                slow.run_s,
                slow.waited_s,
            )
            for slow in self.calls.slowest
        ]

    def _host(self, manager: int) -> str:
        found = self.story.managers.get(manager)
        return found.joined.host if found else ""

    def _there_s(self, manager: Manager) -> float:
        return max(0.0, (self.end if manager.left_at is None else manager.left_at) - manager.joined.at)

    def _most_workers(self) -> int:
        changes = Counter[float]()
        for manager in self.story.managers.values():
            changes[manager.joined.at] += manager.joined.slots
            if manager.left_at is not None:
                changes[manager.left_at] -= manager.joined.slots
        most = now = 0
        for at in sorted(changes):
            now += changes[at]
            most = max(most, now)
        return most

    def _median_wait(self) -> float | None:
        waits = sorted(
            since - held
            for columns in self.calls.places.values()
            for since, held in zip(columns.since, columns.held, strict=True)
        )
        return waits[len(waits) // 2] if waits else None

    # --- over time

    def lines(self) -> dict[str, list[float | None]]:
        """Values over time, in as many intervals as fit."""
        width = max(1e-3, self.end / _BINS)
        count = int(self.end / width) + 1
        busy, built, ended = [0.0] * count, [0.0] * count, [0.0] * count
        workers, memory = [0.0] * count, [0.0] * count
        for boxes in self.boxes.values():
            for box in boxes:
                _spread(busy, width, box.start, box.end, box.busy_s)
                ended[min(count - 1, int(box.end / width))] += box.calls
        for context in self.story.contexts.values():
            for build in context.builds:
                _spread(built, width, build.at - build.load_s, build.at, build.load_s)
        for manager in self.story.managers.values():
            there_s = self._there_s(manager)
            start = manager.joined.at
            _spread(workers, width, start, start + there_s, there_s * manager.joined.slots)
        for start, end, size_bytes in self._instances():
            _spread(memory, width, start, end, (end - start) * size_bytes)
        waiting: list[float | None] = [None] * count
        for pulse in self.story.pulses:
            waiting[min(count - 1, int(pulse.at / width))] = float(pulse.waiting)
        known: float | None = 0.0
        for at in range(count):
            known = waiting[at] = waiting[at] if waiting[at] is not None else known
        return {
            "time": [round((at + 0.5) * width, 4) for at in range(count)],
            "busy": [round(value / width, 3) for value in busy],
            "building": [round(value / width, 3) for value in built],
            "workers": [round(value / width, 3) for value in workers],
            "calls_per_s": [round(value / width, 2) for value in ended],
            "waiting": waiting,
            "memory": [round(value / width) for value in memory],
        }

    def _instances(self) -> Iterator[tuple[float, float, int]]:
        """From when to when each instance was there, and its size."""
        for context in self.story.contexts.values():
            for start, end in (*context.spans, *((since, self.end) for since in context.since.values())):
                yield start, end, context.size_bytes


def _spread(bins: list[float], width: float, start: float, end: float, amount: float) -> None:
    """Add an amount to the intervals that it belongs to, in proportion."""
    last = len(bins) - 1
    first_bin, last_bin = min(last, max(0, int(start / width))), min(last, max(0, int(end / width)))
    if first_bin == last_bin or end <= start:
        bins[first_bin] += amount
        return
    for at in range(first_bin, last_bin + 1):
        overlap = min(end, (at + 1) * width) - max(start, at * width)
        bins[at] += amount * overlap / (end - start)
