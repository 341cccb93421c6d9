"""A run as a trace for Perfetto and chrome://tracing: calls and builds of each worker.

The form is that of Google's "Trace Event Format" (JSON): a process for each node, a thread for each worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from parsl_context.report.calls import Calls
from parsl_context.report.records import NO_WORKER, Record
from parsl_context.report.story import Story


def write_trace(records: Iterable[Record], path: Path) -> None:
    """Write the trace of a run, an event on each line."""
    calls = Calls()
    story = Story(calls.take).take_all(records)
    with path.open("w") as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        first = True
        for event in events(story, calls):
            file.write(("" if first else ",\n") + json.dumps(event))
            first = False
        file.write("\n]}\n")


def events(story: Story, calls: Calls) -> Iterator[dict[str, Any]]:
    """The events of a trace. Times are in microseconds."""
    boxes = calls.boxes(story.bins)
    for number, manager in story.managers.items():
        name = f"{manager.joined.host}, block {manager.joined.block}, manager {manager.joined.manager}"
        yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}}
    for (number, worker), found in sorted(boxes.items()):
        thread = "unknown worker" if worker == NO_WORKER else f"worker {worker}"
        yield {"ph": "M", "name": "thread_name", "pid": number, "tid": worker, "args": {"name": thread}}
        for box in found:
            yield {
                "ph": "X",
                "cat": "call",
                "name": story.kind(box.what).work.name,
                "pid": number,
                "tid": worker,
                "ts": round(1e6 * box.start, 1),
                "dur": round(1e6 * (box.end - box.start), 1),
                "args": {"calls": box.calls},
            }
    for context in story.contexts.values():
        for build in context.builds:
            yield {
                "ph": "X",
                "cat": "build",
                "name": f"builds {context.known.name}",
                "pid": build.manager,
                "tid": NO_WORKER if build.worker is None else build.worker,
                "ts": round(1e6 * (build.at - build.load_s), 1),
                "dur": round(1e6 * build.load_s, 1),
                "args": {"again": build.cause} if build.cause else {},
            }
    for pulse in story.pulses:
        yield {
            "ph": "C",
            "name": "calls that wait",
            "pid": 0,
            "ts": round(1e6 * pulse.at, 1),
            "args": {"n": pulse.waiting},
        }
