"""Whether an environment runs on a node: Python, processor, C library. Pure, but for `this_node`.

Code of one minor version of Python does not run with another, nor do extensions; and what was linked against a C
library runs with that version and later ones.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile(r"manylinux_(\d+)_(\d+)_\w+|(manylinux1|manylinux2010|manylinux2014)_\w+|(linux)_\w+")
_OLD = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}  # PEP 600


@dataclass(frozen=True)
class Terms:
    """What an environment needs, or a node has. Empty: any, or not known."""

    python: str = ""  # minor version, as "3.11"
    machine: str = ""  # as `platform.machine` says
    glibc: str = ""


def this_node() -> Terms:
    """What the process that asks has."""
    name, version = platform.libc_ver()
    return Terms(python_of(sys.version_info), platform.machine(), version if name == "glibc" else "")


def python_of(version: Iterable[object]) -> str:
    """Minor version of a version."""
    major, minor, *_ = version
    return f"{major}.{minor}"


def misfit(needed: Terms, node: Terms) -> str | None:
    """Why an environment cannot run on a node, and what to do; None if it can."""
    if needed.python and needed.python != node.python:
        return (
            f"it is for Python {needed.python}, and the workers here run Python {node.python}; "
            f"make it with Python {node.python}, or have worker_init of the provider activate {needed.python}, which "
            "the script must run, too"
        )
    if needed.machine and node.machine and needed.machine != node.machine:
        return f"it is for {needed.machine} processors, and this node has {node.machine}; make it on such a node"
    if needed.glibc and node.glibc and _numbers(needed.glibc) > _numbers(node.glibc):
        return (
            f"it needs glibc {needed.glibc}, and this node has {node.glibc}; make it on a node of this system, or of "
            "packages that run with older ones"
        )
    return None


def glibc_of(wheels: Iterable[Iterable[str]], here: str) -> str:
    """The lowest version of glibc with which all wheels run, given the tags of each; empty: any.

    Parameters
    ----------
    here
        The version on this machine, which what was built here needs.
    """
    lowest: tuple[int, ...] = ()
    for tags in wheels:
        needed = [_needed(match, here) for tag in tags for match in _TAG.finditer(tag)]
        lowest = max(lowest, min(needed, default=()))  # of the platforms that a wheel names one is enough
    return ".".join(map(str, lowest))


def _needed(match: re.Match[str], here: str) -> tuple[int, ...]:
    major, minor, old, _ = match.groups()
    if major is not None:
        return int(major), int(minor)
    return _OLD[old] if old is not None else _numbers(here)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
