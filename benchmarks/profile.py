"""Where the time of a call goes: samples of each process of ours, while calls that do nothing are made.

    python -m benchmarks.profile [--system ours-submit] [--seconds 5]

Calls are made at the peak rate, then one after the other. py-spy (extra `bench`) samples the stacks of the client, the
interchange, the manager and a worker meanwhile, one process after the other, whenever one of their threads holds the
interpreter lock: time in system calls is not seen. A part is a module of this package (`our ...`) or a package of
others; a sample counts for the part whose function runs. CPU times are those of the processes, system calls included,
taken while nothing samples them. Without `--system` the figures of all systems go to docs/_static/profile.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES
from benchmarks.cases.calls import burst, calls_in
from benchmarks.measure import warm_up
from benchmarks.systems import SYSTEMS
from benchmarks.systems.base import System
from parsl_context.retain.processes import adopt_orphans

TABLE = pathlib.Path(__file__).parents[1] / "docs" / "_static" / "profile.csv"
CHOSEN = ("ours-submit", "ours-dfk", "there-dfk")
TITLE = re.compile(r"parsl:context-(interchange|manager|worker-0)")
SHOWN = 5  # parts of a process, the largest
HERTZ = 250
FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^:)]+)(:\d+)?\)$")
# Where a frame's path begins to tell what it belongs to.
ROOTS = re.compile(r".*(?:/site-packages/|/lib/python3\.\d+/|/(?=parsl_context/|benchmarks/))")


@dataclass(frozen=True)
class Profile:
    """What one process does while calls are made."""

    system: str
    way: str
    process: str
    cpu_us: float  # per call
    parts: Counter[str]  # samples


def part_of(frame: str) -> str:
    """The part that a frame of a stack, as py-spy writes it, belongs to."""
    found = FRAME.match(frame)
    if found is None:
        return "other"
    path = pathlib.PurePath(ROOTS.sub("", found["file"].removeprefix("<frozen ").strip("<>")))
    if path.parts[0] == "parsl_context":
        return "our " + ".".join(path.parts[1:3]).removesuffix(".py")
    return path.parts[0].removesuffix(".py") if not path.is_absolute() else path.stem


def count(stacks: Iterable[str]) -> Counter[str]:
    """Samples by part, from py-spy's raw output."""
    parts: Counter[str] = Counter()
    for line in stacks:
        stack, _, samples = line.rpartition(" ")
        parts[part_of(stack.rpartition(";")[2])] += int(samples)
    return parts


def at_peak(system: System) -> Callable[[], int]:
    calls = calls_in(system, 0.3)

    def step() -> int:
        burst(system, calls)
        return calls

    return step


def one_by_one(system: System) -> Callable[[], int]:
    def step() -> int:
        system.one(0)
        return 1

    return step


WAYS = {"at the peak rate": at_peak, "one by one": one_by_one}


def processes() -> dict[str, psutil.Process]:
    """Those to sample: the client, and of what it has started those whose titles say what they are."""
    found = {"client": psutil.Process()}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            if title := TITLE.search(" ".join(child.cmdline())):
                found[title[1].replace("-", " ")] = child
    return found


def sample(process: psutil.Process, step: Callable[[], int], seconds: int) -> Counter[str]:
    """Make calls while py-spy looks at a process.

    Raises
    ------
    RuntimeError
        If py-spy may not look at it.
    """
    with tempfile.NamedTemporaryFile(suffix=".txt") as output:
        command = ["py-spy", "record", "--pid", str(process.pid), "--rate", str(HERTZ), "--format", "raw", "--gil"]
        command += ["--duration", str(seconds), "--output", output.name]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        ended = threading.Event()
        threading.Thread(target=lambda: (spy.wait(), ended.set()), daemon=True).start()
        while not ended.is_set():
            step()
        assert spy.stderr is not None
        with spy.stderr as errors:
            said = errors.read()
        if spy.returncode:
            raise RuntimeError(f"py-spy could not look at process {process.pid} (does it need sudo here?): {said}")
        return count(pathlib.Path(output.name).read_text().splitlines())


def cpu_us(found: dict[str, psutil.Process], step: Callable[[], int], seconds: float) -> dict[str, float]:
    """CPU time per call of each process. [µs]"""

    def now() -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in found.items()}

    before, end, calls = now(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        calls += step()
    return {name: 1e6 * (after - before[name]) / calls for name, after in now().items()}


def profile(name: str, seconds: int) -> list[Profile]:
    """Both ways of calling, all processes."""
    system = SYSTEMS[name].make()
    profiles = []
    with contextlib.closing(system):
        warm_up(system, CASES["noop"])
        for way, make in WAYS.items():
            found, step = processes(), make(system)
            used = cpu_us(found, step, seconds)
            profiles += [
                Profile(name, way, process, used[process], sample(found[process], step, seconds)) for process in found
            ]
    return profiles


def rows(profiles: Iterable[Profile]) -> list[list[str]]:
    """The table: a line for each process, with the shares of its largest parts. [%]"""
    lines = []
    for one in profiles:
        total = max(1, one.parts.total())
        largest = ", ".join(f"{part} {100 * n / total:.0f}" for part, n in one.parts.most_common(SHOWN))
        lines.append([one.system, one.way, one.process, f"{one.cpu_us:.0f}", largest])
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--system", choices=CHOSEN, action="append", help="this one; writes nothing")
    parser.add_argument("--seconds", type=int, default=5, help="time of each measurement")
    chosen = parser.parse_args()
    adopt_orphans()
    folder = tempfile.TemporaryDirectory()
    os.chdir(folder.name)  # Parsl writes its files where it is run
    header = ["system", "calls", "process", "CPU per call [µs]", "largest parts of the time in Python [%]"]
    table = Table(*header, title="Where the time of a call goes")
    lines = list(itertools.chain.from_iterable(rows(profile(s, chosen.seconds)) for s in chosen.system or CHOSEN))
    for line in lines:
        table.add_row(*line)
    Console(width=150).print(table)
    if not chosen.system:
        with TABLE.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *lines])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
