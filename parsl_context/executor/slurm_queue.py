"""What Slurm's queue says of jobs, for what Parsl's provider does not ask, or gets no true answer to.

It knows no reasons why jobs wait. And it asks Slurm's accounting, where there is one, which hears of a job some time
after its submission: until then the provider takes it for over, and never asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parsl.jobs.states import JobStatus
from parsl.providers import SlurmProvider

from parsl_context.executor.blocks import slurm_s


@dataclass(frozen=True)
class Queued:
    """A job that is in the queue or runs.

    Attributes
    ----------
    state : str
        Of Slurm's short ones.
    reason : str
        Why it waits, or where it runs.
    """

    state: str
    reason: str


def ask_queue(provider: Any, jobs: Sequence[str]) -> dict[str, Queued] | None:
    """What is known of jobs that are not over; None where there is no Slurm, or it does not answer."""
    if not isinstance(provider, SlurmProvider) or not jobs:
        return None
    clusters = f" --clusters={provider.clusters}" if provider.clusters else ""
    listed = ",".join(map(str, jobs))
    command = f"squeue{clusters} --noheader --format='%i|%t|%r' --jobs={listed}"
    code, out, said = provider.execute_wait(command)  # type: ignore[no-untyped-call]
    if code != 0:
        return {} if "Invalid job id" in (said or "") else None  # so it says of a single one that it has forgotten
    return read_queue(out)


def time_limit_s(provider: Any) -> float | None:
    """How long jobs of a provider's partition may run; None where there is no limit, or it is not known. [s]"""
    if not isinstance(provider, SlurmProvider):
        return None
    clusters = f" --clusters={provider.clusters}" if provider.clusters else ""
    code, out, _ = provider.execute_wait(f"sinfo{clusters} --noheader --format='%P|%l'")  # type: ignore[no-untyped-call]
    return read_limit(out, provider.partition) if code == 0 else None


def read_limit(text: str, partition: str | None) -> float | None:
    """The limit of a partition, or of the default one, in the lines of ``sinfo --format='%P|%l'``. [s]"""
    limits = dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)
    names = [partition, f"{partition}*"] if partition else [name for name in limits if name.endswith("*")]
    found = next((limits[name] for name in names if name in limits), None)
    return slurm_s(found)


def asks_accounting(provider: Any) -> bool:
    """Whether a provider asks `sacct` how jobs are."""
    return isinstance(provider, SlurmProvider) and str(getattr(provider, "_cmd", "")).startswith("sacct")


def take_for_queued(provider: Any, job: str, status: JobStatus) -> None:
    """Have a provider take a job for what it is, and ask for it again."""
    known = provider.resources[job]
    paths = {name: known.get(f"job_{name}") for name in ("stdout_path", "stderr_path")}
    known["status"] = JobStatus(status.state, **paths)


def read_queue(text: str) -> dict[str, Queued]:
    """The lines of ``squeue --format='%i|%t|%r'``."""
    rows = [line.split("|", 2) for line in text.splitlines()]
    return {row[0].strip(): Queued(row[1].strip(), row[2].strip()) for row in rows if len(row) == 3}
