"""Rows that fail today, read from `failing/`: a probe, where it fails, and why, a line each, in a file per project.

Where it fails is `*`, or a list of ways (`script`) and of ways with a level (`script/node`). A row that is listed and
does not fail fails the suite, so the list is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.process.faithful.ways import LEVELS, Project, probes

UNSORTED = "not looked into"
Row = tuple[str, str, str]  # way, level, probe


def known_failures(project: Project) -> dict[Row, str]:
    """Reasons of the rows that fail."""
    rows: dict[Row, str] = {}
    for probe, (places, reason) in _lines(project).items():
        for place in places.split():
            way, _, level = place.partition("/")
            for each in project.ways if way == "*" else [way]:
                levels = [one for one in LEVELS if level in ("", one) and probe in probes(project, each, one)]
                rows |= {(each, one, probe): reason for one in levels}
    return rows


def write_failures(project: Project, failing: Iterable[Row], run: Iterable[str]) -> None:
    """Write the list anew for the ways that were run, and keep it for the others, and the reasons."""
    lines, run = _lines(project), set(run)
    rows = {row for row in known_failures(project) if row[0] not in run} | set(failing)
    names = dict.fromkeys(name for way in project.ways for name in probes(project, way, LEVELS[0]))
    text = []
    for probe in names:
        places = _places(project, {(way, level) for way, level, name in rows if name == probe}, probe)
        if places:
            text.append(f"{probe}: {places}: {lines.get(probe, ('', UNSORTED))[1]}\n")
    _file(project).write_text("".join(text))


def _file(project: Project) -> Path:
    return Path(__file__).with_name("failing") / f"{project.name}.txt"


def _lines(project: Project) -> Mapping[str, tuple[str, str]]:
    file = _file(project)
    lines = file.read_text().splitlines() if file.exists() else []
    parts = [[part.strip() for part in line.split(":", 2)] for line in lines if line and not line.startswith("#")]
    return {probe: (places, reason) for probe, places, reason in parts}


def _places(project: Project, found: set[tuple[str, str]], probe: str) -> str:
    all_levels = {way: [level for level in LEVELS if probe in probes(project, way, level)] for way in project.ways}
    if found == {(way, level) for way, levels in all_levels.items() for level in levels}:
        return "*"
    words = []
    for way, levels in all_levels.items():
        here = [level for level in levels if (way, level) in found]
        words += [way] if here and here == levels else [f"{way}/{level}" for level in here]
    return " ".join(words)
