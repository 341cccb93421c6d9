"""What each fault does: every process of a run is killed, told to end, or stopped, in every state of the work.

    python -m benchmarks.faults [--target manager] [--fault KILL] [--state running] [--quick] [--jobs 2]

Each cell is a run of its own: a script with one executor, two workers and one context that they share, brought to a
state. Then the fault comes to one process. What the script saw of its calls, what bodies noted of themselves, and which
processes and files are left when the script has ended make the cell. The whole table goes to docs/_static/faults.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any

import parsl
import psutil
from parsl.providers import LocalProvider
from rich.console import Console
from rich.progress import track
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app

ROOT = pathlib.Path(__file__).parents[1]
TABLE = ROOT / "docs" / "_static" / "faults.csv"
STOP_S = 15.0
QUICK_STOP_S = 3.0
PATIENCE_S = 60.0  # for a call to end; then it hangs
GRACE_S = 10.0  # for processes to go when the script has ended


# --- the script that faults come to -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What goes on when a fault comes."""

    calls: int  # that wait or run
    run_s: float  # of each. [s]
    build_s: float  # of the context, [s]
    begins: str  # what is noted when it is reached,
    times: int  # so many times


STATES = {
    "idle": State(0, 0.0, 0.0, "", 0),
    "building": State(4, 0.01, 4.0, "build", 1),
    "running": State(4, 2.0, 0.0, "begin", 2),
    "queued": State(2000, 0.005, 0.0, "begin", 20),
}


def note(path: str, what: str) -> None:
    """Add a line, whole, to what is seen by whoever watches."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what}\n".encode())
    os.close(fd)


def held(path: str, build_s: float) -> str:
    note(path, "build")
    time.sleep(build_s)
    return path


def body(path: str, number: int, run_s: float) -> int:
    note(path, f"begin {number}")
    time.sleep(run_s)
    note(path, f"end {number}")
    return number


def script(name: str, notes: str) -> None:
    """Bring a run to a state, say so, and tell how its calls ended once they have."""
    state = STATES[name]
    executor = ContextExecutor(
        label="contexts",
        address="127.0.0.1",
        max_workers_per_node=2,
        cores_per_worker=0.1,
        heartbeat_period=1,
        heartbeat_threshold=6,
        block_error_handler=False,  # or Parsl gives the executor up when its only block has failed
        provider=LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1),
    )
    config = parsl.Config(
        executors=[executor], run_dir="runinfo", strategy="simple", strategy_period=0.5, usage_tracking=0
    )
    with parsl.load(config):
        app = context_app(context=context(share="node")(held)(notes, state.build_s))(body)
        if name != "building":
            app(-1, 0.0).result()
            app(-2, 0.0).result()
        known = len(read(notes))
        calls = [app(number, state.run_s) for number in range(state.calls)]
        while sum(line.startswith(state.begins) for line in read(notes)[known:]) < state.times:
            time.sleep(0.01)
        print("ready", flush=True)
        sys.stdin.readline()  # the fault has come
        start = time.monotonic()
        done, hanging = wait(calls, PATIENCE_S)
        ended_s = time.monotonic() - start
        outcomes = Counter(map(outcome, done))
        after = app(state.calls, 0.0)
        wait([after], PATIENCE_S)
        start = time.monotonic()
    said = {
        "outcomes": {**outcomes, **({"hangs": len(hanging)} if hanging else {})},
        "ended_s": ended_s,
        "after": outcome(after) if after.done() else "hangs",
        "clean_up_s": time.monotonic() - start,
    }
    print(json.dumps(said), flush=True)


def outcome(future: Future[Any]) -> str:
    error = future.exception()
    return "ok" if error is None else type(error).__name__


def read(notes: str) -> list[str]:
    """What was noted."""
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(notes).read_text().splitlines()
    return []


# --- faults -----------------------------------------------------------------------------------------------------------


def stop(process: psutil.Process, stop_s: float) -> None:
    process.suspend()
    time.sleep(stop_s)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()


FAULTS: dict[str, Callable[[psutil.Process, float], None]] = {
    "KILL": lambda process, _: process.kill(),
    "TERM": lambda process, _: process.terminate(),
    "STOP": stop,
}
TARGETS = {
    "script": None,
    **{name: re.compile(rf"parsl.*context.{name}") for name in ("interchange", "manager", "zygote", "template")},
    "worker": re.compile(r"parsl.*context.worker"),
}


@dataclass
class Cell:
    """What one fault did."""

    target: str
    fault: str
    state: str
    outcomes: dict[str, int] = field(default_factory=dict)  # of the calls
    ended_s: float | None = None  # until the last of them ended. [s]
    twice: int = 0  # bodies that began more than once
    after: str = "-"  # how a call made afterwards ended
    clean_up_s: float | None = None  # of the executor's. [s]
    left: list[str] = field(default_factory=list)  # processes and files, some time after the script's end

    def is_good(self) -> bool:
        """Whether nothing hangs, nothing ran twice and nothing is left."""
        return not (self.twice or self.left or "hangs" in {*self.outcomes, self.after})

    def row(self) -> dict[str, str]:
        """What people read."""
        ends = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return {
            "process": self.target,
            "fault": self.fault,
            "state": self.state,
            "calls": ends or "-",
            "after (s)": _seconds(self.ended_s),
            "ran twice": str(self.twice),
            "next call": self.after,
            "clean-up (s)": _seconds(self.clean_up_s),
            "left behind": ", ".join(self.left) or "nothing",
        }


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def measure(target: str, fault: str, state: str, stop_s: float) -> Cell:
    """Run one cell."""
    cell = Cell(target, fault, state)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        notes = os.path.join(folder, "notes")
        command = [sys.executable, "-m", "benchmarks.faults", "--script", state, "--notes", notes]
        with (
            open(os.path.join(folder, "errors"), "w") as errors,
            subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            ) as run,
        ):
            assert run.stdin is not None
            assert run.stdout is not None
            if select.select([run.stdout], [], [], PATIENCE_S)[0] and run.stdout.readline().strip() == "ready":
                files = _files(folder)
                FAULTS[fault](_find(run.pid, folder, target), stop_s)
                _hear(run, cell)
            else:
                cell.outcomes, files = {"not reached": 1}, set()
                run.kill()
        begun = Counter(line for line in read(notes) if line.startswith("begin"))
        cell.twice = sum(1 for count in begun.values() if count > 1)
        cell.left += _left(folder, files)
    return cell


def _hear(run: subprocess.Popen[str], cell: Cell) -> None:
    """Let the script go on, and take down what it says."""
    assert run.stdin is not None
    assert run.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it is gone
        run.stdin.write("\n")
        run.stdin.close()
    said = run.stdout.readline()
    try:
        run.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        cell.left.append("script")
        run.kill()
    if said:
        for name, value in json.loads(said).items():
            setattr(cell, name, value)


def _find(pid: int, folder: str, target: str) -> psutil.Process:
    """The process that the fault is for; of several, the one that was started first."""
    pattern = TARGETS[target]
    if pattern is None:
        return psutil.Process(pid)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for process in _family(folder):
            with contextlib.suppress(psutil.Error):
                if pattern.search(" ".join(process.cmdline())):
                    return process
        time.sleep(0.01)
    raise TimeoutError(f"no {target} in {folder}")


def _family(folder: str) -> Iterator[psutil.Process]:
    """Processes that work in a folder, the oldest first."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(folder) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _files(folder: str) -> set[str]:
    """Folders of ours outside the run's that its processes use."""
    ours = re.compile(rf"((?:/dev/shm|{tempfile.gettempdir()})/parsl-[^/]+)/")
    found = set()
    for process in _family(folder):
        with contextlib.suppress(psutil.Error):
            paths = [file.path for file in [*process.open_files(), *process.memory_maps()]]
            found |= {match[1] for path in paths if (match := ours.match(path))}
    return found


