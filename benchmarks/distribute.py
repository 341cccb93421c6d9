"""One file to many nodes over links of a given rate, from each other and, for comparison, all from the origin.

    python -m benchmarks.distribute [--mb 64] [--nodes 16] [--mbit 100] [--case peers] [--uploads 4] [--sweep] [--quick]

Each node is a network namespace with a real manager and a store of its own; its link has that rate in each direction
(`benchmarks.network`), and so has that of the origin: a web server, on the host where the script and the interchange
run as well. A case ends when the context that reads the file is built on the last node; what the origin sends is
counted at its interface. Needs root. Results go to docs/_static/distribute.csv, who fed whom to distribute.png.

The comparison sends the file once to each node through one link, so it takes minutes. `--sweep` runs the case "peers"
with several numbers of uploads per node instead.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import parsl
import psutil
from parsl.data_provider.files import File
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from benchmarks.network import Network, network
from parsl_context import ContextExecutor, context

ROOT = pathlib.Path(__file__).parents[1]
TABLE = ROOT / "docs" / "_static" / "distribute.csv"
PLOT = ROOT / "docs" / "_static" / "distribute.png"
CASES = ("origin", "peers", "killed", "cut", "late", "calls")
SWEEP = (1, 2, 3, 4, 6, 10)
PATIENCE_S = 600.0
MIDDLE = 0.45  # of the time that peers need, when a fault comes


@dataclass(frozen=True)
class Row:
    """What one case was like."""

    case: str
    nodes: int  # that had to get the file
    uploads: int
    total_s: float
    origin_copies: float  # sent by the origin's interface
    cpu_idle: float  # of all cores meanwhile
    share: float | None = None  # of the time when all get it from the origin
    call_p50_ms: float | None = None  # of calls that go to one of the nodes meanwhile
    call_p95_ms: float | None = None
    idle_p50_ms: float | None = None  # the same before the transfer
    idle_p95_ms: float | None = None


@context
def arrival(file: File, folder: str) -> bool:
    """Notes when the file was there; all nodes of this machine have one clock and one root."""
    size = os.path.getsize(os.fspath(file))
    pathlib.Path(folder, f"{os.getppid()}").write_text(json.dumps([time.time(), size]))
    return True


def nothing() -> None:
    pass


# --- the origin -------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    """Sends a file, or a part of it."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._send(body=False)

    def do_GET(self) -> None:
        self._send(body=True)

    def _send(self, *, body: bool) -> None:
        path = pathlib.Path(self.server.path)  # type: ignore[attr-defined]
        size = path.stat().st_size
        start, end, status = 0, size - 1, 200
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end, status = int(found[1]), min(int(found[2]), size - 1), 206
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(end - start + 1))
        self.send_header("Connection", "close")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        self.close_connection = True
        if body:
            with path.open("rb") as file, contextlib.suppress(ConnectionError):
                self.connection.sendfile(file, start, end - start + 1)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def origin_server(path: pathlib.Path, address: str) -> Iterator[str]:
    """Address of a file at a web server."""
    server = ThreadingHTTPServer((address, 0), _Handler)
    server.daemon_threads = True
    server.path = path  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://{address}:{server.server_port}/{path.name}"
    server.shutdown()
    server.server_close()


# --- nodes ------------------------------------------------------------------------------------------------------------


class NamespaceProvider(LocalProvider):
    """Launches each block on the next host of the network, with a store of its own."""

    def __init__(self, net: Network, stores: pathlib.Path, hosts: list[int], **options: Any) -> None:
        blocks = len(hosts)
        super().__init__(init_blocks=blocks, min_blocks=blocks, max_blocks=blocks + 1, **options)
        self._net = net
        self._stores = stores
        self._left = list(hosts)

    def add(self, host: int) -> None:
        """Have the next block run on this host."""
        self._left.append(host)

    def submit(self, command: str, tasks_per_node: int, job_name: str = "bench") -> Any:
        host = self._left.pop(0)
        store = f"export PARSL_CONTEXT_STORE={shlex.quote(str(self._stores / str(host)))}"
        return super().submit(self._net.on(host, f"cd /; {store}; {command}"), tasks_per_node, job_name)


@contextlib.contextmanager
def nodes(net: Network, folder: pathlib.Path, *, peers: bool, uploads: int, probe: bool) -> Iterator[list[Any]]:
    """Executors: one with a manager on each host but the origin's, and perhaps one for calls to the first of these."""
    stores = folder / "stores"
    stores.mkdir()
    os.environ["PARSL_CONTEXT_PEERS"] = "1" if peers else "0"
    os.environ["PARSL_CONTEXT_UPLOADS"] = str(uploads)
    common: dict[str, Any] = {"address": net.address(0), "max_workers_per_node": 1, "cores_per_worker": 0.01}
    hosts = list(range(1, net.hosts - 1))  # the last one joins late
    executors = [ContextExecutor(label="files", provider=NamespaceProvider(net, stores, hosts), **common)]
    if probe:
        executors.append(ContextExecutor(label="calls", provider=NamespaceProvider(net, stores, [1]), **common))
    config = parsl.Config(
        executors=executors, run_dir=str(folder / "runinfo"), strategy="none", initialize_logging=False
    )
    with parsl.load(config):
        deadline = time.monotonic() + PATIENCE_S
        while sum(len(each.connected_managers()) for each in executors) < len(hosts) + probe:
            assert time.monotonic() < deadline, "the managers do not come"
            time.sleep(0.2)
        yield executors
    parsl.clear()


