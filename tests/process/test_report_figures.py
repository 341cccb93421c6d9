"""Every number of a report, recomputed from what the calls and contexts of a real run have noted down themselves."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.data_provider.files import File

from parsl_context import ContextBuildError, ContextExecutor, WorkerLost, context, context_app
from parsl_context.report import figures
from parsl_context.report.making import make_report
from parsl_context.report.reading import find_logs
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
BUILD_S = 0.2
WORKERS = 2
CLOCK_S = 0.06  # between what the log and a process take to be the time of the same thing, on a busy machine
TABLES = {
    "totals": figures.Totals,
    "contexts": figures.ContextFigures,
    "kinds": figures.KindFigures,
    "nodes": figures.NodeFigures,
    "workers": figures.WorkerFigures,
    "blocks": figures.BlockFigures,
    "builds": figures.BuildFigures,
    "slowest": figures.CallFigures,
    "transfers": figures.TransferFigures,
}


def who() -> dict[str, Any]:
    """This process, as the node knows it."""
    title = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode()
    return {"pid": os.getpid(), "worker": int(title.rpartition("-")[2]), "host": os.uname().nodename}


@context
def noted(folder: str, name: str, file: File | None = None) -> dict[str, Any]:
    """Notes down that it was built, by whom and how long that took."""
    start = time.time()
    time.sleep(BUILD_S)
    is_bad = name == "bad"
    with open(f"{folder}/builds", "a") as notes:
        entry = {"name": name, "start": start, "end": time.time(), **who()}
        notes.write(json.dumps(entry) + "\n")
    if is_bad:
        raise ValueError("it never works")
    return {"name": name}


def use(held: dict[str, Any], number: int, seconds: float) -> dict[str, Any]:
    start = time.time()
    time.sleep(seconds)
    return {"name": held["name"], "number": number, "start": start, "end": time.time(), **who()}


def break_down(held: dict[str, Any]) -> None:
    raise ZeroDivisionError(held["name"])


def die(held: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Raw:
    """What was seen of the run by those who took part in it. Times are those of the clock, in seconds."""

    label: str
    manager: str
    job: str
    file: Path
    digests: dict[str, str]
    names: dict[str, str]
    began: float
    joined: float  # when the script saw that the manager was there
    ended: float
    calls: list[dict[str, Any]]  # that gave something back
    sent: dict[int, float]  # when, by their numbers
    tasks: dict[int, int]  # their numbers in the log: they were submitted in that order
    cancelled: int
    builds: list[dict[str, Any]]  # that ended well
    failures: list[dict[str, Any]]
    zero: float = 0.0  # when the log begins

    def of(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.calls if each["name"] == name]

    def built(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.builds if each["name"] == name]

    def is_reload(self, build: dict[str, Any]) -> bool:
        """Whether a worker, or the one in whose place it is, had the context before."""
        same = (each for each in self.built(build["name"]) if each["worker"] == build["worker"])
        return any(each["end"] < build["start"] for each in same)

    def reloads(self, name: str) -> int:
        return sum(map(self.is_reload, self.built(name)))


def run(load: Load, folder: Path) -> Raw:
    """Contexts that take turns in workers that keep one each; one that never works, and a worker that dies."""
    began = time.time()
    file = folder / "weights"
    file.write_bytes(os.urandom(5 << 20))
    executor = load(max_workers_per_node=WORKERS, max_contexts_per_worker=1)
    wait_for(executor.connected_managers)
    joined = time.time()
    specs = {
        "first": noted(str(folder), "first"),
        "second": noted(str(folder), "second", File(str(file))),
        "bad": noted(str(folder), "bad"),
    }
    sent: dict[int, float] = {}
    tasks: dict[int, int] = {}
    submitted = 0

    def submit(name: str, body: Any, *args: Any) -> Any:
        nonlocal submitted
        submitted += 1
        if body is use:
            sent[args[0]], tasks[args[0]] = time.time(), submitted
        return executor.submit(context_app(context=specs[name])(body).func, {}, *args)

    calls = []
    for turn, name in enumerate(("first", "second", "first")):
        futures = [submit(name, use, 100 * turn + i, 0.02 + 0.01 * (i % 3)) for i in range(12)]
        calls += [future.result(timeout=60) for future in futures]
    with pytest.raises(ZeroDivisionError):
        submit("first", break_down).result(timeout=60)
    with pytest.raises(ContextBuildError):
        submit("bad", use, 300, 0.0).result(timeout=60)
    with pytest.raises(WorkerLost):
        submit("first", die).result(timeout=60)
    busy = [submit("first", use, number, 0.4) for number in (401, 402)]
    waiting = [submit("first", use, number, 0.05) for number in (403, 404, 405)]
    cancelled = sum(future.cancel() for future in waiting)
    calls += [future.result(timeout=60) for future in [*busy, *waiting] if not future.cancelled()]
    time.sleep(1.2)  # a build that nobody waits for any more ends as well
    (row,) = executor.connected_managers()
    (job,) = executor.blocks_to_job_id.values()
    digests = {name: spec.digest for name, spec in specs.items()}
    parsl.dfk().cleanup()
    builds = [json.loads(line) for line in (folder / "builds").read_text().splitlines()]
    good = [each for each in builds if each["name"] != "bad"]
    bad = [each for each in builds if each["name"] == "bad"]
    names = {name: spec.name for name, spec in specs.items()}
    facts = (executor.label, row["manager"], str(job), file, digests, names)
    return Raw(*facts, began, joined, time.time(), calls, sent, tasks, cancelled, good, bad)


def about(seconds: float, count: int = 1) -> Any:
    """A time that was measured elsewhere as well, so often."""
    return pytest.approx(seconds, abs=CLOCK_S * max(1, count))


def total(entries: list[dict[str, Any]]) -> float:
    return math.fsum(each["end"] - each["start"] for each in entries)


def run_of(entry: dict[str, Any]) -> float:
    return float(entry["end"] - entry["start"])


def evictions(raw: Raw, name: str) -> int:
    """Instances after which their worker has built another one, or tried to: it keeps one."""
    by_worker = defaultdict(list)
    for each in sorted([*raw.builds, *raw.failures], key=lambda each: each["end"]):
        by_worker[each["pid"]].append(each)
    return sum(sum(each["name"] == name != "bad" for each in built[:-1]) for built in by_worker.values())


def ran(raw: Raw, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of a kind that gave something back."""
    return raw.of(name_of(row)) if row["name"] == "use" else []


