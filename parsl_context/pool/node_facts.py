"""Reads what `grant` decides upon: /proc, the tree of control groups, affinity and the environment. Decides nothing.

A limit may be set at any level above a process, so that all that can be seen are read. In a container the outermost
is that of the container. Version 1 has a tree for each controller, version 2 one for all; a machine may have both.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from parsl_context.pool.grant import Facts, Grant, grant
from parsl_context.pool.job_age import job_age_s

# Version 1 writes a number near 2**63 where there is no limit.
_NO_LIMIT_BYTES = 1 << 60


def read_job_age_s() -> float:
    """Time since this process's job began, as far as it can know; none where it is in no job. [s]"""
    now = time.time()
    me = psutil.Process()
    lineage: list[tuple[str, float]] = []
    with contextlib.suppress(psutil.Error):
        lineage = [(process.name(), now - process.create_time()) for process in (me, *me.parents())]
    return job_age_s(os.environ, lineage, now)


def read_grant() -> Grant:
    """What this process may use of its node."""
    return grant(read_facts())


def read_facts(root: Path = Path("/")) -> Facts:
    """What is said about this process.

    Parameters
    ----------
    root
        Where `proc` and the control groups are found; another folder in tests.
    """
    memory = psutil.virtual_memory()
    return Facts(
        machine_cores=os.cpu_count() or 1,
        bound_cores=len(os.sched_getaffinity(0)),
        quota_cores=min(_quotas(root), default=None),
        machine_bytes=memory.total,
        available_bytes=memory.available,
        limit_bytes=min(_limits(root), default=None),
        environment=dict(os.environ),
    )


def _limits(root: Path) -> Iterator[int]:
    """Limits of memory. [bytes]"""
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (text := _read(folder / name)).isdigit() and int(text) < _NO_LIMIT_BYTES:
                yield int(text)


def _quotas(root: Path) -> Iterator[float]:
    """Limits of processor time. [cores]"""
    for folder in _groups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # not "max", nor -1
            yield int(quota) / int(period)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that hold this process, from its own to the outermost, for both versions."""
    own = dict(_own_groups(root))
    for kind, top, mount in _mounts(root, controller):
        path = own.get(controller if kind == "cgroup" else "")
        if path is None:
            continue
        # A container may see its own part of the tree alone, while its processes are told their place in the whole.
        inside = path.removeprefix(top) if top != "/" and path.startswith(top) else path
        folder = root / mount.lstrip("/")
        group = folder / inside.lstrip("/")
        for each in [group, *group.parents]:
            if ".." not in each.parts and each.is_dir():
                yield each
            if each == folder:
                break


def _own_groups(root: Path) -> Iterator[tuple[str, str]]:
    """The group of this process by controller; version 2 has the empty name."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str, str]]:
    """Where a controller's groups are seen: "cgroup" or "cgroup2", the part of the tree that is seen, the folder."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        (top, mount), (kind, _, options) = before.split()[3:5], after.split()[:3]
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            yield kind, top, mount


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return ""
