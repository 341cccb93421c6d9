"""Whether the interchange is ours, and where it listens: its socket is there before it, so blocks need not wait."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import random
import socket
from collections.abc import Sequence

from parsl_context.errors import ConfigurationError

_STOCK = ("interchange.py", "parsl.executors.high_throughput.interchange")  # of Parsl, and of Globus Compute's engines
_TRIES = 100
_BACKLOG = 4096  # managers that connect before the interchange runs, or while it is busy


def check_interchange(label: str, command: Sequence[str]) -> None:
    """Refuse a command that starts Parsl's own interchange, which does not know contexts.

    Raises
    ------
    ConfigurationError
    """
    if any(part.rpartition("/")[2] in _STOCK for part in command):
        raise ConfigurationError(
            f"Executor {label!r} was told to start Parsl's interchange ({' '.join(command)}), which cannot speak with "
            "it. GlobusComputeEngine does so with any executor: within a Globus Compute endpoint use ContextEngine, "
            "with the options of the executor, or `python -m parsl_context.globus.pool` as the launch_cmd of a stock "
            "engine. Elsewhere leave interchange_launch_cmd out."
        )


def check_address(label: str, address: str | None) -> None:
    """Refuse an address that is not of this host: the interchange would end as it starts.

    Raises
    ------
    ConfigurationError
    """
    try:
        version = ipaddress.ip_address(address or "").version
    except ValueError:
        return  # none, or a name
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigurationError(
                    f"The address {address!r} of executor {label!r} is not one of this host, where its interchange "
                    "listens for managers. Leave it out, and managers try all that there are, or name one that compute "
                    "nodes can reach (`ip address` lists them)."
                ) from None


def listen(
    label: str, address: str | None, port: int | None, port_range: tuple[int, int]
) -> contextlib.AbstractContextManager[socket.socket | None]:
    """A socket at which managers can connect from now on, for the interchange to take over.

    Parameters
    ----------
    address
        None: all addresses.
    port
        None: one that is free in `port_range`, its end left out.

    Returns
    -------
    context manager of a socket or None
        None for an address that is a name, where the interchange has to listen by itself.

    Raises
    ------
    ConfigurationError
        If the port is taken, or all are.
    """
    try:
        host = ipaddress.ip_address(address) if address else None
    except ValueError:
        return contextlib.nullcontext()
    low, high = port_range
    ports = [port] if port else random.sample(range(low, high), min(_TRIES, high - low))
    is_dual = host is None and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual or (host is not None and host.version == 6) else socket.AF_INET
    for each in ports:
        try:
            server = socket.create_server(
                ("" if host is None else str(host), each), family=family, backlog=_BACKLOG, dualstack_ipv6=is_dual
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        server.setblocking(False)
        return server
    tried = f"Port {port}" if port else f"None of {len(ports)} ports from {low} to {high} that were tried"
    raise ConfigurationError(
        f"{tried}, at which the interchange of executor {label!r} is to listen for managers, "
        f"{'is in use' if port else 'is free'}. Give another worker_port or worker_port_range, or leave both out."
    )