def _left(folder: str, files: set[str]) -> list[str]:
    """Processes that have not gone in time, which are ended here, and files."""
    deadline = time.monotonic() + GRACE_S
    while (family := list(_family(folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = []
    for process in family:
        with contextlib.suppress(psutil.Error):
            left.append(" ".join(process.cmdline())[:60] or process.name())
            process.send_signal(signal.SIGKILL)
    return left + [pathlib.Path(path).name for path in sorted(files) if os.path.exists(path)]


# --- the table --------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run the chosen cells; fails if one of them hangs, ran anything twice or left anything behind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("--target", action="append", choices=TARGETS, help="which process; all if not given")
    parser.add_argument("--fault", action="append", choices=FAULTS)
    parser.add_argument("--state", action="append", choices=STATES)
    parser.add_argument("--quick", action="store_true", help=f"stop processes for {QUICK_STOP_S:g} s only")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time")
    parser.add_argument("--script", choices=STATES, help=argparse.SUPPRESS)
    parser.add_argument("--notes", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.script:
        script(args.script, args.notes)
        return 0
    chosen = [
        (target, fault, state, QUICK_STOP_S if args.quick else STOP_S)
        for target in args.target or TARGETS
        for fault in args.fault or FAULTS
        for state in args.state or STATES
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        cells = list(track(pool.map(lambda cell: measure(*cell), chosen), "Faults", total=len(chosen)))
    show(cells)
    if len(cells) == len(TARGETS) * len(FAULTS) * len(STATES) and not args.quick:
        save(cells)
    bad = [cell for cell in cells if not cell.is_good()]
    print(json.dumps([asdict(cell) for cell in bad], indent=1) if bad else "No call hangs, ran twice or left anything.")
    return 1 if bad else 0


def show(cells: list[Cell]) -> None:
    table = Table(title="What each fault did")
    for name in cells[0].row():
        table.add_column(name)
    for cell in cells:
        table.add_row(*cell.row().values(), style=None if cell.is_good() else "red")
    Console().print(table)


def save(cells: list[Cell]) -> None:
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(cells[0].row()))
        writer.writeheader()
        writer.writerows(cell.row() for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
