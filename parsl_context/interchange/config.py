"""What the executor tells its interchange when it starts it, over the child's standard input.

The pipe stays open for as long as the executor lives: its end tells the interchange that nobody waits any more.
The configuration comes from the parent process alone, before any socket is open.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import IO, Any

from parsl_context.scheduling.cluster.limits import BlockLimits
from parsl_context.wire.messages import Environment, Limits

_length = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class InterchangeConfig:
    """Settings of an interchange."""

    label: str  # of the executor
    link_fd: int  # the interchange's end of the link to the executor; open until the process ends
    listener_fd: int | None  # of a socket at which managers connect; None: it is to be made
    listen_address: str | None  # for managers; None: every address
    worker_port: int | None
    worker_port_range: tuple[int, int]
    cert_dir: str | None  # CurveZMQ certificates; None: no encryption
    heartbeat_threshold_s: float
    requeue_lost: int  # how often a call that may have run on a node that is lost is queued again
    logdir: str
    debug: bool
    log_config: Any  # parsl.logconfigs.base.LogConfig or None
    manager_selector: Any  # parsl ManagerSelector
    limits: Limits  # of contexts on a node
    walltime_s: float | None  # of a block; None: unknown. [s]
    blocks: BlockLimits
    check_versions: bool  # refuse managers of another Python or Parsl
    segments: str | None  # directory of the executor's segments
    echo: bool  # all that workers print goes to the script
    records: bool  # writes an event log
    reuse: str  # level of contexts that choose none
    environment: Environment | None  # of calls without contexts
    run_id: str | None
    hub_address: str | None  # monitoring; None: off
    hub_port: int | None

    @property
    def begins_in_environment(self) -> bool:
        """Whether workers begin in that: not where each call has one made for itself."""
        return self.reuse != "none"


def write_config(config: InterchangeConfig, stream: IO[bytes]) -> None:
    """Send the configuration to a child's standard input and leave that open."""
    data = pickle.dumps(config)
    stream.write(_length.pack(len(data)) + data)
    stream.flush()


def read_config(stream: IO[bytes]) -> InterchangeConfig:
    """The configuration that the parent wrote.

    Raises
    ------
    EOFError
        If the parent ended before it was complete.
    """
    (size,) = _length.unpack(_read_exactly(stream, _length.size))
    config = pickle.loads(_read_exactly(stream, size))
    assert isinstance(config, InterchangeConfig)
    return config


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError("the executor ended before it sent the configuration")
        data += part
    return data
