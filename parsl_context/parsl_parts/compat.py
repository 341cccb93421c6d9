"""Where the supported Parsl releases differ, in one place.

Since 2026.5 or later (see setup.cfg for the range) Parsl has configurable logging (`parsl.logconfigs`), and its
monitoring hub may ask for CurveZMQ.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import logging
import os
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import zmq
from parsl import curvezmq
from parsl.log_utils import set_file_logger

try:
    from parsl.logconfigs.base import oneshot_initialize_logging
except ImportError:  # before Parsl had log configurations
    oneshot_initialize_logging = None  # type: ignore[assignment]


def start_logging(log_config: Any, directory: str, name: str, *, debug: bool) -> None:
    """Log to where the user's log configuration says, or to `name`.log in a directory."""
    path = pathlib.Path(directory)
    if log_config is not None and oneshot_initialize_logging is not None:
        oneshot_initialize_logging(log_config=log_config, log_dir=path, log_name=name)
        return
    path.mkdir(parents=True, exist_ok=True)
    set_file_logger(str(path / f"{name}.log"), level=logging.DEBUG if debug else logging.INFO)


def save_log_config(log_config: Any, directory: str) -> str | None:
    """Leave the user's log configuration where managers read it. Gives its path; None if there is none."""
    if not log_config:
        return None
    folder = os.path.join(directory, "log_config")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, "log_config.pkl")
    with open(path, "wb") as file:
        pickle.dump(log_config, file)
    return path


def start_monitoring_receiver(**settings: Any) -> Any:
    """Parsl's receiver of monitoring records from interchanges."""
    from parsl.monitoring.radios.zmq_router import start_zmq_receiver

    if not _hub_is_encrypted():
        del settings["cert_dir"]
    return start_zmq_receiver(**settings)


def monitoring_context(cert_dir: str | None) -> curvezmq.ClientContext:
    """A ZeroMQ context for the link to that receiver."""
    return curvezmq.ClientContext(cert_dir if _hub_is_encrypted() else None)


def monitoring_socket(context: curvezmq.ClientContext, address: str, port: int) -> zmq.Socket[bytes]:
    """The link itself."""
    sock: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    sock.set_hwm(0)
    sock.connect(f"tcp://{address}:{port}")
    return sock


def _hub_is_encrypted() -> bool:
    from parsl.monitoring.radios.zmq_router import (
        start_zmq_receiver,
    )  # imported where monitoring is on only: it is slow

    return "cert_dir" in inspect.signature(start_zmq_receiver).parameters


def launch_at_once(kernel: Any, pool: concurrent.futures.Executor, launched: Callable[[], None]) -> None:
    """Have a DataFlowKernel launch tasks in the thread that finds them ready.

    Parameters
    ----------
    pool
        Runs what is submitted at once. It takes the place of the thread that newer releases have for it.
    launched
        Called after each launch, when the kernel holds no lock.
    """
    if (threads := getattr(kernel, "_task_launch_pool", None)) is not None:
        kernel._task_launch_pool = pool
        threads.shutdown()
    launch = kernel.launch_if_ready

    def launch_if_ready(task_record: Any) -> None:
        launch(task_record)
        launched()

    kernel.launch_if_ready = launch_if_ready
