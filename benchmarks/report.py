"""What people look at: tables of a session on the terminal and in a text file, and a plot for each case."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.cases import CASES
from benchmarks.cases.base import Case, Shown
from benchmarks.figures import Figures, Spread, figures
from benchmarks.systems import SYSTEMS
from benchmarks.targets import TARGETS, Target, Verdict

_COLOURS = {"ours": "#0072B2", "parsl": "#E69F00", "peer": "#7f7f7f"}  # Okabe and Ito's
_VERDICT_STYLES = {Verdict.MET: "green", Verdict.NOT_MET: "red", Verdict.UNKNOWN: "dim"}
_BUSY_CORES = 0.25  # others that keep more than this busy make a run doubtful


def number(value: float) -> str:
    """Three digits that matter, and whole numbers in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def with_spread(value: Spread) -> str:
    """The median, and the range of bursts where there were several."""
    if value.low == value.high:
        return number(value.median)
    return f"{number(value.median)} ({number(value.low)}-{number(value.high)})"


def case_table(case: Case, found: Figures) -> Table | None:
    """A row for each system; None if nothing was measured."""
    shown = [s for s in case.shown if any(key[0] == case.name and key[2] == s.metric for key in found)]
    if not shown:
        return None
    table = Table(title=f"{case.name}: {case.about}", title_justify="left")
    table.add_column("system")
    for column in shown:
        table.add_column(column.heading, justify="right")
    for name in case.systems:
        row = [found.get((case.name, name, column.metric)) for column in shown]
        if any(row):
            table.add_row(name, *("" if value is None else with_spread(value) for value in row))
    return table


def targets_table(found: Figures, targets: Sequence[Target] = TARGETS) -> Table:
    """Each promise, what was measured, and whether it is kept."""
    table = Table(title="Targets", title_justify="left")
    for heading in ("promise", "measured", "target", ""):
        table.add_column(heading, justify="right" if heading in ("measured", "target") else "left")
    for target in targets:
        value, verdict = target.value(found), target.verdict(found)
        table.add_row(
            target.about,
            "" if value is None else f"{number(value)} {target.unit}".strip(),
            f"{'≤' if target.at_most else '≥'} {target.bound:g} {target.unit}".strip(),
            Text(verdict.value, style=_VERDICT_STYLES[verdict]),
        )
    return table


def remarks(records: Iterable[dict[str, Any]]) -> list[str]:
    """What was skipped or failed, left processes behind, or was disturbed."""
    said: dict[str, None] = {}  # a set that keeps its order
    for record in records:
        where = f"{record['case']} {record['system']}"
        if "skipped" in record:
            said[f"{record['system']} skipped: {record['skipped']}"] = None
        if "failed" in record:
            said[f"{where} failed: {record['failed'].splitlines()[-1]}"] = None
        if record.get("left_behind"):
            said[f"{where} left {record['left_behind']} processes behind"] = None
        if record.get("others_cores", 0.0) > _BUSY_CORES:
            said[f"{where}: other programs kept {record['others_cores']} cores busy"] = None
    return list(said)


def conditions(records: Sequence[dict[str, Any]]) -> list[str]:
    """Machine, versions and date of a session, a line for each kind that occurs."""
    lines: dict[str, None] = {}
    for record in records:
        machine = record["machine"]
        lines[f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['linux']}"] = None
        packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        lines[f"Python {machine['python']}, {packages}"] = None
    times = [record["time"] for record in records]
    loads = [record["load"][0] for record in records]
    return [*lines, f"{min(times)} to {max(times)}, load before runs {min(loads):.1f} to {max(loads):.1f}"]


def summary(records: Sequence[dict[str, Any]]) -> RenderableType:
    """All tables of a session."""
    found = figures(records)
    tables = [case_table(case, found) for case in CASES.values()]
    parts: list[RenderableType] = [Text(line, style="dim") for line in conditions(records)]
    for table in filter(None, tables):
        parts += [Text(""), table]
    parts += [Text(""), targets_table(found), Text("")]
    parts += [Text(line) for line in remarks(records)]
    return Group(*parts)


def write(records: Sequence[dict[str, Any]], folder: pathlib.Path) -> None:
    """The tables as text, and a plot for each case."""
    with (folder / "summary.txt").open("w") as file:
        Console(file=file, width=140).print(summary(records))
    found = figures(records)
    for case in CASES.values():
        if any(key[0] == case.name for key in found):
            draw(case, found, folder / f"{case.name}.png")


def draw(case: Case, found: Figures, path: pathlib.Path) -> None:
    """Bars side by side, a panel for each metric; or curves, for a case that has one."""
    import matplotlib

    matplotlib.use("Agg")  # a file is all that is wanted: no display needed
    from matplotlib import pyplot

    if case.curve is not None:
        figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
        _draw_curves(axes, case, found)
    else:
        shown = [s for s in case.shown if any(key[0] == case.name and key[2] == s.metric for key in found)]
        names = [name for name in case.systems if any((case.name, name, s.metric) in found for s in shown)]
        size = (2.4 + 3.2 * len(shown), 1.0 + 0.28 * len(names))
        figure, panels = pyplot.subplots(1, len(shown), figsize=size, layout="constrained", sharey=True, squeeze=False)
        for axes, column in zip(panels[0], shown, strict=True):
            _draw_bars(axes, case, names, column, found)
    figure.suptitle(case.about, fontsize="medium")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_bars(axes: Any, case: Case, names: list[str], column: Shown, found: Figures) -> None:
    for place, name in enumerate(names):
        value = found.get((case.name, name, column.metric))
        if value is not None:
            axes.barh(place, value.median, color=_COLOURS[SYSTEMS[name].family])
            whiskers = [[value.median - value.low], [value.high - value.median]]
            axes.errorbar(value.median, place, xerr=whiskers, color="black", linewidth=0.8, capsize=2)
            axes.annotate(
                f" {number(value.median)}", (value.high, place), va="center", fontsize="x-small", annotation_clip=False
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(column.heading)
    if column.log:
        axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curves(axes: Any, case: Case, found: Figures) -> None:
    for name in case.systems:
        points = [
            (float(column.metric.split()[-1]), value.median)
            for column in case.shown
            if (value := found.get((case.name, name, column.metric))) is not None
        ]
        if points:
            ours = SYSTEMS[name].family == "ours"
            axes.plot(*zip(*points, strict=True), marker="o", label=name, linewidth=2.0 if ours else 1.0)
    axes.set_xscale("log")
    axes.set_xlabel(case.curve)
    axes.set_ylim(0, 1.05)
    axes.legend(fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
