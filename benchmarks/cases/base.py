"""What a case is: a job, a number of workers, systems to compare, and a way to measure one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.systems.base import System

Metrics = Mapping[str, list[float]]
"""Values by metric, one per burst."""


@dataclass(frozen=True)
class Run:
    """One measurement.

    Attributes
    ----------
    system : System
        Warm: its workers are up and hold the context; cold: not yet opened. The case says which it wants.
    retains : bool
        The system keeps the context between calls.
    quick : bool
        Fewer and shorter bursts.
    started : float
        When the process that measures was started, on the monotonic clock. [s]
    """

    system: System
    retains: bool
    quick: bool
    started: float

    @property
    def bursts(self) -> int:
        return 2 if self.quick else 4

    @property
    def burst_s(self) -> float:
        """Time that a burst should take. [s]"""
        return 0.3 if self.quick else 0.5


@dataclass(frozen=True)
class Shown:
    """A metric in tables and plots."""

    metric: str
    heading: str
    log: bool = False


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes
    ----------
    job : str
        A key of `work.JOBS`.
    warm : bool
        Measured when the workers are up and hold the context. Cases that are warm and agree in job and workers are
        measured one after the other in one process.
    repeat : int
        Runs of each system that a target compares, unless the command line says otherwise; the others run once.
    limit_s : float
        Time that one run may take, unless the command line says otherwise. [s]
    curve : str, optional
        The metrics are points of a curve over this quantity: the last word of each metric is the place on its axis.
    """

    name: str
    about: str
    job: str
    systems: tuple[str, ...]
    measure: Callable[[Run], Metrics]
    shown: tuple[Shown, ...]
    workers: int = 2
    warm: bool = True
    repeat: int = 3
    limit_s: float = 240.0
    curve: str | None = None

    @property
    def group(self) -> tuple[object, ...]:
        """Cases with an equal group share a process."""
        return (self.job, self.workers, self.repeat) if self.warm else (self.name,)
