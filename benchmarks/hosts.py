"""Calls and large values between two hosts: managers in a network namespace with a /dev/shm of their own.

    python -m benchmarks.hosts [--mbit 1000] [--mbit none] [--rounds 3] [--quick]

Script and interchange are on one host, the workers on the other, behind a link of that rate in each direction
(`benchmarks.network`). Arrays go there and come back; meanwhile calls go over the same link to another manager there.
A bare pump of AES-256-GCM frames between the same hosts, both ways at once, says what encrypted bytes could do at the
best, and HighThroughputExecutor what Parsl's own way does. All in one run, in turn. Needs root. Results go to
benchmarks/results/hosts.json and docs/_static/hosts.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import parsl
import psutil
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from parsl import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from benchmarks.network import Network, network
from parsl_context import ContextExecutor
from parsl_context.distribute.bulk.sealing import HEADER_BYTES, PIECE_BYTES, TAG_BYTES, Kind, Opener, Sealer

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "hosts.json"
TABLE = ROOT / "docs" / "_static" / "hosts.csv"
MB = 1_000_000
CASES = {"50 MB": (50 * MB, 16), "1 MB": (MB, 200)}
QUICK = {"50 MB": (50 * MB, 4), "1 MB": (MB, 40)}
PUMP_S = 4.0
OWN_MEMORY = "unshare -m sh -c 'mount -t tmpfs none /dev/shm && exec \"$@\"' sh "


def back(array: Any) -> Any:
    """Gives what it is given."""
    return array


def nothing() -> None:
    pass


class OnHost(LocalProvider):
    """Launches blocks on a host of the network."""

    def __init__(self, net: Network, host: int) -> None:
        super().__init__(init_blocks=1, min_blocks=1, max_blocks=1)
        self._net, self._host = net, host

    def submit(self, command: str, tasks_per_node: int, job_name: str = "bench") -> Any:
        path = f"export PATH={shlex.quote(os.environ['PATH'])}"
        return super().submit(self._net.on(self._host, f"{path}; {command}"), tasks_per_node, job_name)


@contextlib.contextmanager
def executors(net: Network, system: str, folder: pathlib.Path) -> Iterator[list[Any]]:
    """One executor for arrays and one for calls, each with a manager on host 1."""
    common: dict[str, Any] = {"address": net.address(0), "max_workers_per_node": 2, "cores_per_worker": 0.01}
    kind = ContextExecutor if system == "ours" else HighThroughputExecutor
    command = OWN_MEMORY + DEFAULT_LAUNCH_CMD
    made = [
        kind(label=label, encrypted=True, provider=OnHost(net, 1), launch_cmd=command, **common)
        for label in ("arrays", "calls")
    ]
    config = parsl.Config(executors=made, run_dir=str(folder / system), strategy="none", initialize_logging=False)
    with parsl.load(config):
        for each in made:
            each.submit(nothing, {}).result(timeout=120)
        if system == "ours":
            wait_for(lambda: "road of their own" in log_of(folder / system / "000" / "arrays"))
        yield made
    parsl.clear()


def log_of(folder: pathlib.Path) -> str:
    """What the interchange of an executor has logged."""
    path = folder / "interchange.log"
    return path.read_text() if path.exists() else ""


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait, for a minute at the most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


class Trips(threading.Thread):
    """Round trips of calls, one after the other, until `end`. [ms]"""

    def __init__(self, executor: Any) -> None:
        super().__init__(daemon=True)
        self._executor = executor
        self._is_over = threading.Event()
        self.taken: list[float] = []

    def run(self) -> None:
        while not self._is_over.wait(0.01):
            began = time.perf_counter()
            self._executor.submit(nothing, {}).result()
            self.taken.append(1e3 * (time.perf_counter() - began))

    def end(self) -> dict[str, float]:
        """What they were like."""
        self._is_over.set()
        self.join()
        found = sorted(self.taken)
        return {"p50_ms": found[len(found) // 2], "p95_ms": found[int(0.95 * len(found))]}


def idle_trips(executor: Any, seconds: float = 3.0) -> dict[str, float]:
    """Round trips while nothing else is sent."""
    trips = Trips(executor)
    trips.start()
    time.sleep(seconds)
    return trips.end()


def there_and_back(made: list[Any], size: int, count: int) -> dict[str, float]:
    """Arrays to the other host and back; calls meanwhile."""
    arrays = [np.full(size, number % 200, np.uint8) for number in range(count)]
    trips = Trips(made[1])
    trips.start()
    before = psutil.cpu_times()
    began = time.perf_counter()
    futures = [made[0].submit(back, {}, array) for array in arrays]
    for number, future in enumerate(futures):
        result = future.result(timeout=600)
        assert result.nbytes == size
        assert result[0] == result[-1] == number % 200
        del result
    took_s = time.perf_counter() - began
    now = psutil.cpu_times()
    idle = (now.idle - before.idle) / max(1e-9, sum(now[:8]) - sum(before[:8]))
    return {"mb_s": 2 * size * count / took_s / MB, "cpu_idle": idle, **trips.end()}


# --- the pump ---------------------------------------------------------------------------------------------------------


def pump(net: Network) -> float:
    """Bytes that two processes can exchange so, both directions added. [MB/s]"""
    me = f"{sys.executable} -m benchmarks.hosts --pump {net.address(0)}"
    with socket.create_server((net.address(0), 7077)) as listener:
        other = subprocess.Popen(net.on(1, f"cd {shlex.quote(str(ROOT))}; {me}"), shell=True)
        sock, _ = listener.accept()
        with sock:
            total = _pump(sock, b"a" * 32, b"b" * 32)
        other.wait()
    return total / PUMP_S / MB


def _pump(sock: socket.socket, sends: bytes, receives: bytes) -> int:
    """Send and receive for a while; gives the bytes of both."""
    counts = [0, 0]
    end = time.monotonic() + PUMP_S
    content = memoryview(os.urandom(PIECE_BYTES))

    def send() -> None:
        sealer = Sealer(AESGCM(sends))
        while time.monotonic() < end:
            sock.sendall(sealer.seal(Kind.PIECE, 1, content))
            counts[0] += PIECE_BYTES
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    opener = Opener(AESGCM(receives))
    header, body = bytearray(HEADER_BYTES), bytearray(PIECE_BYTES + TAG_BYTES)
    while _fill(sock, header) and _fill(sock, body):
        opener.open(header, memoryview(body))
        counts[1] += PIECE_BYTES
    sender.join()
    return sum(counts)


def _fill(sock: socket.socket, buffer: bytearray) -> bool:
    view = memoryview(buffer)
    while view:
        count = sock.recv_into(view)
        if not count:
            return False
        view = view[count:]
    return True


# --- a run ------------------------------------------------------------------------------------------------------------


def measure(net: Network, rounds: int, cases: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Rows of one link, from host 0."""
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        bare = pump(net)
        rows.append({"system": "pump", "case": "bare", "round": number, "mb_s": bare})
        for system in ("ours", "htex"):
            with (
                tempfile.TemporaryDirectory(prefix="hosts-") as name,
                executors(net, system, pathlib.Path(name)) as made,
            ):
                rows.append({"system": system, "case": "idle", "round": number, **idle_trips(made[1])})
                for case, (size, count) in cases.items():
                    made[0].submit(back, {}, np.ones(size, np.uint8)).result(timeout=120)
                    found = there_and_back(made, size, count)
                    rows.append({"system": system, "case": case, "round": number, **found})
    return rows


