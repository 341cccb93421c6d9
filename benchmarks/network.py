"""Hosts on this machine whose links have a rate: network namespaces, each with a cable to one that is a switch.

Needs root and iproute2. Everything has a name that begins with a prefix of its own, and is removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_NET = "10.78.0"


@dataclass(frozen=True)
class Network:
    """Some hosts; number 0 is the origin.

    Attributes
    ----------
    mbit
        Rate of each link, in each direction; None: as much as this machine can. [Mbit/s]
    """

    prefix: str
    hosts: int
    mbit: float | None

    def name(self, host: int) -> str:
        """Name of a host's namespace."""
        return f"{self.prefix}{host}"

    def address(self, host: int) -> str:
        """Address of a host."""
        return f"{_NET}.{10 + host}"

    def on(self, host: int, command: str) -> str:
        """A shell command as it runs on a host."""
        return f"ip netns exec {self.name(host)} bash -c {shlex.quote(command)}"

    def cut(self, host: int) -> None:
        """Pull the cable of a host."""
        _ip("-n", self.switch, "link", "set", f"port{host}", "down")

    def join(self, host: int) -> None:
        """Plug it in again."""
        _ip("-n", self.switch, "link", "set", f"port{host}", "up")

    @property
    def switch(self) -> str:
        """Name of the switch's namespace."""
        return f"{self.prefix}sw"


@contextlib.contextmanager
def network(hosts: int, mbit: float | None) -> Iterator[Network]:
    """Hosts that are there until the end of the block."""
    made = Network(f"pcb{os.getpid() % 10_000}-", hosts, mbit)
    namespaces = [made.switch, *map(made.name, range(hosts))]
    try:
        _ip("netns", "add", made.switch)
        _ip("-n", made.switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", made.switch, "link", "set", "bridge", "up")
        for host in range(hosts):
            _plug_in(made, host)
        yield made
    finally:
        for name in namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def _plug_in(made: Network, host: int) -> None:
    name, port = made.name(host), f"port{host}"
    _ip("netns", "add", name)
    _ip("-n", made.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("-n", made.switch, "link", "set", port, "master", "bridge", "up")
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "addr", "add", f"{made.address(host)}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    # Loss-based, as what most systems have (cubic). BBR takes a token bucket's bursts for the rate of the link.
    subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno"], check=True)
    for namespace, device in [(name, "eth0"), (made.switch, port)] if made.mbit is not None else []:
        burst_kb = max(16, round(made.mbit / 8))  # of a millisecond at least: the kernel's timers are no finer
        rate = ["tbf", "rate", f"{made.mbit:g}mbit", "burst", f"{burst_kb}kb", "latency", "4ms"]
        subprocess.run(["tc", "-n", namespace, "qdisc", "add", "dev", device, "root", *rate], check=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
