"""``python -m parsl_context.globus.pool``: our workers in the blocks of a stock engine, as its ``launch_cmd``.

    stock interchange <- Parsl's manager -> ContextExecutor of this node -> our pool -> workers

Our pool does not speak to the stock interchange. So Parsl's own manager does, in the release that is installed, and
instead of starting workers it hands its tasks to an executor of ours that has this node alone. Which node gets a call
the stock interchange decides, by chance; which worker of the node, ours, by warmth.
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import pathlib
import pickle
import queue
import signal
import time
from concurrent.futures import Future
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.mpi_resource_management import TaskScheduler
from parsl.executors.high_throughput.process_worker_pool import Manager, get_arg_parser
from parsl.jobs.job_status_poller import JobStatusPoller
from parsl.providers import LocalProvider
from parsl.serialize import serialize

from parsl_context.errors import ConfigurationError
from parsl_context.globus.engine import EndpointExecutor
from parsl_context.parsl_parts.compat import start_logging

logger = logging.getLogger(f"parsl.{__name__}")

_IN_ONE_PIECE = 1_000_000  # up to here a result is pickled in memory, as by Parsl's workers [bytes]
_STARTS_WITHIN_S = 120.0
_POLL_S = 0.1
_BLOCKS_EVERY_S = 5.0  # how often it is looked whether our pool is there, as by endpoints


class NodeManager(Manager):
    """Parsl's manager, whose tasks an executor runs.

    Parameters
    ----------
    executor
        Started, with its workers.
    worker_count
        Of these.
    **given
        As of Parsl's manager.
    """

    def __init__(self, executor: EndpointExecutor, worker_count: int, **given: Any) -> None:
        super().__init__(**given)
        self._executor = executor
        self._of_executor = worker_count
        self.worker_count = 0  # that it starts itself
        # Parsl's are of another process. That is gone first where a job is told to end, and stays if this is killed.
        self._mp_manager.shutdown()
        results: Any = queue.Queue()
        messages: Any = queue.Queue()
        self.pending_result_queue, self.monitoring_queue = results, messages
        self.task_scheduler = _Passing(executor, results)

    def create_reg_message(self) -> dict[str, Any]:
        """What the interchange gets to know of this node."""
        capacity = self._of_executor + self.prefetch_capacity
        told: dict[str, Any] = super().create_reg_message()
        return {**told, "worker_count": self._of_executor, "max_capacity": capacity}

    def worker_watchdog(self, procs: object) -> None:
        """End when the executor has: then the endpoint asks for another block."""
        while not self._stop_event.wait(self.heartbeat_period):
            if self._executor.bad_state_is_set:
                logger.critical("The executor of this node is lost: %s", self._executor.executor_exception)
                self._stop_event.set()

    def end(self, *_: object) -> None:
        """Have `start` return."""
        self._stop_event.set()


class _Passing(TaskScheduler):
    """Where a manager puts its tasks, and gets results."""

    def __init__(self, executor: EndpointExecutor, results: Any) -> None:
        super().__init__(results, results)
        self._executor = executor

    def put_task(self, task: dict[str, Any]) -> None:
        """Have a task run, whose result comes among the others."""
        task_id = task["task_id"]
        try:
            future: Future[Any] = self._executor.submit_payload(task["context"], task["buffer"])
        except Exception as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self.pending_result_q.put(_packed(task_id, done)))


def _packed(task_id: int, done: Future[Any]) -> bytes:
    """An outcome, as Parsl's workers send it."""
    told: dict[str, Any] = {"type": "result", "task_id": task_id}
    error = done.exception()
    if error is None:
        return pickle.dumps({**told, "result": serialize(done.result(), buffer_threshold=_IN_ONE_PIECE)})
    if type(error).__module__.partition(".")[0] not in ("builtins", "parsl"):
        # What the call raised is within a result; this is of a worker that was lost. A stock endpoint has no class of
        # ours to read it with.
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return pickle.dumps({**told, "exception": serialize(RemoteExceptionWrapper(type(error), error, None))})


