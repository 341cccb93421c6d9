"""Blocks of nodes, where the executor treats them otherwise than Parsl does."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.launchers.base import Launcher
from parsl.launchers.launchers import SimpleLauncher, WrappedLauncher
from parsl.providers import LSFProvider, SlurmProvider

from parsl_context.errors import ConfigurationError

# What a shell would not leave in one word as it is, and the braces that Parsl's launch commands are formatted with.
_UNFIT = re.compile(r"[\s\"'$`\\&;|<>(){}\[\]*?!#~^]")

# Of the time between two questions, what passes between the launch of a block and the first that asks for it: 10 s for
# the minute of Parsl's providers. Slurm's database was seen to learn of a job 0.3 to 1.7 s late while idle.
_SETTLES_WITHIN = 1 / 6


class Settling:
    """Whether the scheduler knows all blocks: only then can it be asked how their jobs are.

    Slurm's `sacct` says nothing of a job that was submitted just now; Parsl's provider takes it to be over, for good.
    """

    def __init__(self) -> None:
        self._launched_s: float | None = None  # when the last block was launched
        self._asked_s: float | None = None  # when it was last said that all are known

    def launched(self, now: float) -> None:
        """A block was launched. [s]"""
        self._launched_s = now

    def is_over(self, now: float, interval_s: float) -> bool:
        """Whether to ask, if it is time for it.

        Parameters
        ----------
        now
            [s]
        interval_s
            Time between two questions. Blocks that are launched all the time put one off by as much, and no longer. [s]
        """
        is_settled = self._launched_s is None or now - self._launched_s >= _SETTLES_WITHIN * interval_s
        is_overdue = self._asked_s is not None and now - self._asked_s >= 2 * interval_s
        if is_settled or is_overdue:
            self._asked_s = now
        return is_settled or is_overdue


class JobsOver:
    """Which blocks' jobs are over, as the provider says."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()

    def news(self, status: Mapping[str, JobStatus]) -> dict[str, str]:
        """Blocks of which that is new, and the state of each one's job. A job may run anew, and be over once more."""
        over = {block: job.status_name for block, job in status.items() if job.terminal}
        known, self._known = self._known, frozenset(over)
        return {block: state for block, state in over.items() if block not in known}


class JobsSeen:
    """What the provider says of blocks, for people."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def news(self, status: Mapping[str, JobStatus]) -> dict[str, tuple[str, str]]:
        """State of each block's job, and what more is said of it, where that is another than before."""
        seen = {block: (job.status_name, job.message or "") for block, job in status.items()}
        known, self._known = self._known, seen
        return {block: said for block, said in seen.items() if known.get(block) != said}


# States of Slurm's jobs, long as `sacct` has them and short as `squeue` has, that the tables of Parsl's provider lack.
_SLURM_STATES = {
    JobState.PENDING: ("CF", "RD", "RF", "RH", "RQ", "CONFIGURING", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"),
    JobState.RUNNING: ("CG", "RS", "SI", "SO", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"),
    JobState.HELD: ("S", "ST", "SUSPENDED", "STOPPED"),
    JobState.TIMEOUT: ("DL", "PR", "DEADLINE", "PREEMPTED"),
    JobState.FAILED: ("BF", "OOM", "SE", "SPECIAL_EXIT"),
}


def complete_states(provider: Any) -> None:
    """Have a provider of Slurm's know all states of jobs: one that it does not know never seems to end."""
    known = getattr(provider, "_translate_table", None)
    if isinstance(provider, SlurmProvider) and isinstance(known, Mapping):
        others = {name: state for state, names in _SLURM_STATES.items() for name in names}
        provider._translate_table = {**others, **known}


def starts_in_shell(launcher: Launcher | None) -> bool:
    """Whether a launcher makes its command a line of a script, where `exec` can have it take the place of the shell.

    A shell dies of the SIGTERM by which batch systems announce the end, though what it started drains and ends well:
    Slurm counts the job as failed then, and Parsl gives up an executor all of whose jobs have failed.
    """
    is_of_parsl = type(launcher).__module__ == SimpleLauncher.__module__
    return is_of_parsl and not isinstance(launcher, WrappedLauncher)  # which puts it behind a command of the user's


def check_paths(label: str, paths: Mapping[str, str | None]) -> None:
    """Refuse names that Parsl's providers put unquoted into commands: blocks would fail, and calls wait for ever.

    Parameters
    ----------
    label
        Of the executor: part of the names of scripts.
    paths
        Folders by what they are for people. None: there is none.

    Raises
    ------
    ConfigurationError
    """
    if found := re.search(f"{_UNFIT.pattern}|/", label):
        raise ConfigurationError(
            f"The executor's label {label!r} holds {found[0]!r}. It is part of the name of each block's script, which "
            "Parsl's providers put unquoted into a shell command: blocks would not start. Use letters, digits, - and _."
        )
    for what, path in paths.items():
        absolute = os.path.abspath(path) if path is not None else ""
        if found := _UNFIT.search(absolute):
            raise ConfigurationError(
                f"The path of {what}, {absolute!r}, holds {found[0]!r}. Parsl's providers put it unquoted into a shell "
                "command: blocks would not start. Choose another, as by Config(run_dir=...)."
            )


def walltime_s(provider: Any) -> float | None:
    """How long a block of a provider lives, from its `walltime`; None if it does not tell. [s]"""
    text = getattr(provider, "walltime", None)
    match provider:
        case SlurmProvider():
            return slurm_s(text)
        case LSFProvider():
            return clock_s(f"{text}:0")  # hours and minutes, or minutes
    return clock_s(text)


def clock_s(text: Any) -> float | None:
    """A time of PBS or Grid Engine, "[[DD:]HH:]MM:SS", or seconds alone; None if it is none. [s]"""
    if not isinstance(text, str) or not re.fullmatch(r"\d+(:\d+){0,3}", text):
        return None
    weights = (1, 60, 3600, 86_400)
    return float(sum(int(part) * weight for part, weight in zip(reversed(text.split(":")), weights, strict=False)))


def slurm_s(text: Any) -> float | None:
    """A time of Slurm: minutes alone, "[HH:]MM:SS", "D-HH[:MM[:SS]]"; None if it is none. [s]

    See ``--time`` in sbatch(1).
    """
    days, dash, clock = str(text).rpartition("-")
    if dash:
        return clock_s(f"{days}:{clock}" + ":0" * (2 - clock.count(":")))
    return clock_s(clock if ":" in clock else f"{clock}:0")
