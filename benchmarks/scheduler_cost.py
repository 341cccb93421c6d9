"""What a call costs in the scheduling state of the interchange, by size of the pool; and in stock HTEX's interchange.

    python -m benchmarks.scheduler_cost [--quick]

Ours: `ClusterState` takes the three events that a call's way through the interchange consists of (submitted, a message
of its manager, ended) and gives the actions. The state is steady: every worker runs a call, as many calls wait as the
column says, each context is warm somewhere, and each call that ends is replaced by a new one. Nothing is sent,
encoded or decoded, and no clock is read.

HTEX: the methods that `parsl.executors.high_throughput.interchange.Interchange.start` calls in each turn of its loop,
in its order, with sockets that hand over and throw away prepared messages. A turn takes one call and one result, as
stock does when both sockets are readable. Its figure therefore holds what cannot be taken apart in it: unpickling the
result's header and pickling the tasks that it sends. Its logging is off (level above DEBUG), which favours it.

All sizes are measured in turn, `--rounds` times (this takes about 5 GB); the medians are of the time of
the process. Memory of a waiting call is the growth of `tracemalloc`'s count while calls are submitted that nobody can
take, their identifiers included. Results go to benchmarks/results/scheduler-cost.json, a table to docs/_static/.
"""

from __future__ import annotations

import argparse
import csv
import gc
import itertools
import json
import math
import pathlib
import pickle
import platform
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq
from parsl.executors.high_throughput.interchange import Interchange
from parsl.executors.high_throughput.manager_selector import RandomManagerSelector
from rich.console import Console
from rich.table import Table
from sortedcontainers import SortedList

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import ContextOptions, Digest, ManagerId, TaskId, WorkerId

RESULTS = pathlib.Path(__file__).parent / "results" / "scheduler-cost.json"
TABLE = pathlib.Path(__file__).parents[1] / "docs" / "_static" / "scheduler-cost.csv"
SLOTS = 64  # workers of a manager
RUN_S = 0.1  # of a call: too long to be sent ahead
BUILD_S = 1e7  # of a context: so long that no build pays, so that the state is steady
HELD = 10  # contexts that a worker holds at the least
WORKERS = (1, 100, 1_000, 10_000)
CONTEXTS = (10, 1_000)
QUEUED = (1_000, 1_000_000)
TARGET = 1.5  # the dearest size over the cheapest


class Pool:
    """A `ClusterState` in steady state, and the calls that its managers hold."""

    def __init__(self, workers: int, contexts: int, queued: int) -> None:
        self.state = ClusterState(heartbeat_threshold_s=math.inf)
        self.now = 0.0
        self.lanes = [Lane((Digest(f"context-{i:04}"),), False) for i in range(contexts)]
        self.running: deque[tuple[TaskId, ManagerId]] = deque()
        self._next = 0
        for lane in self.lanes:
            options = ContextOptions(name=lane.contexts[0], reuse="memory")
            self.decide(cluster.ContextDeclared(context=lane.contexts[0], options=options))
        self._held = max(HELD, math.ceil(contexts / workers))
        self._contexts = itertools.cycle(lane.contexts[0] for lane in self.lanes)
        for number in range(math.ceil(workers / SLOTS)):
            self._join(ManagerId(f"m{number:05}"), min(SLOTS, workers - number * SLOTS))
        for lane in self.lanes:
            context = lane.contexts[0]
            first = ManagerId("m00000")
            self.decide(cluster.BuildEnded(manager=first, context=context, load_s=BUILD_S, size_bytes=0))
        self.submit(queued + workers)

    def _join(self, manager: ManagerId, slots: int) -> None:
        self.state.handle(cluster.ManagerJoined(manager=manager, node=manager, block=manager, slots=slots), now=0.0)
        for worker in range(slots):
            for _ in range(self._held):
                context = next(self._contexts)
                held = cluster.ContextHeld(manager=manager, worker=WorkerId(worker), context=context)
                self.state.handle(held, now=0.0)

    def submit(self, count: int) -> None:
        """The executor makes calls, of the contexts in turn."""
        for _ in range(count):
            lane = self.lanes[self._next % len(self.lanes)]
            self._next += 1
            self.decide(cluster.TaskSubmitted(task=TaskId(self._next), lane=lane, code=lane.contexts[0]))

    def decide(self, event: cluster.Event) -> None:
        for action in self.state.handle(event, now=self.now):
            assert isinstance(action, cluster.SendTask), f"not a steady state: {action}"
            self.running.append((action.task, action.manager))

    def turn(self, calls: int) -> None:
        """So many calls end, and as many are made."""
        step_s = RUN_S / max(1, len(self.running))
        for _ in range(calls):
            self.now += step_s
            task, manager = self.running.popleft()
            self.decide(cluster.ManagerContact(manager=manager))
            self.decide(cluster.TaskEnded(manager=manager, task=task, run_s=RUN_S))
            self.submit(1)
            if self.state.next_deadline() <= self.now:
                self.decide(cluster.Tick())


