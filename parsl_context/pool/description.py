"""What a manager tells the interchange of its node when it joins."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from types import MappingProxyType

import psutil
from parsl.version import VERSION as PARSL_VERSION

from parsl_context.pool.grant import Grant
from parsl_context.pool.settings import ManagerSettings
from parsl_context.wire import messages as m

# Of the memory that was given, what contexts may take if the user does not say.
_MEMORY_SHARE = 0.6


def describe_node(
    settings: ManagerSettings,
    manager: m.ManagerId,
    segments: str | None,
    held: Mapping[m.WorkerId, list[m.Digest]] = MappingProxyType({}),
    templates: Sequence[tuple[m.Digest, ...]] = (),
) -> m.Joined:
    """The first message of a session.

    Parameters
    ----------
    manager
        Identity in this session.
    segments
        Proof that this node shares the executor's segments, if it does.
    held
        Contexts that workers kept from the session before.
    templates
        And those of the processes that workers can be forked from.
    """
    now = time.monotonic()
    return m.Joined(
        manager=manager,
        node=settings.uid,
        protocol=m.PROTOCOL_VERSION,
        block=settings.block,
        host=platform.node(),
        slots=settings.workers,
        prefetch=settings.prefetch,
        drain_in_s=settings.drain_in_s(now),
        up_s=now - settings.started_at,
        job_up_s=now - settings.job_started_at,
        pid=os.getpid(),
        python_version=platform.python_version(),
        parsl_version=PARSL_VERSION,
        packages={name: d.version for d in distributions() if (name := d.metadata["Name"])},  # some are broken
        os=platform.system(),
        dir=os.getcwd(),
        cpu_count=psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        total_memory=psutil.virtual_memory().total,
        context_memory=default_context_memory(settings.given),
        segments=segments,
        held=dict(held),
        templates=list(templates),
    )


def default_context_memory(given: Grant) -> int:
    """Memory that contexts may take on this node if the user does not say. [bytes]"""
    return int(_MEMORY_SHARE * given.memory_bytes)
