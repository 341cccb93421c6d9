"""Puts calls and builds beside Parsl's monitoring, as tables of its SQLite database that its own can be joined with.

`context_call` has a row for each call that ended: join it with `try` by `run_id`, `task_id` and `try_id`.
`context_build` has a row for each build.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from parsl_context.report.calls import Calls, Columns, Place
from parsl_context.report.reading import LogReader
from parsl_context.report.records import NO_WORKER
from parsl_context.report.story import Story
from parsl_context.report.tries import read_tries

_CALL = """create table if not exists context_call (
    run_id text, executor text, executor_task integer, task_id integer, try_id integer, app text, contexts text,
    was_cold integer, build_s real, hostname text, manager text, block_id text, worker integer,
    time_submitted real, time_started real, time_ended real, waited_s real, run_s real)"""
_BUILD = """create table if not exists context_build (
    run_id text, executor text, context text, hostname text, manager text, block_id text, worker integer,
    time_ended real, build_s real, size_bytes integer, cause text)"""


def write_tables(folder: Path, database: Path) -> tuple[int, int]:
    """Put the calls and builds of a log into a database, in the place of those put there before. Gives how many.

    Raises
    ------
    sqlite3.Error
        If it is no database, or in use.
    """
    calls = Calls()
    story = Story(calls.take).take_all(LogReader(folder).read())
    began = story.began
    run_id, label = (began.run_id, began.label) if began else (None, "")
    call_rows = [(run_id, label, *row) for row in _calls(story, calls, folder)]
    build_rows = [(run_id, label, *row) for row in _builds(story)]
    with closing(sqlite3.connect(database, timeout=30.0)) as connection, connection:
        for table, create, rows in (("context_call", _CALL, call_rows), ("context_build", _BUILD, build_rows)):
            connection.execute(create)
            connection.execute(f"delete from {table} where run_id is ? and executor is ?", (run_id, label))
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"insert into {table} values ({marks})", rows)
    return len(call_rows), len(build_rows)


def _calls(story: Story, calls: Calls, folder: Path) -> Iterator[tuple[Any, ...]]:
    tries = {call: (task, number) for call, task, number in read_tries(folder)}
    builds: dict[Place, list[tuple[float, float]]] = defaultdict(list)
    for context in story.contexts.values():
        for build in context.builds:
            worker = NO_WORKER if build.worker is None else build.worker
            builds[build.manager, worker].append((build.at, build.load_s))
    for place, columns in calls.places.items():
        yield from _calls_of(story, place, columns, sorted(builds[place]), tries)


def _calls_of(
    story: Story,
    place: Place,
    columns: Columns,
    builds: list[tuple[float, float]],
    tries: dict[int, tuple[int, int]],
) -> Iterator[tuple[Any, ...]]:
    """Rows of the calls of a worker. A build counts for the first call that ended after it."""
    manager = story.managers.get(place[0])
    joined = manager.joined if manager else None
    where = (joined.host, joined.manager, joined.block) if joined else (None, None, None)
    worker = None if place[1] == NO_WORKER else place[1]
    for at, ended_at in enumerate(columns.ends):
        work = story.kind(columns.whats[at]).work
        build_s, was_built = 0.0, False
        while work.contexts and builds and builds[0][0] <= ended_at:
            build_s += builds.pop(0)[1]
            was_built = True
        task, number = tries.get(columns.tasks[at], (None, None))
        times = story.wall(ended_at - columns.since[at]), story.wall(ended_at - columns.runs[at]), story.wall(ended_at)
        yield (
            columns.tasks[at],
            task,
            number,
            work.name,
            ", ".join(story.name(digest) for digest in work.contexts),
            int(was_built or (work.fresh and bool(work.contexts))),
            build_s,
            *where,
            worker,
            *times,
            columns.since[at] - columns.held[at],
            columns.runs[at],
        )


def _builds(story: Story) -> Iterator[tuple[Any, ...]]:
    for context in story.contexts.values():
        for build in context.builds:
            manager = story.managers.get(build.manager)
            joined = manager.joined if manager else None
            where = (joined.host, joined.manager, joined.block) if joined else (None, None, None)
            at = story.wall(build.at)
            yield context.known.name, *where, build.worker, at, build.load_s, build.size_bytes, build.cause