class Inbox:
    """In the place of a ZeroMQ socket: messages that wait, and none that is sent."""

    def __init__(self) -> None:
        self.messages: deque[Any] = deque()

    def recv_pyobj(self) -> Any:
        return pickle.loads(self.messages.popleft())

    def recv_multipart(self) -> Any:
        return self.messages.popleft()

    def send_multipart(self, parts: list[bytes]) -> None:
        pass

    def send(self, part: bytes) -> None:
        pass


class StockPool:
    """HTEX's interchange in steady state, its sockets replaced."""

    def __init__(self, workers: int, queued: int) -> None:
        ix = self.interchange = Interchange.__new__(Interchange)
        ix.task_incoming, ix.results_outgoing = Inbox(), Inbox()  # type: ignore[assignment]
        ix.manager_sock, ix.command_channel = Inbox(), Inbox()  # type: ignore[assignment]
        ix.pending_task_queue = SortedList(key=lambda entry: (entry[0], entry[1]))
        ix._ready_managers = {}
        ix._logged_manager_count_token = None
        ix.heartbeat_threshold = 1_000_000
        ix.manager_selector = RandomManagerSelector()
        ix.count = 0
        self.interesting: set[bytes] = set()
        self._next = 0
        for number in range(math.ceil(workers / SLOTS)):
            self._join(b"m%05d" % number, min(SLOTS, workers - number * SLOTS))
        for _ in range(queued + workers):
            self._submit()
            ix.socks = {ix.task_incoming: zmq.POLLIN}
            ix.process_task_incoming()
        ix.socks = {}
        ix.process_tasks_to_send(self.interesting, None)
        self._order = deque((m, t) for m, record in ix._ready_managers.items() for t in record["tasks"])

    def _join(self, name: bytes, slots: int) -> None:
        record = {
            "block_id": "0", "start_time": 0.0, "tasks": [], "worker_count": slots, "max_capacity": slots,
            "active": True, "draining": False, "drain_time": math.inf, "last_heartbeat": time.time(),
            "idle_since": None, "parsl_version": "", "python_version": "",
        }  # fmt: skip
        self.interchange._ready_managers[name] = record  # type: ignore[assignment]
        self.interesting.add(name)

    def _submit(self) -> None:
        self._next += 1
        call = {"task_id": self._next, "context": {"resource_spec": {}}, "buffer": b"f(x)"}
        self.interchange.task_incoming.messages.append(pickle.dumps(call))  # type: ignore[attr-defined]

    def turn(self, calls: int) -> None:
        """Turns of the loop, each with one result and one new call."""
        ix = self.interchange
        for _ in range(calls):
            manager, task = self._order.popleft()
            message = pickle.dumps({"type": "result", "task_id": task, "result": b"y"})
            ix.manager_sock.messages.append([manager, message])  # type: ignore[attr-defined]
            self._submit()
            before = ix._ready_managers[manager]["tasks"]
            ix.socks = {ix.task_incoming: zmq.POLLIN, ix.manager_sock: zmq.POLLIN}
            ix.process_command(None)
            ix.process_task_incoming()
            ix.process_manager_socket_message(self.interesting, None, None)  # type: ignore[arg-type]
            ix.expire_bad_managers(self.interesting, None)
            ix.expire_drained_managers(self.interesting, None)
            ix.log_manager_counts(self.interesting)
            ix.process_tasks_to_send(self.interesting, None)
            self._order.append((manager, before[-1]))


