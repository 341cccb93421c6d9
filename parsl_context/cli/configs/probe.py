"""What a compute node is like, said by a job in one line: ``python3 -m parsl_context.cli.configs.probe ...``.

It takes nothing of Parsl's and little of ours, so that it says something even where much is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from parsl_context.pool.node_facts import read_grant

MARK = "parsl-context probe: "
PACKAGES = ("parsl", "parsl-context", "msgspec", "cloudpickle", "dill", "pyzmq")
_CONNECTS_WITHIN_S = 5.0


def describe(port: int, token: str, addresses: Sequence[str]) -> dict[str, Any]:
    """What is to be known of this node, of the job's part of it, and of the way from here to the script."""
    given = read_grant()
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": {name: version(name) for name in PACKAGES},
        "cores": given.cores,
        "cores_by": given.cores_by,
        "machine_cores": os.cpu_count() or 1,
        "memory_gb": round(given.memory_bytes / 1e9, 1),
        "memory_by": given.memory_by,
        "gpus": gpus(),
        "reached": [address for address in addresses if _reaches(address, port, token)],
    }


def version(package: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gpus() -> list[str]:
    """GPUs that the driver tells of, as far as the job was given them."""
    for command in (["nvidia-smi", "-L"], ["rocm-smi", "--showid", "--csv"], ["xpu-smi", "discovery", "-j"]):
        if shutil.which(command[0]) is None:
            continue
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
            return [line for line in ran.stdout.splitlines() if "GPU" in line]
    return []


def _reaches(address: str, port: int, token: str) -> bool:
    """Whether the script listens there; somebody else may."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=_CONNECTS_WITHIN_S) as link:
        link.settimeout(_CONNECTS_WITHIN_S)
        return link.makefile("rb").readline().strip() == token.encode()
    return False


def main(arguments: Sequence[str]) -> None:
    """Print it."""
    port, token, addresses = arguments
    print(MARK + json.dumps(describe(int(port), token, addresses.split(","))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
