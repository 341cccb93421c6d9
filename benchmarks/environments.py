"""How long a node takes until an environment can be used: unpacked while it arrives, and found there again.

    python -m benchmarks.environments [--mb 400] [--files 12000] [--archive env.tar.zst]

One manager on this machine, started anew for each case, by whose log the times are. The archive comes from a web server
that sends no faster than it takes to unpack, which is the hardest case for doing both at once: receiving and unpacking
alone are measured first, in the same run. Without `--archive` an environment is made: compiled modules and libraries.

`--lnni` runs the network job of the examples instead, with its software packed, on hosts that share no folder
(`benchmarks.packed_lnni`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import parsl
from parsl.data_provider.files import File
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from benchmarks.distribute import _Handler
from parsl_context import ContextExecutor, context, context_app
from parsl_context.distribute.environments import collecting, packing
from tests.environments import install, make_prefix

_PIECE_BYTES = 64 << 10
_READY = r"Environment \S+ is ready after (\S+) s"
_UNPACKED = r"Unpacked \S+ in (\S+) s"
_GOT = r"Got \S+ in (\S+) s; chunks"


def nothing() -> None:
    pass


def held(_: Any) -> float:
    return time.time()


class _Paced(_Handler):
    """Sends no faster, over all connections, than its server says."""

    def do_GET(self) -> None:
        server: Any = self.server
        self.connection = _Throttled(self.connection, server)  # type: ignore[assignment]
        super().do_GET()


class _Throttled:
    """A socket on which files are sent at a pace."""

    def __init__(self, sock: Any, server: Any) -> None:
        self._socket = sock
        self._server = server

    def sendfile(self, file: Any, start: int, count: int) -> None:
        file.seek(start)
        while count > 0 and (piece := file.read(min(_PIECE_BYTES, count))):
            with self._server.lock:
                now = time.monotonic()
                due = self._server.due = max(now, self._server.due) + len(piece) / self._server.bytes_per_s
            time.sleep(max(0.0, due - now))
            self._socket.sendall(piece)
            count -= len(piece)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


@contextlib.contextmanager
def paced_server(path: pathlib.Path, bytes_per_s: float) -> Iterator[str]:
    """Address of a file at a web server that sends so much."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Paced)
    server.daemon_threads = True
    server.path, server.bytes_per_s, server.lock, server.due = path, bytes_per_s, threading.Lock(), 0.0
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{path.name}"
    server.shutdown()
    server.server_close()


def make_archive(folder: pathlib.Path, mb: int, files: int) -> pathlib.Path:
    """An environment of so many modules, which compress well, and libraries, which hardly do."""
    prefix = make_prefix(folder / "prefix")
    source = "".join(f"def function_{i}(x, y={i}):\n    return x + y * {i}\n\n\n" for i in range(40))
    modules: dict[str, str | bytes] = {}
    for i in range(files // 2):
        modules[f"package/m{i // 500}/module_{i}.py"] = f"# {i}\n{source}"
    size = sum(len(text) for text in modules.values()) * 2
    libraries = max(1, ((mb << 20) - size) // (8 << 20))
    for i in range(libraries):
        modules[f"package/libs/lib{i}.so"] = os.urandom(2 << 20) + bytes(range(256)) * (6 << 12)
    install(prefix, "package", modules)
    packing.pack(collecting.collect(prefix), folder / "env.tar.zst")
    return folder / "env.tar.zst"


def run(folder: pathlib.Path, store: str, spec: Any, pattern: str) -> tuple[float, float]:
    """What the manager's log says of one call with a context, and the time from the call to its result. [s]"""
    executor = ContextExecutor(
        address="127.0.0.1",
        max_workers_per_node=1,
        node_store=str(folder / store),
        provider=LocalProvider(max_blocks=1),
    )
    runs = folder / f"run-{time.monotonic_ns()}"
    app = context_app(context=spec)(held)
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(runs), usage_tracking=0, strategy_period=0.2)):
        executor.submit(nothing, {}).result()
        start = time.monotonic()
        executor.submit(app.func, {}).result()
        took_s = time.monotonic() - start
    text = "".join(path.read_text() for path in runs.glob("**/manager.log"))
    found = re.findall(pattern, text)
    if not found:
        raise SystemExit(f"The manager's log says nothing of it: {text}")
    return float(found[-1]), took_s


@context
def fetched(file: File) -> bool:
    return True


@context
def plain() -> bool:
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=400, help="size when unpacked")
    parser.add_argument("--files", type=int, default=12_000, help="files of modules, compiled ones included")
    parser.add_argument("--archive", type=pathlib.Path, help="measure this one")
    parser.add_argument("--lnni", action="store_true", help="the network job, on hosts that share no folder")
    parser.add_argument("--hosts", type=int, default=2, help="of the network job")
    parser.add_argument("--workers", type=int, default=1, help="of each host")
    parser.add_argument("--mbit", type=float, default=1000.0, help="rate of each host's link. [Mbit/s]")
    parser.add_argument("--calls", type=int, default=8, help="at each level")
    parser.add_argument("--network", default="filetypes", help="of the examples")
    parser.add_argument("--level", action="append", help="only this one; may be given again; nothing is written")
    parser.add_argument("--quick", action="store_true", help="few calls, nothing is written")
    chosen = parser.parse_args()
    if chosen.lnni:
        from benchmarks.packed_lnni import run_all  # with what the example needs

        chosen.calls = 4 if chosen.quick else chosen.calls
        return run_all(chosen)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        archive = chosen.archive or make_archive(folder, chosen.mb, chosen.files)
        size = archive.stat().st_size
        here = context(environment=archive)(plain.function)()
        unpacked_s, _ = run(folder, "a", here, _UNPACKED)
        again_s, again_call_s = run(folder, "a", here, _READY)
        with paced_server(archive, size / unpacked_s) as url:
            received_s, _ = run(folder, "b", fetched(File(url)), _GOT)
            both_s, both_call_s = run(folder, "c", context(environment=url)(plain.function)(), _UNPACKED)
    table = Table(title=f"{size / 1e6:.0f} MB archive, at {size * 8e-6 / unpacked_s:.0f} Mbit/s")
    table.add_column("what")
    table.add_column("time [s]", justify="right")
    for what, time_s in (
        ("unpacking alone, from this node's disk", unpacked_s),
        ("receiving alone", received_s),
        ("both at once", both_s),
        ("both, until the first call has ended", both_call_s),
        ("second start: interpreter ready", again_s),
        ("second start, until the first call has ended", again_call_s),
    ):
        table.add_row(what, f"{time_s:.2f}")
    Console().print(table)
    print(f"Both at once take {both_s / max(unpacked_s, received_s):.2f} times the larger of the two.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