def microseconds(turn: Callable[[int], None], calls: int) -> float:
    """Time of the process per call. [µs]"""
    begin = time.process_time()
    turn(calls)
    return (time.process_time() - begin) / calls * 1e6


def bytes_per_call(count: int) -> float:
    """Memory that one more waiting call takes. [bytes]"""
    pool = Pool(1, 10, 10)
    gc.collect()
    tracemalloc.start()
    pool.submit(count)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / count


def measure(quick: bool, rounds: int, calls: int) -> dict[str, Any]:
    """All sizes, interleaved."""
    queues = QUEUED[:1] if quick else QUEUED
    sizes = [(w, c, q) for q in queues for c in CONTEXTS for w in (WORKERS[:3] if quick else WORKERS)]
    ours: dict[tuple[int, int, int], list[float]] = {size: [] for size in sizes}
    gc.disable()
    pools = {size: Pool(*size) for size in sizes}
    gc.freeze()
    gc.enable()
    for turn in range(rounds + 1):
        for size, pool in pools.items():
            figure = microseconds(pool.turn, calls)
            if turn:  # the first round warms caches
                ours[size].append(figure)
    gc.unfreeze()
    pools.clear()
    stocks = {m: StockPool(m * SLOTS, 1_000) for m in ((1, 100) if quick else (1, 100, 1_000))}
    stock: dict[int, list[float]] = {m: [] for m in stocks}
    for turn in range(rounds + 1):
        for managers, pool_of_htex in stocks.items():
            figure = microseconds(pool_of_htex.turn, max(100, calls // (10 if managers > 1 else 1)))
            if turn:
                stock[managers].append(figure)
    medians = [statistics.median(figures) for figures in ours.values()]
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "rounds": rounds,
        "calls": calls,
        "ours_us": [
            {"workers": w, "contexts": c, "queued": q, "median_us": statistics.median(figures), "all_us": figures}
            for (w, c, q), figures in ours.items()
        ],
        "htex_us": [
            {"managers": m, "workers": m * SLOTS, "queued": 1_000, "median_us": statistics.median(f), "all_us": f}
            for m, f in stock.items()
        ],
        "largest_over_smallest": max(medians) / min(medians),
        "bytes_per_queued_call": bytes_per_call(100_000),
    }


def tabulate(data: dict[str, Any]) -> None:
    """The table of the documentation."""
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", "workers", "contexts", "waiting calls", "µs per call"])
        for row in data["ours_us"]:
            sizes = [f"{row[size]:,}" for size in ("workers", "contexts", "queued")]
            writer.writerow(["ClusterState", *sizes, f"{row['median_us']:.1f}"])
        for row in data["htex_us"]:
            writer.writerow(["HTEX", f"{row['workers']:,}", "none", f"{row['queued']:,}", f"{row['median_us']:.1f}"])


def show(data: dict[str, Any]) -> None:
    console = Console()
    table = Table("workers", "contexts", "waiting", "µs per call", title="ClusterState: submitted, sent, ended")
    for row in data["ours_us"]:
        table.add_row(f"{row['workers']:,}", f"{row['contexts']:,}", f"{row['queued']:,}", f"{row['median_us']:.1f}")
    console.print(table)
    table = Table(
        "managers", "workers", "waiting", "µs per call", title="Interchange of stock HTEX: one turn of its loop"
    )
    for row in data["htex_us"]:
        table.add_row(f"{row['managers']:,}", f"{row['workers']:,}", f"{row['queued']:,}", f"{row['median_us']:.1f}")
    console.print(table)
    ratio = data["largest_over_smallest"]
    verdict = "met" if ratio <= TARGET else "NOT met"
    console.print(f"largest over smallest: {ratio:.2f} (target: at most {TARGET}): {verdict}")
    console.print(f"bytes per waiting call: {data['bytes_per_queued_call']:.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only; nothing is written")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=5_000, help="per round and size")
    chosen = parser.parse_args()
    data = measure(chosen.quick, 3 if chosen.quick else chosen.rounds, chosen.calls)
    show(data)
    if not chosen.quick:
        RESULTS.write_text(json.dumps(data, indent=1) + "\n")
        tabulate(data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
