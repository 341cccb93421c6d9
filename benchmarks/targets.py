"""What the package promises, and whether the figures of a session keep it. Pure.

A target compares a figure, or the ratio of two, with a bound. It is unknown as long as one of them was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from benchmarks.figures import Figures


@dataclass(frozen=True)
class Figure:
    """Which figure: of a case, a system and a metric."""

    case: str
    system: str
    metric: str

    def value(self, figures: Figures) -> float | None:
        found = figures.get((self.case, self.system, self.metric))
        return None if found is None else found.median


class Verdict(Enum):
    MET = "met"
    NOT_MET = "not met"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Target:
    """A promise.

    Attributes
    ----------
    about : str
        What is promised, in words.
    bound : float
        The figure, or the ratio if there is an `over`, is at least this; at most, if `at_most`.
    unit : str
        Of the figure and the bound; nothing for a ratio.
    """

    about: str
    figure: Figure
    bound: float
    over: Figure | None = None
    at_most: bool = False
    unit: str = ""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What is compared."""
        return (self.figure,) if self.over is None else (self.figure, self.over)

    def value(self, figures: Figures) -> float | None:
        """What was measured, or None."""
        value = self.figure.value(figures)
        if self.over is None or value is None:
            return value
        base = self.over.value(figures)
        return value / base if base else None

    def verdict(self, figures: Figures) -> Verdict:
        value = self.value(figures)
        if value is None:
            return Verdict.UNKNOWN
        kept = value <= self.bound if self.at_most else value >= self.bound
        return Verdict.MET if kept else Verdict.NOT_MET


def _rate(system: str) -> Figure:
    return Figure("noop", system, "calls_per_s")


def _latency(system: str, metric: str) -> Figure:
    return Figure("latency", system, metric)


def _arrays(system: str, metric: str) -> Figure:
    return Figure("arrays", system, metric)


TARGETS = [
    Target("through the DFK: share of the ceiling", _rate("ours-dfk"), 0.8, _rate("ceiling-dfk")),
    Target("through the DFK, quiet: times HTEX, quiet", _rate("ours-dfk-quiet"), 3, _rate("htex-dfk-quiet")),
    Target("executor.submit: times HTEX", _rate("ours-submit"), 8, _rate("htex-submit")),
    Target("executor.submit: times Ray actors", _rate("ours-submit"), 2, _rate("ray")),
    Target("executor.submit: times loky", _rate("ours-submit"), 1, _rate("loky")),
    Target("map: times mpire's chunked map", _rate("ours-map"), 1, _rate("mpire-map")),
    Target(
        "round trip through the DFK: times HTEX",
        _latency("ours-dfk", "p50_ms"),
        0.4,
        _latency("htex-dfk", "p50_ms"),
        at_most=True,
    ),
    Target("round trip by executor.submit", _latency("ours-submit", "p50_ms"), 0.8, at_most=True, unit="ms"),
    Target(
        "the same, p99 over p50",
        _latency("ours-submit", "p99_ms"),
        4,
        _latency("ours-submit", "p50_ms"),
        at_most=True,
    ),
    Target("1 MB arrays: times HTEX", _arrays("ours-submit", "mb_per_s_1"), 5, _arrays("htex-submit", "mb_per_s_1")),
    Target("1 MB arrays: times Ray", _arrays("ours-submit", "mb_per_s_1"), 1, _arrays("ray", "mb_per_s_1")),
    Target(
        "100 MB arrays: times HTEX", _arrays("ours-submit", "mb_per_s_100"), 5, _arrays("htex-submit", "mb_per_s_100")
    ),
    Target(
        "first result with 16 workers: times HTEX",
        Figure("start-16", "ours-dfk", "first_s"),
        0.5,
        Figure("start-16", "htex-dfk", "first_s"),
        at_most=True,
    ),
    Target(
        "2 s build, 400 calls of 5 ms: times the ideal makespan",
        Figure("inference", "ours-dfk", "over_ideal"),
        1.08,
        at_most=True,
    ),
    Target(
        "the same with calls that need the core",
        Figure("inference-cpu", "ours-dfk", "over_ideal"),
        1.08,
        at_most=True,
    ),
    Target(
        "CPU per call outside the client, at peak rate",
        Figure("cpu", "ours-submit", "outside_us"),
        150,
        at_most=True,
        unit="µs",
    ),
    Target("idle executor: share of a core", Figure("cpu", "ours-submit", "idle_percent"), 1, at_most=True, unit="%"),
]
