"""The lines and the timeline of a report as a picture, for papers and where no browser is. Takes matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parsl_context.errors import ConfigurationError
from parsl_context.report.figures import Report

_BUILD = "#3b2f4a"
_COLOURS = ("#3f7fbf", "#e0913a", "#4f9d69", "#b8586f", "#8a73b8", "#8d7a5c", "#c76fae", "#5a9ea6")


def write_picture(report: Report, path: Path) -> None:
    """Write a PNG, or whatever the suffix of the path says.

    Raises
    ------
    ConfigurationError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError("Pictures take matplotlib: pip install 'parsl-context[plot]'") from error
    lanes, lines = report.timeline["lanes"], report.lines
    heights = [max(1.0, min(6.0, 0.25 * len(lanes))), 1.5, 1.5]
    figure = Figure(figsize=(9, 2 + sum(heights)), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    _draw_timeline(top, report)
    for name, key, colour in (
        ("there", "workers", "#9aa5b1"),
        ("in calls", "busy", _COLOURS[0]),
        ("in builds", "building", _BUILD),
    ):
        middle.plot(lines["time"], lines[key], label=name, color=colour, linewidth=1)
    middle.set_ylabel("workers")
    middle.legend(fontsize="small", ncols=3)
    bottom.plot(lines["time"], lines["waiting"], color=_COLOURS[1], linewidth=1)
    bottom.set_ylabel("calls that wait")
    bottom.set_xlabel("time [s]")
    figure.savefig(path, dpi=150)


def _draw_timeline(axes: Any, report: Report) -> None:
    timeline = report.timeline
    unit_s, numbers = timeline["unit_s"], list(timeline["kinds"])
    for row, lane in enumerate(timeline["lanes"]):
        before, bars, colours = 0, [], []
        for at in range(0, len(lane["calls"]), 5):
            start = before + lane["calls"][at]
            before = start + lane["calls"][at + 1]
            bars.append((start * unit_s, (before - start) * unit_s))
            colours.append(_COLOURS[numbers.index(lane["calls"][at + 2]) % len(_COLOURS)])
        axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=colours, linewidth=0)
        before, bars = 0, []
        for at in range(0, len(lane["builds"]), 5):
            start = before + lane["builds"][at]
            before = start + lane["builds"][at + 1]
            bars.append((start * unit_s, (before - start) * unit_s))
        axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=_BUILD, linewidth=0)
    axes.set_yticks(range(len(timeline["lanes"])), [lane["name"] for lane in timeline["lanes"]], fontsize="x-small")
    axes.invert_yaxis()
    axes.set_title("calls of each worker by kind; dark: builds", fontsize="small")