def by(entries: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """What a worker did."""
    return [each for each in entries if each["worker"] == row["worker"]]


def name_of(row: dict[str, Any]) -> str:
    """Which of the contexts a row is of."""
    text = " ".join(str(row.get(field, "")) for field in ("name", "context", "contexts"))
    (found,) = [name for name in CONTEXTS if f"'{name}'" in text]
    return found


def extra(row: dict[str, Any]) -> int:
    """Calls of a context that have raised, and so gave nothing back."""
    return int(name_of(row) == "first")


def loads(raw: Raw, row: dict[str, Any]) -> Any:
    """Time that builds take: of the functions, and before these of what they import, and of their files."""
    built = raw.built(name_of(row))
    return range_of(total(built), total(built) + len(built) * (0.7 if name_of(row) == "second" else CLOCK_S))


@dataclass
class range_of:
    """Equals what lies within."""

    low: float
    high: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float | int) and self.low - 1e-3 <= other <= self.high + 1e-3

    __hash__ = None  # type: ignore[assignment]


def call_of(raw: Raw, row: dict[str, Any]) -> dict[str, Any]:
    """The call that a row is of."""
    (found,) = [each for each in raw.calls if raw.tasks[each["number"]] == row["task"]]
    return found


def waits(calls: list[dict[str, Any]], raw: Raw, of: Callable[[list[float]], float] = max) -> Any:
    """Until calls are sent to a node, which may have them wait a while longer for a build."""
    longest = of([each["start"] - raw.sent[each["number"]] for each in calls])
    return range_of(0.5 * longest - 2 * BUILD_S, longest + 3 * CLOCK_S)


