"""What the event log of real runs tells: figures as of the raw results, reasons why calls wait, the end of a run."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.logconfigs.json import JSONLogging
from parsl.monitoring import MonitoringHub
from parsl.providers import LocalProvider

from parsl_context import ContextBuildError, ContextExecutor, EventLogError, context, context_app
from parsl_context.report.analysis import analyse
from parsl_context.report.calls import Calls
from parsl_context.report.making import make_report
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.story import Story
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
WRITTEN_S = 1.2  # what happened is in the log after that


@context
def table(seconds: float, name: str = "a") -> dict[str, float]:
    time.sleep(seconds)
    return {"built": time.time(), "pid": os.getpid()}


def large(seconds: float, name: str) -> bytes:
    time.sleep(seconds)
    return b"x" * 200_000_000


@context_app(context=table(0.3))
def timed(held: dict[str, float], seconds: float) -> tuple[int, float, float]:
    start = time.time()
    time.sleep(seconds)
    return os.getpid(), start, time.time()


def command(*arguments: str) -> str:
    """What the command prints."""
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "parsl_context", *arguments], capture_output=True, text=True, env=environment, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- figures


def test_figures_are_those_of_the_raw_results(load: Load, run_dir: Path) -> None:
    """Calls, builds and times of each worker; and each call started when the log says, within the error it states."""
    executor = load()
    raw = [future.result() for future in [timed(0.002 * (number % 7)) for number in range(300)]]
    with pytest.raises(ZeroDivisionError):
        context_app(context=table(0.3))(divided)(0).result()
    parsl.dfk().cleanup()
    calls = Calls()
    story = Story(calls.take).take_all(LogReader(find_logs(run_dir)[0]).read())
    report, _ = analyse(LogReader(find_logs(run_dir)[0]).read())
    totals = report.totals
    assert (totals.tasks, totals.calls, totals.raised, totals.failed) == (301, 301, 1, 0)
    assert totals.is_complete
    assert totals.builds == len({pid for pid, *_ in raw})
    assert sum(row.builds for row in report.workers) == totals.builds
    assert 0.3 * totals.builds <= totals.build_s < 0.6 * totals.builds
    ran_s = sum(end - start for _, start, end in raw)
    assert ran_s <= totals.run_s < ran_s + 0.01 * len(raw)
    assert totals.saved_s == pytest.approx(301 * totals.build_s / totals.builds - totals.build_s, rel=1e-3)
    by_pid = sorted(Counter(pid for pid, *_ in raw).values())
    by_worker = sorted(row.calls for row in report.workers)
    assert sum(by_worker) - sum(by_pid) == 1
    assert all(abs(mine - theirs) <= 1 for mine, theirs in zip(by_worker, by_pid, strict=True))
    starts = {number: start for number, (_, start, _) in enumerate(raw, 1)}
    for columns in calls.places.values():
        full = [at for at in range(len(columns.ends)) if columns.runs[at] > 0]
        for at, box in zip(full, columns.boxes(), strict=True):
            if (start := starts.get(columns.tasks[at])) is not None:
                late_s = story.wall(box.start) - start
                assert -0.02 < late_s < columns.held[at] - columns.runs[at] + 0.02, (columns.tasks[at], late_s)
    assert executor.label == totals.label


def divided(held: dict[str, float], by: int) -> float:
    return 1 / by


def test_chunks_of_a_map_are_rows_of_many_calls(load: Load, run_dir: Path) -> None:
    executor = load()
    assert len(list(timed.map([0.0] * 5000))) == 5000
    page = Path(executor.report())
    report = make_report(find_logs(run_dir)[0])
    assert page.stat().st_size < 300_000
    parsl.dfk().cleanup()
    report = make_report(find_logs(run_dir)[0])
    assert report.totals.calls == 5000
    assert report.totals.tasks < 1000
    data = json.loads(command("report", str(run_dir), "--json"))
    assert data["contexts"]["totals"][0]["calls"] == 5000


def test_a_run_without_a_log_has_no_report(load: Load, run_dir: Path) -> None:
    executor = load(record_events=False)
    timed(0.0).result()
    with pytest.raises(EventLogError, match="No event log"):
        executor.report()
    assert not list(run_dir.rglob("events"))


def test_a_summary_is_printed_at_the_end(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    load(summary=True)
    timed(0.0).result()
    parsl.dfk().cleanup()
    assert "contexts: 1 call in" in capfd.readouterr().err


def test_calls_are_joined_with_the_tries_of_monitoring(load: Load, run_dir: Path) -> None:
    database = run_dir / "monitoring.db"
    hub = MonitoringHub(resource_monitoring_interval=1.0, logging_endpoint=f"sqlite:///{database}")
    load(config={"monitoring": hub})
    futures = [timed(0.0) for _ in range(20)]
    for future in futures:
        future.result()
    parsl.dfk().cleanup()
    command("report", str(run_dir), "--monitoring", str(database))
    command("report", str(run_dir), "--monitoring", str(database))  # replaces what it has put there
    query = """select t.task_id, t.try_id, t.block_id, c.hostname, c.was_cold, c.build_s, c.run_s
        from try t join context_call c using (run_id, task_id, try_id) order by t.task_id"""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = connection.execute(query).fetchall()
        builds = connection.execute("select count(*), min(build_s) from context_build").fetchone()
    assert [row[0] for row in found] == [future.tid for future in futures]
    assert 1 <= sum(row[4] for row in found) <= builds[0]
    assert all(row[5] >= 0.3 for row in found if row[4])
    assert builds[1] >= 0.3


# --- the end


def test_a_run_that_was_killed_tells_its_story_to_the_last_second(load: Load, run_dir: Path) -> None:
    executor = load()
    futures = [timed(0.05) for _ in range(400)]
    wait_for(lambda: sum(future.done() for future in futures) > 40)
    killed_at = time.time()
    os.kill(executor.interchange_proc.pid, signal.SIGKILL)
    wait_for(lambda: all(future.done() for future in futures))
    done = sum(future.exception() is None for future in futures)
    (log,) = find_logs(run_dir)
    story = Story().take_all(LogReader(log).read())
    assert story.over is None
    assert story.wall(story.at) > killed_at - 1.0
    assert done - 30 <= story.tasks <= done + 2
    shown = command("top", "--once", str(run_dir))
    assert "killed or lost" in shown
    assert "timed" in command("explain", "--run-dir", str(run_dir))
    assert "was killed" in make_report(log).totals.end
    command("report", str(run_dir))


def test_what_is_shown_of_a_run_that_goes_on(load: Load, run_dir: Path) -> None:
    load()
    futures = [timed(0.3) for _ in range(150)]
    futures[3].result()
    time.sleep(WRITTEN_S)
    shown = command("top", "--once", str(run_dir))
    for word in ("runs", "wait", "table(0.3)", "ready", "timed", "open"):
        assert word in shown
    assert "calls of its kind" in shown or "next in turn" in shown
    for future in futures:
        future.cancel()


# --- why calls wait


def why(executor: ContextExecutor, future: Future[Any], words: str) -> str:
    """Why a call waits, as soon as it is said in these words."""
    said: dict[str, str] = {}  # without the figures that change

    def is_said() -> str | None:
        sentence = executor.explain(future)
        said[re.sub(r"[\d.]+", "#", sentence)] = sentence
        return sentence if words in sentence else None

    try:
        return str(wait_for(is_said, 15.0))
    except AssertionError:
        raise AssertionError(f"{words!r} was not said, but {[*said.values()]}") from None


def test_why_calls_wait_for_a_block(load: Load) -> None:
    executor = load(provider=LocalProvider(init_blocks=0, min_blocks=0, max_blocks=1, worker_init="sleep 4"))
    first = timed(0.0)
    why(executor, first, "no block was asked for")
    executor.scale_out_facade(1)
    why(executor, first, "no block yet: job")
    executor.poll_facade()
    executor._last_poll_time = 0
    executor.poll_facade()
    why(executor, first, "and no manager has joined from there")
    first.result()
    why(executor, first, "has ended")


def test_why_calls_wait_for_a_context(load: Load, run_dir: Path) -> None:
    executor = load()
    slow = context_app(context=table(4.0, "slow"))(lambda held, number: number)
    building = slow(1)
    why(executor, building, "building on")
    bad = context_app(context=context(broken))(lambda held: held)
    barred = [bad() for _ in range(2)]
    said = why(executor, barred[0], "it is barred until")
    assert "OSError: no table yet" in said
    follows = timed(building)  # type: ignore[arg-type]
    said = why(executor, follows, "waits for the future among its arguments")
    assert "building on" in said
    running = timed(4.0)
    why(executor, running, "runs on")
    for future in (*barred, building, running, follows):
        future.cancel()


def broken() -> None:
    time.sleep(0.2)
    raise OSError("no table yet")


def test_why_calls_wait_for_others(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    timed(0.0).result()
    long = timed(15.0)
    behind = [timed(0.1) for _ in range(5)]
    why(executor, behind[-1], "its kind came before")
    urgent = [executor.submit(timed.func, {"priority": 1}, 0.1) for _ in range(4)]
    why(executor, behind[-1], "of higher priority")
    other = context_app(context=table(0.1, "other"))(lambda held: 1)()
    for future in urgent:
        future.cancel()
    why(executor, other, "none has its context yet")
    for future in (*behind, other, long):
        future.cancel()


def test_why_calls_wait_for_memory_and_for_mates(load: Load) -> None:
    executor = load(context_memory_gb=0.3)
    big = context(memory_gb=0.2)(large)
    holding = context_app(context=big(0.1, "one"))(lambda held, s: time.sleep(s))
    lacking = context_app(context=big(0.1, "two"))(lambda held: 1)
    first = [holding(20.0), holding(0.1)]
    why(executor, first[0], "runs on")
    second = lacking()
    said = why(executor, second, "no memory")
    assert "MB, and of the 300.0 MB that contexts may take" in said
    together = context_app(context=table(0.1, "batch"), batch=8, batch_wait_s=4.0)(lambda held, numbers: numbers)
    lone = together(1)
    why(executor, lone, "for others to run with")
    for future in (*first, second, lone):
        future.cancel()


def test_why_calls_wait_while_blocks_end(load: Load) -> None:
    executor = load()
    timed(0.0).result()
    (row,) = executor.connected_managers()
    executor._hold_manager(row["manager"])
    waiting = timed(0.0)
    why(executor, waiting, "take no more calls, their block ends")
    waiting.cancel()


# --- logs


def test_logs_of_all_processes_are_read_in_one_order(load: Load, run_dir: Path) -> None:
    load()
    bad = context_app(context=context(broken))(lambda held: held)
    with pytest.raises(ContextBuildError):
        bad().result()
    timed(0.0).result()
    parsl.dfk().cleanup()
    shown = command("logs", "--run-dir", str(run_dir), "--no-prints", "broken")
    assert re.search(
        r"interchange WARNING: Context broken\(\) on manager \w+ .*: not built: OSError: no table yet", shown
    )
    assert "OSError: no table yet" in shown
    clocks = [line[:12] for line in shown.splitlines() if not line.startswith(" ")]
    assert clocks == sorted(clocks)
    warnings = command("logs", "--run-dir", str(run_dir), "--level", "WARNING", "Manager")
    assert "is gone" not in warnings


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Parsl leaves the file open
def test_logs_in_json_tell_of_contexts_in_fields(load: Load, run_dir: Path) -> None:
    load(config={"initialize_logging": JSONLogging(level=logging.INFO)})
    timed(0.0).result()
    parsl.dfk().cleanup()
    (path,) = run_dir.rglob("interchange.jsonlog")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    (built, *_) = [entry for entry in found if "parsl.build_s" in entry]
    assert (built["parsl.context"], built["parsl.block"]) == ("table(0.3)", "0")
    assert float(built["parsl.build_s"]) >= 0.3
    assert "table(0.3) on manager" in command("logs", "--run-dir", str(run_dir), "interchange", "built")


def test_shared_contexts_that_make_room_for_each_other_are_given_up(load: Load, run_dir: Path) -> None:
    """Not lost: once for each template that went, and the next build of it says why."""
    load(context_memory_gb=0.3)
    shared = context(share="node", memory_gb=0.2)(large)
    apps = [context_app(context=shared(0.1, name))(length) for name in ("one", "two")]
    for turn in range(4):
        assert [future.result() for future in [apps[turn % 2](number) for number in range(4)]] == [200_000_000] * 4
    time.sleep(WRITTEN_S)
    rows = make_report(find_logs(run_dir)[0]).contexts
    assert [(row.builds, row.reloads, row.evictions, row.losses) for row in rows] == [(2, 1, 2, 0), (2, 1, 1, 0)]
    builds = make_report(find_logs(run_dir)[0]).builds
    assert sorted(build.cause for build in builds) == ["", "", *["given up to make room, or unused"] * 2]
    counted = {row.name: row.evictions for row in parsl.dfk().executors["contexts"].contexts()}
    assert sorted(counted.values()) == [1, 2]


def length(held: bytes, number: int) -> int:
    return len(held)
