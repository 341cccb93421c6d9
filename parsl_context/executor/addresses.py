"""Whether the interchange can listen where managers are told to look for it."""

from __future__ import annotations

import errno
import ipaddress
import socket

from parsl_context.errors import ConfigurationError


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
