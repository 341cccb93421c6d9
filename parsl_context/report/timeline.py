"""The timeline of a report: what each worker did, or each node where these are many. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from parsl_context.report import records as r
from parsl_context.report.calls import Box, Place, merged
from parsl_context.report.figures import UNKNOWN, worker_word
from parsl_context.report.story import Story

WORKERS_SHOWN = 256  # beyond that it is of nodes
_BOXES = 60_000  # at the most


class Timeline:
    """Makes the timeline of a story.

    Parameters
    ----------
    boxes
        What each worker did.
    """

    def __init__(self, story: Story, boxes: dict[Place, list[Box]]) -> None:
        self.story = story
        self.boxes = boxes
        self.end = story.at

    def data(self) -> dict[str, Any]:
        """Lanes of workers, or of nodes where these are many, with what was done when: integers, by differences."""
        unit_s = max(1e-6, self.end / 2_000_000)
        lanes = self._node_lanes() if len(self.boxes) > WORKERS_SHOWN else self._worker_lanes()
        return {
            "unit_s": unit_s,
            "end_s": self.end,
            "of": "nodes" if len(self.boxes) > WORKERS_SHOWN else "workers",
            "kinds": {number: kind.work.name for number, kind in self.story.kinds.items()},
            "contexts": [context.known.name for context in self.story.contexts.values()],
            "lanes": [
                {"name": name, "calls": _packed(boxes, unit_s), "builds": _packed(builds, unit_s)}
                for name, boxes, builds in lanes
            ],
        }

    def _worker_lanes(self) -> list[tuple[str, list[Box], list[Box]]]:
        builds = self._build_boxes()
        boxes = self.boxes
        total = sum(map(len, boxes.values()))
        span_s = len(boxes) * self.end / _BOXES
        while total > _BOXES and span_s < 2 * self.end:
            boxes = {place: list(merged(each, span_s)) for place, each in self.boxes.items()}
            total = sum(map(len, boxes.values()))
            span_s *= 1.5
        return [
            (self._lane_name(place, place in builds), boxes.get(place, []), builds.get(place, []))
            for place in sorted({*boxes, *builds})
        ]

    def _lane_name(self, place: Place, builds: bool) -> str:
        name = UNKNOWN if place[1] == r.NO_WORKER and not builds else worker_word(place[1])
        return f"{self._host(place[0])} {name}"

    def _build_boxes(self) -> dict[Place, list[Box]]:
        found: dict[Place, list[Box]] = defaultdict(list)
        for index, context in enumerate(self.story.contexts.values()):
            for build in context.builds:
                place = build.manager, r.NO_WORKER if build.worker is None else build.worker
                found[place].append(Box(build.at - build.load_s, build.at, index, 1, build.load_s))
        for boxes in found.values():
            boxes.sort()
        return found

    def _node_lanes(self) -> list[tuple[str, list[Box], list[Box]]]:
        managers = self.story.managers
        count = max(50, min(1000, _BOXES // max(1, len(managers))))
        boxes_of: dict[int, list[Box]] = defaultdict(list)
        for (number, _), boxes in self.boxes.items():
            boxes_of[number] += boxes
        return [
            (manager.joined.host, self._intervals(boxes_of[number], manager.joined.slots, count), [])
            for number, manager in managers.items()
        ]

    def _intervals(self, boxes: list[Box], slots: int, count: int) -> list[Box]:
        """What a node did in each of so many intervals: the kind of most of its calls, and the share of its workers."""
        width = max(1e-3, self.end / count)
        busy_s: dict[int, float] = defaultdict(float)
        kinds: dict[int, Counter[int]] = defaultdict(Counter)
        for box in boxes:
            at = min(count - 1, int(box.end / width))
            busy_s[at] += box.busy_s / slots
            kinds[at][box.what] += box.calls
        return [
            Box(at * width, (at + 1) * width, found.most_common(1)[0][0], found.total(), min(width, busy_s[at]))
            for at, found in sorted(kinds.items())
        ]

    def _host(self, manager: int) -> str:
        found = self.story.managers.get(manager)
        return found.joined.host if found else "?"


def _packed(boxes: Iterable[Box], unit_s: float) -> list[int]:
    """Boxes as numbers, five each: from the end of the one before, length, kind, calls, busy share in percent."""
    numbers: list[int] = []
    before = 0
    for box in boxes:
        start, end = round(box.start / unit_s), round(box.end / unit_s)
        span_s = box.end - box.start
        share = 100 if span_s <= 0 else min(100, round(100 * box.busy_s / span_s))
        numbers += [start - before, end - start, box.what, box.calls, share]
        before = end
    return numbers