def managers_of(folder: pathlib.Path, host: int) -> list[psutil.Process]:
    """The manager of a host that is for files."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            env = process.environ()
            is_here = env.get("PARSL_CONTEXT_STORE") == str(folder / "stores" / str(host))
            if is_here and "context-manager" in " ".join(process.cmdline()):
                found.append(process)
    return found


# --- measuring --------------------------------------------------------------------------------------------------------


class Watch:
    """Time, bytes of the origin's interface, and idle time of the cores from one moment on."""

    def __init__(self) -> None:
        self.began_at = time.time()
        self._sent = _sent_bytes()
        self._cpu = psutil.cpu_times()

    def copies(self, size: int) -> float:
        """Copies of a file that were sent."""
        return (_sent_bytes() - self._sent) / size

    def idle(self) -> float:
        """Share of the time in which the cores had nothing to do."""
        now = psutil.cpu_times()
        spent = sum(now[:8]) - sum(self._cpu[:8])
        return float((now.idle - self._cpu.idle) / spent) if spent else 0.0


def _sent_bytes() -> int:
    return int(pathlib.Path("/sys/class/net/eth0/statistics/tx_bytes").read_text())


def arrivals(folder: pathlib.Path, size: int) -> list[float]:
    """When the file was on each node."""
    times = []
    for path in folder.iterdir():
        at, found = json.loads(path.read_text() or "[0, 0]")
        assert found == size or not at, f"a node has {found} bytes of {size}"
        times.append(at)
    return sorted(filter(None, times))


def wait_for(count: int, folder: pathlib.Path, size: int) -> float:
    """When so many nodes had the file."""
    deadline = time.monotonic() + PATIENCE_S
    while len(found := arrivals(folder, size)) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count} nodes have the file"
        time.sleep(0.05)
    return found[count - 1]


class Probe:
    """Calls to one node, one after the other."""

    def __init__(self, executor: ContextExecutor) -> None:
        self._executor = executor

    def measure(self, until: Callable[[], bool]) -> list[float]:
        """Round trips. [ms]"""
        trips = []
        while not until():
            began = time.perf_counter()
            self._executor.submit(nothing, {}).result()
            trips.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.01)
        return sorted(trips)


