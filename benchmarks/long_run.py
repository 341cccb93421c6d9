"""A run of a million single calls: whether its report counts all of them, how large its page is, how soon that opens.

    python -m benchmarks.long_run [--calls 1000000] [--folder DIR] [--reopen DIR]

Calls are made one by one with `executor.submit`, so many of them outstanding at a time, on two workers of the local
provider. Each gives back the process that ran it, one in a thousand raises. The report, made from the event log, must
have the same number of calls, of those that raised, and of each worker. What the log takes on disk, how long the
report takes to make, and the size of the page are noted.

The page is opened in a headless Chromium, each time in a tab of its own: once to warm up, then nine times, whose
median counts (`benchmarks.browser` says when a page is open). It must ask for nothing beyond itself. For scale the
first 100,000 calls of the same log are made a page too, and opened the same way. `--folder` keeps the run; `--reopen`
makes and opens the pages of a run that was kept.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from rich.console import Console

from benchmarks import harness
from benchmarks.browser import Browser, find_browser, opening_s
from benchmarks.systems.kernel import ExecutorSystem
from parsl_context import ContextExecutor, context, context_app
from parsl_context.report.advice import advise
from parsl_context.report.analysis import analyse
from parsl_context.report.figures import Report
from parsl_context.report.making import write_page
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.records import CallsEnded, Record

RESULTS = pathlib.Path(__file__).parent / "results" / "long-run.json"
WORKERS = 2
OUTSTANDING = 2000
RAISES_EVERY = 1000
SCALE = 100_000  # calls of the smaller page
PAGE_MB, OPENS_S = 3.0, 1.0  # targets; the second is of the smaller page
COUNTS = "raw.json"  # in the folder of a run


class Odd(Exception):
    """What some calls raise."""


def build() -> str:
    return "context"


def who_runs(held: str, number: int) -> int:
    if not number % RAISES_EVERY:
        raise Odd(number)
    return os.getpid()


class Tally:
    """Counts outcomes as they come, and keeps no more calls outstanding than it may."""

    def __init__(self, outstanding: int) -> None:
        self._free = threading.Semaphore(outstanding)
        self._lock = threading.Lock()
        self.by_worker: Counter[int] = Counter()  # by process
        self.raised = 0
        self.other: list[str] = []  # outcomes that no call should have

    def wait_for_place(self) -> None:
        """Return when one more may be made."""
        self._free.acquire()

    def take(self, future: Future[Any]) -> None:
        """A call has ended."""
        error = future.exception()
        with self._lock:
            if error is None:
                self.by_worker[future.result()] += 1
            elif type(error).__name__ == Odd.__name__:
                self.raised += 1
            else:
                self.other.append(repr(error))
        self._free.release()


def run(calls: int, folder: pathlib.Path) -> dict[str, Any]:
    """Make the calls; what their outcomes say, as the script sees them."""
    here = os.getcwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    system = ExecutorSystem(ContextExecutor)
    try:
        system.open(WORKERS)
        system.ready()
        function = context_app(context=context(build))(who_runs).func
        tally = Tally(OUTSTANDING)
        began = time.perf_counter()
        for number in range(calls):
            tally.wait_for_place()
            system.executor.submit(function, {}, number).add_done_callback(tally.take)
        for _ in range(OUTSTANDING):  # all have ended
            tally.wait_for_place()
        took_s = time.perf_counter() - began
        system.close()
    finally:
        os.chdir(here)
    own_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = sorted(tally.by_worker.values())
    raw = {"calls": calls, "by_worker": counts, "raised": tally.raised, "other": tally.other}
    raw |= {"took_s": took_s, "calls_per_s": calls / took_s, "script_peak_mb": own_bytes / 1e6}
    (folder / COUNTS).write_text(json.dumps(raw))
    return raw


def first_calls(records: Iterator[Record], calls: int) -> Iterator[Record]:
    """The records of a log until so many calls have ended."""
    for record in records:
        yield record
        if isinstance(record, CallsEnded):
            calls -= sum(1 for _ in record.unpack())
        if calls <= 0:
            return


def made(records: Iterator[Record], path: pathlib.Path) -> tuple[Report, dict[str, Any]]:
    """The report of a log and its page, and what they cost."""
    began = time.perf_counter()
    report, story = analyse(records)
    report.advice = advise(report, story)
    write_page(report, path)
    cost = {"calls": report.totals.calls, "made_s": time.perf_counter() - began, "page_mb": path.stat().st_size / 1e6}
    return report, cost


def differences(raw: dict[str, Any], report: Report) -> list[str]:
    """What the report counts otherwise than the outcomes."""
    worked = sorted(row.calls for row in report.workers if row.calls)
    asked = {"calls": raw["calls"], "raised": raw["calls"] // RAISES_EVERY + bool(raw["calls"] % RAISES_EVERY)}
    counted = {
        "calls": sum(raw["by_worker"]) + raw["raised"] + len(raw["other"]),
        "raised": raw["raised"],
    }
    reported = {"calls": report.totals.calls, "raised": report.totals.raised}
    found = [
        f"{name}: {asked[name]} asked for, {counted[name]} counted, {reported[name]} in the report"
        for name in asked
        if not asked[name] == counted[name] == reported[name]
    ]
    spare = [has - own for has, own in zip(worked, raw["by_worker"], strict=True)] if worked else []
    if sum(spare) != raw["raised"] or min(spare, default=0) < 0:  # those that raised do not say which process
        found.append(f"by worker: {raw['by_worker']} and {raw['raised']} that raised, {worked} in the report")
    return found + raw["other"][:3]


def examine(folder: pathlib.Path, raw: dict[str, Any]) -> dict[str, Any]:
    """Make the pages of a run, compare its counts, and open them."""
    (log,) = find_logs(folder / "runinfo")
    report, page = made(LogReader(log).read(), folder / "report.html")
    _, small = made(first_calls(LogReader(log).read(), min(SCALE, raw["calls"])), folder / "report-small.html")
    data = {"raw": raw, "differences": differences(raw, report), "page": page, "small_page": small}
    data["log_mb"] = sum(path.stat().st_size for path in log.iterdir()) / 1e6
    if (program := find_browser()) is not None:
        with Browser(program) as browser:
            data["browser"] = browser.version()
            page["opens_s"] = opening_s(browser, folder / "report.html")
            small["opens_s"] = opening_s(browser, folder / "report-small.html")
    return data


def tell(data: dict[str, Any]) -> bool:
    """Print what was found. Gives whether all targets were met."""
    console, raw = Console(), data["raw"]
    pace = f"{raw['calls']:,} calls in {raw['took_s']:.0f} s, {raw['calls_per_s']:,.0f} in a second"
    console.print(f"{pace}; log {data['log_mb']:.1f} MB")
    console.print("counted: " + ("; ".join(data["differences"]) or "all, as the outcomes are"))
    is_met = not data["differences"]
    for name in ("page", "small_page"):
        page = data[name]
        opens = f"{statistics.median(page['opens_s']):.2f} s" if "opens_s" in page else "no browser"
        cost = f"made in {page['made_s']:.1f} s, {page['page_mb']:.2f} MB, opens in {opens}"
        console.print(f"{page['calls']:,} calls: {cost}")
        is_met &= page["page_mb"] <= PAGE_MB
    if "opens_s" in data["small_page"]:
        is_met &= statistics.median(data["small_page"]["opens_s"]) < OPENS_S
    wanted = f"all counted, at most {PAGE_MB:g} MB, the smaller opens in less than {OPENS_S:g} s"
    console.print(f"targets ({wanted}): {'met' if is_met else 'NOT met'}")
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--folder", type=pathlib.Path, help="keep the run there")
    parser.add_argument("--reopen", type=pathlib.Path, metavar="DIR", help="of a run that was kept")
    chosen = parser.parse_args()
    if find_browser() is None:
        print("No Chromium was found ($CHROMIUM, or on PATH): pages are made and not opened.")
    with tempfile.TemporaryDirectory() as passing:
        folder = chosen.reopen or chosen.folder or pathlib.Path(passing)
        raw = run(chosen.calls, folder) if chosen.reopen is None else json.loads((folder / COUNTS).read_text())
        load = os.getloadavg()[0]
        data = examine(folder, raw) | {"load_before_opening": load, "machine": harness.machine()}
    is_met = tell(data)
    if raw["calls"] == 1_000_000:
        RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    return not is_met


if __name__ == "__main__":
    raise SystemExit(main())
