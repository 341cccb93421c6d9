"""Parsl's monitoring: what the interchange tells the monitoring hub of its nodes, and what workers send through it."""

from __future__ import annotations

import datetime
import pickle
from typing import Any

import zmq
from parsl import curvezmq
from parsl.monitoring.message_type import MessageType

from parsl_context.interchange.config import InterchangeConfig
from parsl_context.parsl_parts.compat import monitoring_context, monitoring_socket
from parsl_context.wire.codec import Frames
from parsl_context.wire.messages import Joined, ManagerId


class NodeMonitor:
    """The link to the monitoring hub; does nothing where monitoring is off."""

    def __init__(self, config: InterchangeConfig) -> None:
        self._run_id = config.run_id
        self._socket: zmq.Socket[bytes] | None = None
        self._context: curvezmq.ClientContext | None = None
        if config.hub_address is not None and config.hub_port is not None:
            self._context = monitoring_context(config.cert_dir)
            self._socket = monitoring_socket(self._context, config.hub_address, config.hub_port)

    @property
    def is_on(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def forward(self, frames: Frames) -> None:
        """Pass on a worker's record as it is: a pickled message, which only the hub opens."""
        if self._socket is not None:
            self._socket.send(frames[0])

    def node(self, manager: ManagerId, joined: Joined, *, tasks: int, active: bool, draining: bool) -> None:
        """Tell the state of a node, with the fields of HTEX's manager record."""
        if self._socket is None:
            return
        now = datetime.datetime.now()
        record: dict[str, Any] = {
            "uid": manager,
            "block_id": joined.block,
            "start_time": now.timestamp() - joined.up_s,
            "tasks": list(range(tasks)),
            "worker_count": joined.slots,
            "max_capacity": joined.slots + (joined.prefetch or 0),
            "active": active,
            "draining": draining,
            "hostname": joined.host,
            "cpu_count": joined.cpu_count,
            "total_memory": joined.total_memory,
            "python_v": joined.python_version,
            "python_version": joined.python_version,
            "parsl_version": joined.parsl_version,
            "parsl_v": joined.parsl_version,
            "packages": joined.packages,
            "os": joined.os,
            "dir": joined.dir,
            "last_heartbeat": now,
            "timestamp": now,
            "run_id": self._run_id,
        }
        self._socket.send(pickle.dumps((MessageType.NODE_INFO, record)))

    def close(self) -> None:
        """Deliver what was sent and close."""
        if self._context is not None:
            self._context.destroy(linger=1000)
