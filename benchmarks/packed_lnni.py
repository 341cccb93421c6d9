"""The network job of `examples/lnni.py --packed` on hosts that share no folder: what each level fetches and unpacks.

    python -m benchmarks.environments --lnni [--hosts 2] [--mbit 1000] [--calls 8] [--network filetypes] [--level disk]

Script, interchange and the web servers of software and weights are on one host, each manager on another
(`benchmarks.network`), with a store and a /dev/shm of its own. All links have that rate in each direction. Each level
runs the same calls, in a process of its own; the clock runs from the first submission, when the managers have joined,
to the last result. Needs root, and the extras of the example. Results go to benchmarks/results/packed-lnni.json and
docs/_static/packed-lnni.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np
import parsl
from parsl.data_provider.files import File
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from rich.console import Console
from rich.table import Table

from benchmarks.distribute import NamespaceProvider, _Handler
from benchmarks.hosts import OWN_MEMORY
from benchmarks.network import Network, network
from parsl_context import ContextExecutor, context_app

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RESULTS = ROOT / "benchmarks" / "results" / "packed-lnni.json"
TABLE = ROOT / "docs" / "_static" / "packed-lnni.csv"
PATIENCE_S = 120.0
_UNPACKED = re.compile(r"Unpacked http\S+ in (\S+) s")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One level."""

    level: str
    total_s: float
    software_mb: float  # that the origin sent of the packed environment
    weights_mb: float
    unpackings: int
    unpacking_s: float  # mean time of one, with getting it. [s]
    builds: int


class Origin(ThreadingHTTPServer):
    """A web server with one file, of which it sends parts as well; counts the bytes."""

    daemon_threads = True

    def __init__(self, path: pathlib.Path, address: str) -> None:
        super().__init__((address, 0), _Counting)
        self.path = path
        self.url = f"http://{address}:{self.server_port}/{path.name}"
        self.sent_bytes = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Send nothing any more."""
        self.shutdown()
        self.server_close()


class _Counting(_Handler):
    def do_GET(self) -> None:
        self.connection = _Counted(self.connection, self.server)  # type: ignore[assignment]
        super().do_GET()


class _Counted:
    """A socket on which what is sent of files is counted."""

    def __init__(self, sock: Any, server: Any) -> None:
        self._socket = sock
        self._server = server

    def sendfile(self, file: Any, start: int, count: int) -> None:
        sent = self._socket.sendfile(file, start, count)
        with self._server.lock:
            self._server.sent_bytes += sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def run_level(level: str, net: Network, args: Any, folder: pathlib.Path) -> Row:
    """Run all calls at a level, in the namespace of the origin; their results go to a file in the folder."""
    job = _network(args.network)
    _, batches = job.batches(args.calls)
    weights = Origin(job.weights, net.address(0))
    software = Origin(pathlib.Path(args.archive), net.address(0))
    hosts = list(range(1, net.hosts))
    stores = folder / "stores"
    stores.mkdir()
    executor = ContextExecutor(
        reuse=level,
        environment=software.url,
        address=net.address(0),
        max_workers_per_node=args.workers,
        cores_per_worker=0.01,
        launch_cmd=OWN_MEMORY + DEFAULT_LAUNCH_CMD,
        provider=NamespaceProvider(net, stores, hosts),
    )
    app = context_app(context=job.load(File(weights.url)))(job.run)
    runs = folder / "runs"
    config = parsl.Config(executors=[executor], run_dir=str(runs), strategy="none", initialize_logging=False)
    with parsl.load(config):
        deadline = time.monotonic() + PATIENCE_S
        while len(executor.connected_managers()) < len(hosts):
            assert time.monotonic() < deadline, "the managers do not come"
            time.sleep(0.05)
        began = time.monotonic()
        results = [future.result()[0] for future in [app(batch) for batch in batches]]
        total_s = time.monotonic() - began
        builds = sum(row.loads for row in executor.contexts())
    logs = "".join(path.read_text() for path in runs.glob("**/manager.log"))
    took_s = [float(text) for text in _UNPACKED.findall(logs)]
    np.save(folder / "results.npy", np.concatenate(results))
    for each in (weights, software):
        each.close()
    return Row(
        level=level,
        total_s=total_s,
        software_mb=software.sent_bytes / 1e6,
        weights_mb=weights.sent_bytes / 1e6,
        unpackings=len(took_s),
        unpacking_s=sum(took_s) / max(1, len(took_s)),
        builds=builds,
    )


def _network(name: str) -> Any:
    import importlib

    return importlib.import_module(f"networks.{name}").NETWORK


def show(rows: list[Row], console: Console) -> None:
    """Print a table."""
    table = Table("level", "total [s]", "software [MB]", "weights [MB]", "unpacked", "each [s]", "built")
    for row in rows:
        table.add_row(
            row.level,
            f"{row.total_s:.1f}",
            f"{row.software_mb:.0f}",
            f"{row.weights_mb:.0f}",
            str(row.unpackings),
            f"{row.unpacking_s:.2f}",
            str(row.builds),
        )
    console.print(table)


def write(rows: list[Row], args: Any, *, agree: bool, size_bytes: int) -> None:
    """Write figures for people and for the how-to."""
    setting = {name: getattr(args, name) for name in ("network", "hosts", "workers", "mbit", "calls")}
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_15min": os.getloadavg()[2]}
    found = {"archive_mb": size_bytes / 1e6, "equal_results": agree, "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps({**setting, "machine": machine, **found}, indent=1) + "\n")
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["level", "total [s]", "software sent [MB]", "unpacked", "each, with getting it [s]", "built"])
        for row in rows:
            figures = [f"{row.total_s:.1f}", f"{row.software_mb:.0f}", row.unpackings, f"{row.unpacking_s:.1f}"]
            writer.writerow([row.level, *figures, row.builds])


def run_all(args: Any) -> int:
    """Run each level in the namespace of the origin; gives the exit status."""
    sys.path.insert(0, str(EXAMPLES))
    from lnni import pack
    from lnni_figures import levels_agree
    from lnni_job import ARCHIVE

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the network would stay
    rows: list[Row] = []
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="packed-lnni-") as name, network(args.hosts + 1, args.mbit) as net:
        archive = pathlib.Path(name, "archive", ARCHIVE)
        archive.parent.mkdir()
        pack(args.network, archive)
        for level in args.level or ("none", "disk", "memory", "node"):
            folder = pathlib.Path(name, level)
            folder.mkdir()
            rows.append(_run_inside(level, net, args, archive, folder))
            results[level] = np.load(folder / "results.npy")
            show(rows, Console(width=120))
        size_bytes = archive.stat().st_size
    agree = levels_agree(results)
    if not args.level and not args.quick:
        write(rows, args, agree=agree, size_bytes=size_bytes)
    return 0 if agree else 1


def _run_inside(level: str, net: Network, args: Any, archive: pathlib.Path, folder: pathlib.Path) -> Row:
    inside = json.dumps([level, asdict(net), {**vars(args), "archive": str(archive)}, str(folder)])
    # As a script: of a module of a package, the whole package would travel to the nodes.
    command = ["ip", "netns", "exec", net.name(0), sys.executable, __file__, inside]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{EXAMPLES}"}
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=env)
    result = next(line for line in ran.stdout.splitlines() if line.startswith("RESULT "))
    return Row(**json.loads(result.removeprefix("RESULT ")))


def _main() -> None:
    level, net, args, folder = json.loads(sys.argv[1])
    row = run_level(level, Network(**net), argparse.Namespace(**args), pathlib.Path(folder))
    print("RESULT", json.dumps(asdict(row)))


if __name__ == "__main__":
    _main()
