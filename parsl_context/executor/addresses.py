"""Whether the interchange is ours, and can listen where managers are told to look for it."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

from parsl_context.errors import ConfigurationError

_STOCK = ("interchange.py", "parsl.executors.high_throughput.interchange")  # of Parsl, and of Globus Compute's engines


def check_interchange(label: str, command: Sequence[str]) -> None:
    """Refuse a command that starts Parsl's own interchange, which does not know contexts.

    Raises
    ------
    ConfigurationError
    """
    if any(part.rpartition("/")[2] in _STOCK for part in command):
        raise ConfigurationError(
            f"Executor {label!r} was told to start Parsl's interchange ({' '.join(command)}), which does not know its "
            "messages. GlobusComputeEngine does so with any executor: within a Globus Compute endpoint use "
            "ContextEngine, with the options of the executor, or `python -m parsl_context.globus.pool` as the "
            "launch_cmd of a stock engine. Elsewhere leave interchange_launch_cmd out."
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
