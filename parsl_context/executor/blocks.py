"""Blocks of nodes, where the executor treats them otherwise than Parsl does."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from parsl.jobs.states import JobStatus

from parsl_context.errors import ConfigurationError

# What a shell would not leave in one word as it is, and the braces that Parsl's launch commands are formatted with.
_UNFIT = re.compile(r"[\s\"'$`\\&;|<>(){}\[\]*?!#~^]")


class BlocksAhead:
    """Blocks that were launched before Parsl's scaling asked for them.

    Parameters
    ----------
    launch
        Launches so many blocks. Gives the ids of those that were launched.
    """

    def __init__(self, launch: Callable[[int], list[str]]) -> None:
        self._launch = launch
        self._ids: deque[str | None] = deque()  # None for one that could not be launched

    def launch(self, wanted: int) -> None:
        """Launch blocks that will be asked for."""
        launched = self._launch(wanted)
        self._ids.extend([*launched, *[None] * (wanted - len(launched))])

    def take(self, wanted: int) -> list[str]:
        """Give blocks that are asked for, launched now if not before: the ids of those that were launched."""
        ahead = [self._ids.popleft() for _ in range(min(wanted, len(self._ids)))]
        launched = self._launch(wanted - len(ahead)) if wanted > len(ahead) else []
        return [*[block for block in ahead if block is not None], *launched]


class JobsOver:
    """Which blocks' jobs are over, as the provider says."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()

    def news(self, status: Mapping[str, JobStatus]) -> dict[str, str]:
        """Blocks of which that is new, and the state of each one's job. A job may run anew, and be over once more."""
        over = {block: job.status_name for block, job in status.items() if job.terminal}
        known, self._known = self._known, frozenset(over)
        return {block: state for block, state in over.items() if block not in known}


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
    """How long a block of a provider lives, from its `walltime` ("[[DD-]HH:]MM:SS"); None if it does not tell. [s]"""
    walltime = getattr(provider, "walltime", None)
    if not isinstance(walltime, str):
        return None
    days, _, clock = walltime.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        return float(seconds + 86_400 * int(days or 0))
    except ValueError:
        return None