def main() -> None:
    """Run as ``process_worker_pool.py`` does, with its arguments."""
    parser = get_arg_parser()
    parser.description = "Workers of parsl-context in a block of a Globus Compute endpoint."
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="An option of ContextExecutor, as in --option context_max_idletime=3600. May be given several times.",
    )
    args = parser.parse_args()
    folder = pathlib.Path(args.logdir, f"block-{args.block_id}", args.uid)
    log_config = None if args.logconf in (None, "None") else pickle.loads(pathlib.Path(args.logconf).read_bytes())
    start_logging(log_config, str(folder), "manager", debug=args.debug)
    if args.enable_mpi_mode:
        raise ConfigurationError(
            "parsl_context.globus.pool runs no MPI tasks. Use ContextEngine, or GlobusMPIEngine without a launch_cmd."
        )
    executor = _executor(args, folder)
    executor.start()
    poller = JobStatusPoller(strategy="simple", max_idletime=float("inf"), strategy_period=_BLOCKS_EVERY_S)
    try:
        poller.add_executors([executor])
        manager = NodeManager(executor, _count_of_workers(executor), **_of_manager(args), log_config=log_config)
        signal.signal(signal.SIGTERM, manager.end)
        manager.start()
    finally:
        poller.close()
        executor.shutdown()


def _executor(args: argparse.Namespace, folder: pathlib.Path) -> EndpointExecutor:
    """The executor of this node. Its block is a process here, in the job that this is in."""
    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)  # type: ignore[no-untyped-call]
    is_bounded = args.max_workers_per_node != float("inf")
    executor = EndpointExecutor(
        **{
            "label": "pool",
            "address": "127.0.0.1",
            "encrypted": args.cert_dir != "None",
            "worker_debug": args.debug,
            "cores_per_worker": float(args.cores_per_worker),
            "mem_per_worker": None if args.mem_per_worker in (None, "None") else float(args.mem_per_worker),
            "max_workers_per_node": int(args.max_workers_per_node) if is_bounded else None,
            "cpu_affinity": args.cpu_affinity,
            "available_accelerators": args.available_accelerators,
            "provider": provider,
            **dict(map(_option, args.option)),
        }
    )
    executor.run_dir = str(folder)
    provider.script_dir = str(folder / "submit_scripts")
    os.makedirs(provider.script_dir, exist_ok=True)
    return executor


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _of_manager(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of Parsl's manager."""
    return {
        "addresses": args.addresses,
        "address_probe_timeout": int(args.address_probe_timeout),
        "port": args.port,
        "cores_per_worker": float(args.cores_per_worker),
        "mem_per_worker": None,
        "max_workers_per_node": float("inf"),
        "prefetch_capacity": int(args.prefetch_capacity),
        "uid": args.uid,
        "block_id": args.block_id,
        "heartbeat_threshold": int(args.hb_threshold),
        "heartbeat_period": int(args.hb_period),
        "poll_period": int(args.poll),
        "cpu_affinity": "none",
        "available_accelerators": [],
        "cert_dir": None if args.cert_dir == "None" else args.cert_dir,
        "drain_period": None if args.drain_period in (None, "None") else int(args.drain_period),
    }


def _count_of_workers(executor: EndpointExecutor) -> int:
    """How many there are, once our pool has come.

    Raises
    ------
    BadStateException
        If it does not.
    """
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until and not executor.bad_state_is_set:
        count = sum(each["worker_count"] for each in executor.connected_managers())
        if count:
            return int(count)
        time.sleep(_POLL_S)
    reason = executor.executor_exception or TimeoutError(f"no worker has come within {_STARTS_WITHIN_S:.0f} s")
    error = RuntimeError(f"Our pool did not start; its log is in {executor.logdir}: {reason}")
    raise BadStateException(executor, error)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