def run_case(case: str, net: Network, size: int, uploads: int, usual_s: float) -> tuple[Row, dict[str, Any]]:
    """Run a case in the namespace of the origin; gives its row, and who fed whom."""
    with tempfile.TemporaryDirectory(prefix="distribute-") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        done = folder / "done"
        done.mkdir()
        path = folder / "weights"
        with path.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        if case == "calls":  # the script serves it: no node stands where this path leads to it
            os.chdir(folder)
            url = path.name
        else:
            url = stack.enter_context(origin_server(path, net.address(0)))
        executors = stack.enter_context(
            nodes(net, folder, peers=case != "origin", uploads=uploads, probe=case == "calls")
        )
        count = net.hosts - 2
        probe = Probe(executors[1]) if case == "calls" else None
        idle: list[float] = []
        if probe is not None:
            probe.measure(_for(1.0))
            idle = probe.measure(_for(4.0))
        spec = arrival(File(url), str(done))
        watch = Watch()
        executors[0].preload(spec)
        trips = [] if probe is None else probe.measure(lambda: len(arrivals(done, size)) >= count)
        if case in ("killed", "cut"):
            time.sleep(MIDDLE * usual_s)
            _disturb(case, net, folder, victim=count // 2)
            count -= 1
        ended_at = wait_for(count, done, size)
        copies, cpu_idle = watch.copies(size), watch.idle()
        if case == "late":
            watch = Watch()
            executors[0].provider.add(net.hosts - 1)
            executors[0].scale_out_facade(1)
            ended_at = wait_for(count + 1, done, size)
            copies, cpu_idle, count = watch.copies(size), watch.idle(), 1
        if case == "cut":
            net.join(net.hosts // 2 - 1)
        fed = who_fed_whom(folder)
        row = Row(case, count, uploads, ended_at - watch.began_at, copies, cpu_idle, **_latencies(idle, trips))
        return row, fed


def _disturb(case: str, net: Network, folder: pathlib.Path, victim: int) -> None:
    if case == "cut":
        net.cut(victim)
    else:
        found = managers_of(folder, victim)
        assert found, "there is no manager to be killed"
        for process in found:
            os.kill(process.pid, signal.SIGKILL)


def _latencies(idle: list[float], trips: list[float]) -> dict[str, float]:
    if not idle or not trips:
        return {}
    return {
        "call_p50_ms": trips[len(trips) // 2],
        "call_p95_ms": trips[int(len(trips) * 0.95)],
        "idle_p50_ms": idle[len(idle) // 2],
        "idle_p95_ms": idle[int(len(idle) * 0.95)],
    }


def _for(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def who_fed_whom(folder: pathlib.Path) -> dict[str, Any]:
    """Chunks that each manager got from each source, as the interchange's log has it."""
    fed: dict[str, Any] = {}
    for log in folder.glob("runinfo/*/files/interchange.log"):
        for line in re.finditer(r"Manager (\S+) got \S+ in \S+ s; chunks: (.*)", log.read_text()):
            parts = (part.split(" of ", 1) for part in line[2].split(", "))
            fed[line[1]] = {source: int(number) for number, source in parts}
    return fed


# --- results ----------------------------------------------------------------------------------------------------------


def show(rows: list[Row], console: Console) -> None:
    """Print a table."""
    table = Table("case", "nodes", "uploads", "total [s]", "share", "copies", "CPU idle", "calls p50/p95 [ms]", "idle")
    for row in rows:
        calls = "" if row.call_p95_ms is None else f"{row.call_p50_ms:.1f} / {row.call_p95_ms:.1f}"
        before = "" if row.idle_p95_ms is None else f"{row.idle_p50_ms:.1f} / {row.idle_p95_ms:.1f}"
        share = "" if row.share is None else f"{row.share:.3f}"
        figures = [f"{row.total_s:.2f}", share, f"{row.origin_copies:.2f}", f"{row.cpu_idle:.0%}", calls, before]
        table.add_row(row.case, str(row.nodes), str(row.uploads), *figures)
    console.print(table)


def draw(fed: dict[str, dict[str, int]], path: pathlib.Path, title: str) -> None:
    """Draw who fed whom."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    receivers = sorted(fed)
    sources = ["the origin", *receivers]
    cells = [[fed[receiver].get(source, 0) for source in sources] for receiver in receivers]
    figure, axes = pyplot.subplots(figsize=(7, 5.5), layout="constrained")
    image = axes.imshow(cells, cmap="viridis", aspect="auto")
    names = [f"node {number + 1}" for number in range(len(receivers))]
    axes.set_xticks(range(len(sources)), ["origin", *names], rotation=90)
    axes.set_yticks(range(len(receivers)), names)
    axes.set_xlabel("from")
    axes.set_ylabel("to")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label="chunks of 1 MiB")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Run the cases, each in a process of its own in the namespace of the origin."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distribute", description=__doc__.split("\n")[0])
    parser.add_argument("--mb", type=int, default=64, help="size of the file. [MiB]")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--mbit", type=float, default=100.0, help="rate of each link. [Mbit/s]")
    parser.add_argument("--uploads", type=int, default=4, help="chunks that a node sends at a time")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be given again")
    parser.add_argument("--sweep", action="store_true", help="the case 'peers' with several numbers of uploads")
    parser.add_argument("--quick", action="store_true", help="a small file to few nodes, nothing is written")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.mb, args.nodes = 8, 3
    if args.inside is not None:
        case, net, usual_s = json.loads(args.inside)
        row, fed = run_case(case, Network(**net), args.mb << 20, args.uploads, usual_s)
        print("RESULT", json.dumps([asdict(row), fed]))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the network would stay
    console = Console(width=120)
    rows: list[Row] = []
    with network(args.nodes + 2, args.mbit) as net:
        plan = [("peers", uploads) for uploads in SWEEP] if args.sweep else []
        plan = plan or [(case, args.uploads) for case in args.case or CASES]
        for case, uploads in plan:
            usual_s = next((row.total_s for row in rows if row.case == "peers"), args.mb * 8.4 / args.mbit * 1.4)
            row, fed = _run_inside(case, net, args, uploads, usual_s)
            whole_s = next((row.total_s for row in [*rows, row] if row.case == "origin"), None)
            if whole_s is not None:
                row = Row(**{**asdict(row), "share": row.total_s / whole_s})
            rows.append(row)
            show(rows, console)
            if case == "peers" and not args.sweep and not args.quick:
                draw(fed, PLOT, f"{args.mb} MB to {args.nodes} nodes, links of {args.mbit:g} Mbit/s: who fed whom")
    if not args.quick and not args.case:
        with TABLE.with_stem("distribute_uploads" if args.sweep else "distribute").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows
            )


def _run_inside(case: str, net: Network, args: Any, uploads: int, usual_s: float) -> tuple[Row, dict[str, Any]]:
    inside = json.dumps([case, asdict(net), usual_s])
    # As a script: of a module of a package, the whole package would travel to the nodes.
    words = [sys.executable, __file__, "--mb", str(args.mb), "--uploads", str(uploads), "--inside", inside]
    command = ["ip", "netns", "exec", net.name(0), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=env)
    result = next(line for line in ran.stdout.splitlines() if line.startswith("RESULT "))
    row, fed = json.loads(result.removeprefix("RESULT "))
    return Row(**row), fed


if __name__ == "__main__":
    main()
