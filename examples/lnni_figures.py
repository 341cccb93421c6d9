"""What `lnni.py` shows of the outcomes: a table, a picture, a file, and whether all levels computed the same."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from rich.table import Table

from lnni_job import LEVELS, Outcome, console
from networks import Network

if TYPE_CHECKING:
    import numpy as np


def with_savings(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes with the share of the makespan that each saves over level none, where that ran."""
    base_s = next((o.makespan_s for o in outcomes if o.level == "none"), None)
    if base_s is None:
        return outcomes
    return [replace(o, saved=1 - o.makespan_s / base_s) for o in outcomes]


def print_table(outcomes: list[Outcome], title: str) -> None:
    """Print a row for each level."""
    table = Table(title=title)
    table.add_column("level")
    for heading in ("makespan", "call", "built", "fetched", "slots busy", "saved"):
        table.add_column(heading, justify="right")
    for o in outcomes:
        times = (f"{o.makespan_s:.1f} s", f"{o.mean_call_s:.2f} s")
        counts = (str(o.contexts_built), f"{o.fetched_bytes / 1e6:.0f} MB")
        table.add_row(o.level, *times, *counts, f"{o.slots_busy:.0%}", _saved(o))
    console.print(table)


def _saved(outcome: Outcome) -> str:
    return (
        ""
        if outcome.saved is None or outcome.level == "none"
        else f"{outcome.saved:.0%}"
    )


def draw(outcomes: list[Outcome], title: str, path: pathlib.Path) -> None:
    """Draw the makespan of each level, in the manner of the paper's figure."""
    import matplotlib

    matplotlib.use("Agg")  # a file is all that is wanted: no display needed
    from matplotlib import pyplot

    okabe_and_ito = ("#7f7f7f", "#E69F00", "#0072B2", "#009E73")
    colours = dict(zip(LEVELS, okabe_and_ito, strict=True))
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    bars = axes.bar(
        [o.level for o in outcomes],
        [o.makespan_s for o in outcomes],
        color=[colours[o.level] for o in outcomes],
        width=0.6,
    )
    labels = [
        f"{o.makespan_s:.1f} s" + (f"\n{_saved(o)} saved" if _saved(o) else "")
        for o in outcomes
    ]
    axes.bar_label(bars, labels=labels, padding=3)
    axes.margins(y=0.2)
    axes.set_xlabel("level of context reuse")
    axes.set_ylabel("makespan [s]")
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def levels_agree(results: dict[str, np.ndarray]) -> bool:
    """Say whether all levels computed the same, and by how much they differ."""
    import numpy as np

    (first, expected), *others = results.items()
    differences = {
        level: float(np.abs(found - expected).max()) for level, found in others
    }
    for level, difference in differences.items():
        console.print(
            f"Results at levels {first} and {level} differ by at most {difference:.1e}"
        )
    return all(np.allclose(found, expected, rtol=0, atol=1e-6) for _, found in others)


def write_figures(
    outcomes: list[Outcome],
    network: Network,
    arguments: argparse.Namespace,
    path: pathlib.Path,
) -> None:
    """Write what was measured, and on what, as JSON."""
    record = {
        "network": network.title,
        "calls": arguments.calls,
        "inferences_per_call": network.inferences_per_call,
        "workers": arguments.workers,
        "nodes": arguments.nodes,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {
            name: version(name)
            for name in ("parsl", "parsl-context", "numpy", *network.packages)
        },
        "levels": [asdict(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