def build_of(raw: Raw, row: dict[str, Any]) -> dict[str, Any]:
    """The build that a row is of: the one that ended then on its worker."""
    return min(by(raw.built(name_of(row)), row), key=lambda each: abs(raw.zero + row["ended_s"] - each["end"]))


CONTEXTS = ("first", "second", "bad")
Check = Callable[[Raw, dict[str, Any]], Any]
# Of each table, each field: what it must be, from what was noted; or whether it is so.
CHECKS: dict[str, dict[str, Check]] = {
    "totals": {
        "label": lambda raw, row: raw.label,
        "began_wall_s": lambda raw, row: range_of(raw.began, raw.joined),
        "duration_s": lambda raw, row: range_of(
            max(each["end"] for each in raw.calls) - raw.joined, raw.ended - raw.began
        ),
        "is_complete": lambda raw, row: True,
        "end": lambda raw, row: "the executor quits",
        "blocks": lambda raw, row: 1,
        "nodes": lambda raw, row: len({each["host"] for each in raw.calls}),
        "most_workers": lambda raw, row: WORKERS,
        "tasks": lambda raw, row: len(raw.calls) + 1,  # and the one that raised
        "calls": lambda raw, row: len(raw.calls) + 1,
        "raised": lambda raw, row: 1,
        "failed": lambda raw, row: 2,  # the one whose context never works, and the one whose worker died
        "cancelled": lambda raw, row: raw.cancelled,
        "requeued": lambda raw, row: 0,
        "run_s": lambda raw, row: about(total(raw.calls), 2),
        "build_s": lambda raw, row: range_of(total(raw.builds), total(raw.builds) + 0.7 * len(raw.builds)),
        "available_s": lambda raw, row: range_of(
            WORKERS * (max(each["end"] for each in raw.calls) - raw.joined), WORKERS * (raw.ended - raw.began)
        ),
        "slot_use": lambda raw, row: pytest.approx(row["run_s"] / row["available_s"]),
        "builds": lambda raw, row: len(raw.builds),
        "reloads": lambda raw, row: raw.reloads("first") + raw.reloads("second"),
        "evictions": lambda raw, row: evictions(raw, "first") + evictions(raw, "second"),
        "build_failures": lambda raw, row: len(raw.failures),
        "dead_workers": lambda raw, row: 1,
        "saved_s": lambda raw, row: range_of(
            (len(raw.of("first")) + 1) * BUILD_S + len(raw.of("second")) * BUILD_S - row["build_s"],
            (len(raw.calls) + 1) * 2 * BUILD_S,
        ),
        "calls_per_s": lambda raw, row: pytest.approx(
            (len(raw.calls) + 1) / (max(each["end"] for each in raw.calls) - min(each["start"] for each in raw.calls)),
            rel=0.1,
        ),
        "median_wait_s": lambda raw, row: waits(raw.calls, raw, statistics.median),
        "missing_bytes": lambda raw, row: 0,
    },
    "contexts": {
        "name": lambda raw, row: raw.names[name_of(row)],
        "digest": lambda raw, row: raw.digests[name_of(row)],
        "builds": lambda raw, row: len(raw.built(name_of(row))),
        "reloads": lambda raw, row: raw.reloads(name_of(row)),
        "build_s": loads,
        "mean_build_s": lambda raw, row: pytest.approx(row["build_s"] / row["builds"]) if row["builds"] else None,
        "size_bytes": lambda raw, row: range_of(0, 50e6) if row["builds"] else 0,  # of little more than a dictionary
        "evictions": lambda raw, row: evictions(raw, name_of(row)),
        "losses": lambda raw, row: int(name_of(row) == "first"),  # with the worker that died
        "failures": lambda raw, row: len(raw.failures) if name_of(row) == "bad" else 0,
        "tasks": lambda raw, row: len(raw.of(name_of(row))) + extra(row),
        "calls": lambda raw, row: len(raw.of(name_of(row))) + extra(row),
        "run_s": lambda raw, row: about(total(raw.of(name_of(row))), 2),
        "hit_rate": lambda raw, row: (
            pytest.approx(1 - len(raw.built(name_of(row))) / (len(raw.of(name_of(row))) + extra(row)))
            if raw.of(name_of(row))
            else None
        ),
        "saved_s": lambda raw, row: pytest.approx(
            (len(raw.of(name_of(row))) + extra(row)) * (row["mean_build_s"] or 0) - row["build_s"]
        ),
        "note": lambda raw, row: "",
    },
    "kinds": {
        "name": lambda raw, row: row["name"] if row["name"] in ("use", "break_down", "die") else None,
        "contexts": lambda raw, row: raw.names[name_of(row)],
        "tasks": lambda raw, row: len(ran(raw, row)) + (row["name"] == "break_down"),
        "calls": lambda raw, row: len(ran(raw, row)) + (row["name"] == "break_down"),
        "raised": lambda raw, row: int(row["name"] == "break_down"),
        "run_s": lambda raw, row: about(total(ran(raw, row)), 2),
        "mean_s": lambda raw, row: (
            about(statistics.mean(map(run_of, ran(raw, row)))) if ran(raw, row) else row["run_s"] or None
        ),
        "longest_s": lambda raw, row: about(max(map(run_of, ran(raw, row)), default=0.0)),
        "mean_wait_s": lambda raw, row: (
            waits(ran(raw, row), raw, statistics.mean)
            if ran(raw, row)
            else (about(0.0, 3) if row["name"] == "break_down" else None)
        ),
        "code_bytes": lambda raw, row: range_of(100, 5_000),
    },
    "nodes": {
        "manager": lambda raw, row: raw.manager,
        "host": lambda raw, row: raw.calls[0]["host"],
        "block": lambda raw, row: "0",
        "workers": lambda raw, row: WORKERS,
        "joined_s": lambda raw, row: range_of(0.0, raw.joined - raw.began),
        "left_s": lambda raw, row: range_of(max(each["end"] for each in raw.calls) - raw.joined, raw.ended - raw.began),
        "reason": lambda raw, row: "it has drained",
        "tasks": lambda raw, row: len(raw.calls) + 1,
        "busy_s": lambda raw, row: about(total(raw.calls), 2),
        "build_s": lambda raw, row: range_of(total(raw.builds), total(raw.builds) + 0.7 * len(raw.builds)),
        "use": lambda raw, row: pytest.approx(row["busy_s"] / (WORKERS * (row["left_s"] - row["joined_s"]))),
    },
    "workers": {
        "host": lambda raw, row: raw.calls[0]["host"],
        "manager": lambda raw, row: raw.manager,
        "worker": lambda raw, row: row["worker"] if row["worker"] in range(WORKERS) else None,
        "calls": lambda raw, row: range_of(len(by(raw.calls, row)), len(by(raw.calls, row)) + 1),  # one has raised
        "busy_s": lambda raw, row: about(total(by(raw.calls, row)), 2),
        "builds": lambda raw, row: len(by(raw.builds, row)),
        "build_s": lambda raw, row: range_of(
            total(by(raw.builds, row)), total(by(raw.builds, row)) + 0.7 * row["builds"]
        ),
    },
    "blocks": {
        "block": lambda raw, row: "0",
        "job": lambda raw, row: raw.job,
        "state": lambda raw, row: "running when the run ended",
        "asked_s": lambda raw, row: range_of(0.0, raw.joined - raw.began),
        "queue_s": lambda raw, row: range_of(0.0, raw.joined - raw.began),
        "left_s": lambda raw, row: range_of(max(each["end"] for each in raw.calls) - raw.joined, raw.ended - raw.began),
        "text": lambda raw, row: "",
    },
    "builds": {
        "context": lambda raw, row: raw.names[name_of(row)],
        "host": lambda raw, row: raw.calls[0]["host"],
        "worker": lambda raw, row: build_of(raw, row)["worker"],
        "ended_s": lambda raw, row: about(build_of(raw, row)["end"] - raw.zero, 3),
        "load_s": lambda raw, row: range_of(run_of(build_of(raw, row)), run_of(build_of(raw, row)) + 0.7),
        "size_bytes": lambda raw, row: range_of(0, 50e6),
        "cause": lambda raw, row: row["cause"] if bool(row["cause"]) == raw.is_reload(build_of(raw, row)) else None,
    },
    "slowest": {
        "task": lambda raw, row: row["task"] if call_of(raw, row) else None,
        "name": lambda raw, row: "use",
        "host": lambda raw, row: raw.calls[0]["host"],
        "worker": lambda raw, row: call_of(raw, row)["worker"],
        "started_s": lambda raw, row: about(call_of(raw, row)["start"] - raw.zero),
        "run_s": lambda raw, row: about(run_of(call_of(raw, row))),
        "waited_s": lambda raw, row: waits([call_of(raw, row)], raw),
    },
    "transfers": {
        "url": lambda raw, row: str(raw.file),
        "host": lambda raw, row: raw.calls[0]["host"],
        "ended_s": lambda raw, row: range_of(0.0, min(each["start"] for each in raw.built("second")) - raw.zero),
        "took_s": lambda raw, row: range_of(0.0, 3.0),
        "chunks": lambda raw, row: "5 from the origin",
    },
}


