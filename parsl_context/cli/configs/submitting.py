"""Has a job of one block say what its nodes are like."""

from __future__ import annotations

import contextlib
import copy
import json
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.jobs.states import JobState

from parsl_context.cli.configs.probe import MARK, PACKAGES, version
from parsl_context.cli.errors import CommandError
from parsl_context.executor.slurm_queue import ask_queue, time_limit_s
from parsl_context.executor.starts import advice, what_was_refused
from parsl_context.executor.waiting import Outlook, meaning

WALLTIME = "00:01:00"
_LOOKS_EVERY_S = 0.5
_ASKS_EVERY_S = 10.0
_TAIL = 25  # lines


@dataclass
class Answer:
    """What came of a job.

    Attributes
    ----------
    nodes : list of dict
        What its nodes are like, as `probe.describe` gives it.
    addresses : list of str
        Where they have tried to reach us.
    took_s : float
        From its submission. [s]
    said : str
        The end of what it has written as errors, and of its output where not all nodes have said anything.
    waits_for : str or None
        Why it has not started, in Slurm's words; None if it has, or that is not known.
    time_limit_s : float or None
        What its partition gives to jobs: this one asked for a minute. [s]
    """

    nodes: list[dict[str, Any]]
    addresses: list[str]
    took_s: float
    said: str = ""
    waits_for: str | None = None
    time_limit_s: float | None = None


def submit(executor: HighThroughputExecutor, folder: Path, wait_s: float, tell: Callable[[str], None]) -> Answer:
    """Submit a job of one block, and wait for what its nodes say.

    Parameters
    ----------
    folder
        For its script and output; nodes must see it.
    wait_s
        So long at the most. [s]
    tell
        Called with what it waits for.

    Raises
    ------
    CommandError
        If it cannot be submitted.
    """
    provider: Any = copy.copy(executor.provider)
    provider.script_dir, provider.walltime, provider.resources = str(folder), WALLTIME, {}
    addresses = sorted(executor.all_addresses)
    token = secrets.token_hex(8)
    began = time.monotonic()
    with _listening(token) as port:
        command = f"python3 -m parsl_context.cli.configs.probe {port} {token} {','.join(addresses)}"
        try:
            job = provider.submit(command, 1, f"parsl.{executor.label}.probe")
        except Exception as error:
            said = what_was_refused(str(error))
            raise CommandError(f"The job cannot be submitted: {said}\n{advice(said)}") from error
        try:
            limit_s = time_limit_s(provider)
            nodes, waits_for = _wait(provider, job, folder, wait_s, tell)
        finally:
            with contextlib.suppress(Exception):
                provider.cancel([job])
    kinds = ["stderr"] if len(nodes) >= (provider.nodes_per_block or 1) else ["stderr", "stdout"]
    return Answer(nodes, addresses, time.monotonic() - began, _ends(folder, kinds), waits_for, limit_s)


def _wait(
    provider: Any, job: str, folder: Path, wait_s: float, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]], str | None]:
    """What nodes have said, and why the job waits if it does: no longer than it can be of use."""
    ends_at, asks_at, is_over = time.monotonic() + wait_s, time.monotonic() + _ASKS_EVERY_S, False
    waits_for: str | None = None
    tell(f"job {job} is submitted")
    while True:
        nodes = _said(folder)
        if len(nodes) >= (provider.nodes_per_block or 1) or time.monotonic() >= ends_at or is_over:
            return nodes, waits_for
        if time.monotonic() >= asks_at:
            asks_at += _ASKS_EVERY_S
            (status,) = provider.status([job])
            waits_for = _reason(provider, job) if status.state is JobState.PENDING else None
            is_over = status.terminal or (waits_for is not None and meaning(waits_for).outlook is Outlook.NEVER)
            tell(f"job {job}: {status.state.name.lower()}{f' ({waits_for})' if waits_for else ''}")
        time.sleep(_LOOKS_EVERY_S)


def _reason(provider: Any, job: str) -> str | None:
    queued = (ask_queue(provider, [job]) or {}).get(job)
    return None if queued is None or queued.state != "PD" else queued.reason


def _said(folder: Path) -> list[dict[str, Any]]:
    """What nodes have said so far. srun puts the number of the process before each line."""
    lines = [line for path in sorted(folder.glob("*.stdout")) for line in path.read_text(errors="replace").splitlines()]
    found = []
    for line in lines:
        _, mark, text = line.partition(MARK)
        if mark:
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
    return found


def _ends(folder: Path, kinds: Sequence[str]) -> str:
    """The last lines of what a job has written."""
    parts = []
    for path in (path for kind in kinds for path in sorted(folder.glob(f"*.{kind}"))):
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip() and MARK not in line]
        if lines:
            parts.append(f"--- {path.suffix[1:]}\n" + "\n".join(lines[-_TAIL:]))
    return "\n".join(parts)


@contextlib.contextmanager
def _listening(token: str) -> Iterator[int]:
    """A port at which the token is said to whoever connects."""
    with socket.create_server(("", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = server.accept()
                    with link, contextlib.suppress(OSError):
                        link.sendall(token.encode() + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def of_here() -> dict[str, Any]:
    """What is compared of the script's own Python."""
    return {"python": platform.python_version(), "packages": {name: version(name) for name in PACKAGES}}