def summarise(rows: list[dict[str, Any]], mbit: float | None) -> list[dict[str, Any]]:
    """Medians of each case, and shares of the link and of the pump."""
    found = []
    pumped = statistics.median(row["mb_s"] for row in rows if row["system"] == "pump")
    keys = dict.fromkeys((row["system"], row["case"]) for row in rows)
    for system, case in keys:
        own = [row for row in rows if (row["system"], row["case"]) == (system, case)]
        entry: dict[str, Any] = {
            "link": "no limit" if mbit is None else f"{mbit:g} Mbit/s",
            "who": system,
            "case": case,
        }
        for name in ("mb_s", "p50_ms", "p95_ms", "cpu_idle"):
            if name in own[0]:
                entry[name] = round(statistics.median(row[name] for row in own), 2)
        if "mb_s" in entry:
            entry["of_link"] = "" if mbit is None else round(entry["mb_s"] / (2 * mbit / 8), 2)
            entry["of_pump"] = round(entry["mb_s"] / pumped, 2)
        found.append(entry)
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", action="append", help="rate of the link; 'none': no limit; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a quarter of the arrays")
    parser.add_argument("--pump", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--inside", nargs=2, metavar=("PREFIX", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pump:
        with socket.create_connection((args.pump, 7077)) as sock:
            _pump(sock, b"b" * 32, b"a" * 32)
        return
    rates = [None if rate == "none" else float(rate) for rate in args.mbit or ["1000", "none"]]
    cases = QUICK if args.quick else CASES
    if args.inside:
        prefix, out = args.inside
        rows = measure(Network(prefix, 2, rates[0]), args.rounds, cases)
        pathlib.Path(out).write_text(json.dumps(rows))
        return
    all_rows, entries = [], []
    for rate in rates:
        with network(2, rate) as net, tempfile.NamedTemporaryFile() as out:
            words = [sys.executable, "-m", "benchmarks.hosts", "--inside", net.prefix, out.name]
            words += ["--mbit", "none" if rate is None else f"{rate:g}", "--rounds", str(args.rounds)]
            words += ["--quick"] if args.quick else []
            subprocess.run(["ip", "netns", "exec", net.name(0), *words], check=True, cwd=ROOT)
            rows = json.loads(pathlib.Path(out.name).read_text())
        all_rows.append({"mbit": rate, "rows": rows})
        entries += summarise(rows, rate)
    RESULTS.write_text(json.dumps(all_rows, indent=1) + "\n")
    names = ["link", "who", "case", "mb_s", "of_link", "of_pump", "p50_ms", "p95_ms", "cpu_idle"]
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)
    table = Table(*names)
    for entry in entries:
        table.add_row(*(str(entry.get(name, "")) for name in names))
    Console().print(table)


if __name__ == "__main__":
    main()