def checked(check: Check, raw: Raw, row: dict[str, Any]) -> Any:
    """What it must be; an error if the row is of nothing that there was."""
    try:
        return check(raw, row)
    except (ValueError, ZeroDivisionError) as error:
        return error


def wrong(raw: Raw, tables: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Numbers that are not what they must be."""
    raw.zero = tables["totals"][0]["began_wall_s"]
    return [
        f"{name}.{field} of {row.get('name', row.get('context', ''))}: {row[field]!r}, not {must_be!r}"
        for name, rows in tables.items()
        for row in rows
        for field, check in CHECKS[name].items()
        if row[field] != (must_be := checked(check, raw, row))
    ]


def test_every_number_of_a_report_is_what_was_noted_in_the_run(load: Load, run_dir: Path) -> None:
    assert {name: [each.name for each in fields(kind)] for name, kind in TABLES.items()} == {
        name: [*checks] for name, checks in CHECKS.items()
    }, "each field of each table is recomputed"
    raw = run(load, run_dir)
    assert raw.cancelled > 0
    tables = make_report(find_logs(run_dir)[0]).tables()
    assert tables.keys() == TABLES.keys()
    assert {name: len(rows) for name, rows in tables.items()} == {
        "totals": 1,
        "contexts": 3,
        "kinds": 5,
        "nodes": 1,
        "workers": WORKERS,
        "blocks": 1,
        "builds": len(raw.builds),
        "slowest": len(raw.calls) + 1,
        "transfers": 1,
    }
    tables["slowest"] = [row for row in tables["slowest"] if row["name"] == "use"]
    assert wrong(raw, tables) == []
    for name, rows in tables.items():
        for field in CHECKS[name]:
            changed = {**tables, name: [{**rows[0], field: other_than(rows[0][field])}, *rows[1:]]}
            assert wrong(raw, changed), f"an error in {name}.{field} is not seen"


def other_than(value: Any) -> Any:
    """What no check of the value lets pass."""
    if isinstance(value, bool):
        return not value
    return f"{value}, not" if isinstance(value, str) else 3.0 * (value or 0) + 1e9
