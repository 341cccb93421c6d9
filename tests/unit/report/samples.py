"""Records of a run, made by hand; and calls as a worker would run them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from parsl_context.report import records as r
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId

MODEL, WORDS = Digest("d-model"), Digest("d-words")


def began(**changes: Any) -> r.Began:
    known: dict[str, Any] = {"version": r.LOG_VERSION, "label": "contexts", "wall_s": 1.7e9, "pid": 1, "host": "login"}
    return r.Began(**{**known, **changes})


def known(context: Digest = MODEL, name: str = "model('a.pt')", **changes: Any) -> r.ContextKnown:
    return r.ContextKnown(**{"at": 0.0, "context": context, "name": name, "reuse": "memory", **changes})


def work(number: int = 1, name: str = "classify", contexts: Sequence[Digest] = (MODEL,), **changes: Any) -> r.Work:
    return r.Work(number=number, name=name, contexts=tuple(contexts), **changes)


def joined(number: int = 1, host: str = "n1", at: float = 1.0, **changes: Any) -> r.ManagerJoined:
    options: dict[str, Any] = {"manager": ManagerId(f"m{number}"), "block": "0", "slots": 2, "memory_bytes": 10**10}
    return r.ManagerJoined(**{"at": at, "number": number, "host": host, **options, **changes})


def built(
    at: float, worker: int | None = 0, load_s: float = 1.0, context: Digest = MODEL, **changes: Any
) -> list[r.Record]:
    """A build, from beginning to end; of a worker, which holds it then."""
    number = changes.pop("manager", 1)
    place = None if worker is None else WorkerId(worker)
    found: list[r.Record] = [
        r.BuildBegan(at=at - load_s, manager=number, context=context, worker=place),
        r.BuildEnded(at=at, manager=number, context=context, load_s=load_s, worker=place, **changes),
    ]
    if place is not None:
        found.append(r.Held(at=at, manager=number, context=context, worker=place))
    return found


def ended(
    calls: Iterable[tuple[float, int, float]], *, what: int = 1, manager: int = 1, worker: int = 0
) -> r.CallsEnded:
    """Calls by when they were heard of, number and run time."""
    rows = [
        r.EndedRow(at, task, what, manager, worker, 0, 1, run_s, run_s + 0.001, run_s + 0.5)
        for at, task, run_s in calls
    ]
    return r.CallsEnded(rows=b"".join(r.ended_row.pack(*row) for row in rows))


def waits(
    task: int, size: int = 1, *, what: int = 1, at: float = 0.0, priority: float = float("inf")
) -> r.CallsPending:
    return r.CallsPending(at=at, rows=r.pending_row.pack(task, size, what, 0, at, 0.0, priority))


def held(task: int, *, what: int = 1, manager: int = 1, sent_at: float = 1.0) -> r.CallsPending:
    row = r.pending_row.pack(task, 1, what, manager, 0.0, sent_at, float("inf"))
    return r.CallsPending(at=sent_at, rows=row)


def pulse(at: float, *lines: tuple[int, int, int, float], held: int = 0, priority: float = float("inf")) -> r.Pulse:
    """Lines by kind, size, first call and since when that waits."""
    rows = [r.Waiting(*line, priority) for line in lines]
    return r.Pulse(at=at, waiting=sum(row.size for row in rows), held=held, lines=rows)


def tasks(*numbers: int) -> list[TaskId]:
    return [TaskId(number) for number in numbers]
