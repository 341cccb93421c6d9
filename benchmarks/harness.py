"""Runs measurements one at a time, each in a fresh process, and notes what the machine did meanwhile.

A *run* measures the cases of a group on one system. The plan interleaves systems (A B C, A B C, ...), so that what
slows the machine for a while slows all of them. Nothing of a run outlives it: the harness adopts what it leaves behind,
says how many processes that were, and kills them.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from benchmarks.cases.base import Case
from benchmarks.systems.base import Entry
from benchmarks.targets import TARGETS
from parsl_context.retain.processes import adopt_orphans, kill, reap

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGES = (
    *("parsl", "parsl-context", "pyzmq", "msgspec", "numpy"),
    *("ray", "distributed", "executorlib", "loky", "mpire"),
)
_LOOK_S = 0.1
_END_S = 10.0  # what a run has told to end may take so long

Record = dict[str, Any]
"""A line of the results: one case, one system, one repetition."""


@dataclass(frozen=True)
class Run:
    """A process to start."""

    entry: Entry
    cases: tuple[Case, ...]
    repetition: int


def plan(cases: Sequence[Case], systems: Sequence[Entry], repeat: int | None) -> list[Run]:
    """The runs of a session, in order. Pure.

    Cases that share a process form a group; group after group, each repetition has its systems once. Unless `repeat`
    says otherwise, what a target compares is repeated as often as the case wants, anything else is measured once.
    """
    judged = {(figure.case, figure.system) for target in TARGETS for figure in target.figures}
    groups: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    runs = []
    for group in groups.values():
        for repetition in range(repeat or group[0].repeat):
            for entry in systems:
                wanted = tuple(case for case in group if entry.name in case.systems)
                once = repeat is None and not any((case.name, entry.name) in judged for case in wanted)
                if wanted and not (once and repetition > 0):
                    runs.append(Run(entry, wanted, repetition))
    return runs


def perform(run: Run, *, quick: bool, limit_s: float | None) -> list[Record]:
    """Measure in a fresh process. Gives a record for each case, with "metrics", "skipped" or "failed"."""
    limit_s = limit_s or max(case.limit_s for case in run.cases)
    about: Record = {
        "system": run.entry.name,
        "repetition": run.repetition,
        "quick": quick,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "load": list(os.getloadavg()),
    }
    reason = run.entry.missing()
    skipped: dict[str, Any] = {"skipped": reason, "cases": {}}
    answer = skipped if reason else _answer(run, quick, limit_s, about)
    why = {key: answer[key] for key in ("skipped", "failed") if key in answer}
    records = []
    for case in run.cases:
        metrics = answer["cases"].get(case.name)
        result = why if metrics is None else {"metrics": metrics}
        records.append({"case": case.name, "workers": case.workers, **about, **result})
    return records


def _answer(run: Run, quick: bool, limit_s: float, about: Record) -> dict[str, Any]:
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        output = pathlib.Path(folder, "answer.json")
        log = pathlib.Path(folder, "log")
        order = {
            "system": run.entry.name,
            "cases": [case.name for case in run.cases],
            "quick": quick,
            "output": str(output),
            "started": time.monotonic(),
        }
        with _watched(about), log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.measure", json.dumps(order)],
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            try:
                ended = _wait(process, limit_s)
                about["left_behind"] = _clear(_END_S if ended else 0.0)
            except BaseException:  # told to end: nothing of the run stays
                _clear(0.0)
                raise
        if output.exists():
            answer: dict[str, Any] = json.loads(output.read_text())
            return answer
        said = log.read_text(errors="replace").strip()[-2000:]
        why = f"ended with status {process.returncode}" if ended else f"did not end within {limit_s:g} s"
        return {"failed": f"{why}\n{said}", "cases": {}}


def _environment() -> dict[str, str]:
    """HTEX starts its interchange and its pool by name, and workers import `benchmarks.work`."""
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    modules = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PATH": path, "PYTHONPATH": modules}


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Wait for a process, burying adopted ones meanwhile; False if it took too long."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for exit in reap():
            if exit.pid == process.pid:
                process.returncode = -exit.signal if exit.signal is not None else exit.code
                return True
        time.sleep(_LOOK_S)
    return False


def _clear(wait_s: float) -> int:
    """Wait until all processes of a run have ended, kill those that do not. Gives their number."""
    me = psutil.Process()
    deadline = time.monotonic() + wait_s
    while me.children() and time.monotonic() < deadline:
        reap()
        time.sleep(_LOOK_S)
    killed: set[int] = set()
    while left := me.children(recursive=True):
        for process in left:
            kill(process.pid)
        killed.update(process.pid for process in left)
        reap()
        time.sleep(_LOOK_S)
    return len(killed)


@contextlib.contextmanager
def _watched(about: Record) -> Iterator[None]:
    """Note how long it took, and how many cores others than the run kept busy on average."""
    start, busy, own = time.monotonic(), _busy_s(), _own_s()
    yield
    about["seconds"] = round(time.monotonic() - start, 2)
    others = (_busy_s() - busy) - (_own_s() - own)
    about["others_cores"] = round(max(0.0, others / about["seconds"]), 2)


def _busy_s() -> float:
    """CPU time of the whole machine. [s]"""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + getattr(times, "softirq", 0.0))


def _own_s() -> float:
    """CPU time of this process and of all that it has buried. [s]"""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def machine() -> dict[str, Any]:
    """What the measurements were made on."""
    model = ""
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "linux": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Installed versions of what is compared."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
