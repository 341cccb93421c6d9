"""What a job was given of a node: cores and memory. On a node that jobs share it is less than what the machine has.

    node_facts.read_facts ──▶ Facts ──▶ grant ──▶ Grant ──▶ workers, threads, memory of contexts

Pure: `node_facts` reads what is decided upon here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MB = 1 << 20  # of Slurm, whose "M" are 1024 x 1024 bytes
_GB = 1 << 30  # of PARSL_MEMORY_GB, as HTEX counts


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a machine has, and what confines this process to a part of it."""

    machine_cores: int
    bound_cores: int  # that this process may run on: its affinity, which the cpuset of its control group limits
    quota_cores: float | None  # processor time that its control groups have, in cores
    machine_bytes: int
    available_bytes: int  # of the machine's memory, now
    limit_bytes: int | None  # memory that its control groups may take
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What may be used, and who says so, for people."""

    cores: int
    cores_by: str
    memory_bytes: int
    memory_by: str
    free_bytes: int  # of that memory, as far as it is known to be free


def grant(facts: Facts) -> Grant:
    """What the job was given.

    Assumes that nobody gives more than he has: of all that is said, the least counts; of equals, what is named first.
    What a provider has declared (PARSL_CORES, PARSL_MEMORY_GB) is the user's word for cores and stands for what others
    say of them, as in HTEX; memory that the machine or a control group does not have cannot be declared.
    """
    declared = _number(facts.environment, "PARSL_CORES")
    if declared is not None:
        cores, cores_by = declared, "PARSL_CORES"
    else:
        cores, cores_by = min(_cores(facts), key=lambda claim: claim[0])
    memory, memory_by = min(_memory(facts), key=lambda claim: claim[0])
    return Grant(
        cores=max(1, int(cores)),
        cores_by=cores_by,
        memory_bytes=int(memory),
        memory_by=memory_by,
        free_bytes=int(min(memory, facts.available_bytes)),
    )


def _cores(facts: Facts) -> list[tuple[float, str]]:
    is_bound = facts.bound_cores < facts.machine_cores
    claims: list[tuple[float, str]] = [(facts.bound_cores, "affinity" if is_bound else "the machine")]
    if facts.quota_cores is not None:
        claims.append((facts.quota_cores, "processor time of the control group"))
    for name in _variables(facts.environment, slurm="SLURM_CPUS_ON_NODE", pbs="NCPUS"):
        value = _number(facts.environment, name)
        if value is not None and (value > 1 or name != "NCPUS"):
            claims.append((value, name))
    return claims


def _memory(facts: Facts) -> list[tuple[float, str]]:
    claims: list[tuple[float, str]] = [(facts.machine_bytes, "the machine")]
    if facts.limit_bytes is not None:
        claims.append((facts.limit_bytes, "control group"))
    declared = _number(facts.environment, "PARSL_MEMORY_GB")
    if declared is not None:
        claims.append((declared * _GB, "PARSL_MEMORY_GB"))
    if scheduled := _memory_of_slurm(facts.environment):
        claims.append(max(scheduled))
    return claims


def _memory_of_slurm(environment: Mapping[str, str]) -> list[tuple[float, str]]:
    """What Slurm says: one thing, or several if a job was submitted from within another, whose variables it inherits.

    It cannot be seen which is its own (srun ends with an error then), so that the largest is believed.
    """
    claims = []
    for name in _variables(environment, slurm="SLURM_MEM_PER_NODE"):
        if value := _number(environment, name):  # 0 is all that the node has
            claims.append((value * _MB, name))
    for name, count in (("SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"), ("SLURM_MEM_PER_GPU", "SLURM_GPUS_ON_NODE")):
        each, many = (_number(environment, word) for word in (name, count))
        if "SLURMD_NODENAME" in environment and each and many:
            claims.append((each * many * _MB, f"{name} x {count}"))
    return claims


def _variables(environment: Mapping[str, str], *, slurm: str, pbs: str | None = None) -> list[str]:
    """Variables that are about this node: SLURMD_NODENAME is set by slurmd, not by salloc on a login node.

    TORQUE's PBS_NUM_PPN is not asked: it is 1 in all that Parsl's TorqueProvider submits, whatever the user wants. With
    PBSProProvider NCPUS is 1 as well unless the user says otherwise, so that 1 counts for nothing there.
    """
    names = [slurm] if "SLURMD_NODENAME" in environment else []
    return [*names, pbs] if pbs is not None and "PBS_JOBID" in environment else names


def _number(environment: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(environment[name])
    except (KeyError, ValueError):
        return None
    return value if value >= 0 else None
