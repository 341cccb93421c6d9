"""When a manager's job began: its walltime counts from there, and not from when the manager was started. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

_DAEMONS = ("slurmstepd", "pbs_mom")  # what starts a job's processes


def job_age_s(environment: Mapping[str, str], lineage: Sequence[tuple[str, float]], now: float) -> float:
    """Time since the job began, by what the batch system says (Slurm 23.02), or the oldest process of the job. [s]

    Parameters
    ----------
    environment
        Of the process.
    lineage
        Name and age of the process and of its parents, the next first. [s]
    now
        Unix time. [s]
    """
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, now - float(environment["SLURM_JOB_START_TIME"]))
    names = [name for name, _ in lineage]
    first = min((names.index(daemon) for daemon in _DAEMONS if daemon in names), default=0)
    return max((age for _, age in lineage[:first]), default=0.0)
