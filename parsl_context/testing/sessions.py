"""Parsl for the tests of a session: started with a configuration, ended, and what it has left behind."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parsl
from parsl.providers import LocalProvider

from parsl_context.apps.places import places_contexts
from parsl_context.apps.portable import process_contexts
from parsl_context.executor.executor import ContextExecutor
from parsl_context.testing.in_process import InProcessExecutor, run_here
from parsl_context.testing.leaks import Leaks

_DEFAULT_RUN_DIR = inspect.signature(parsl.Config.__init__).parameters["run_dir"].default


@dataclass
class Session:
    """Parsl while tests run.

    Attributes
    ----------
    executor
        The first that places contexts, or the first of all.
    left : list of str
        Processes and threads that were there after the end, in words.
    run_dir : str
        Where its logs are.
    """

    executor: Any
    run_dir: str
    left: list[str]

    @property
    def report(self) -> str:
        """What was left, for people."""
        return "\n".join(
            [
                "After the tests, Parsl was ended, and this was left of it:",
                *(f"  {each}" for each in self.left),
                "A body or a context function may have started it or hold it up. What they have printed and logged is "
                f"in {self.run_dir}.",
            ]
        )


def local_config(workers: int) -> parsl.Config:
    """So many workers on this machine."""
    executor = ContextExecutor(
        label="contexts",
        address="127.0.0.1",
        max_workers_per_node=workers,
        cores_per_worker=1e-3,  # as many as were asked for, however few cores there are
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),  # type: ignore[no-untyped-call]
    )
    return parsl.Config(executors=[executor], strategy="none", usage_tracking=0)


@contextlib.contextmanager
def running(config: parsl.Config, run_dir: Path, *, in_process: bool) -> Iterator[Session]:
    """Parsl with a configuration; what is left of it is known when the block has ended.

    Parameters
    ----------
    run_dir
        For its logs, unless the configuration has a directory of its own.
    in_process
        Run everything in this process; executors keep their labels alone.
    """
    label = next((each for each in config.executors if places_contexts(each)), config.executors[0]).label
    changes: dict[str, Any] = {}
    if config.run_dir == _DEFAULT_RUN_DIR:
        changes["run_dir"] = str(run_dir / "runinfo")
    if in_process:
        changes |= {"executors": [InProcessExecutor(each.label) for each in config.executors], "monitoring": None}
    config = _changed(config, changes)
    leaks = Leaks()
    leaks.mark(config.executors)
    kernel = parsl.load(config)
    try:
        if in_process:
            run_here(kernel)
        session = Session(kernel.executors[label], os.path.abspath(kernel.run_dir), [])
        yield session
    finally:
        if not kernel.cleanup_called:
            kernel.cleanup()
        process_contexts.close()
    session.left = leaks.left()


def _changed(config: parsl.Config, changes: dict[str, Any]) -> parsl.Config:
    """A configuration with some settings changed."""
    names = [name for name in inspect.signature(parsl.Config.__init__).parameters if name != "self"]
    return parsl.Config(**{**{name: getattr(config, name) for name in names}, **changes}) if changes else config
