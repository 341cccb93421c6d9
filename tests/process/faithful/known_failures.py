"""Rows that fail today, read from `known_failures.txt`: a probe, where it fails, and why, a line each.

Where it fails is `*`, or a list of ways (`script`) and of ways with a level (`script/node`). A row that is listed and
does not fail fails the suite, so the list is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.process.faithful.ways import LEVELS, WAYS, probes

FILE = Path(__file__).with_name("known_failures.txt")
UNSORTED = "not looked into"
Row = tuple[str, str, str]  # way, level, probe


def known_failures() -> dict[Row, str]:
    """Reasons of the rows that fail."""
    rows: dict[Row, str] = {}
    for probe, (places, reason) in _lines().items():
        for place in places.split():
            way, _, level = place.partition("/")
            for each in WAYS if way == "*" else [way]:
                if probe in probes(each):
                    rows |= {(each, one, probe): reason for one in ([level] if level else LEVELS)}
    return rows


def write_failures(failing: Iterable[Row], run: Iterable[str]) -> None:
    """Write the list anew for the ways that were run, and keep it for the others, and the reasons."""
    lines, run = _lines(), set(run)
    rows = {row for row in known_failures() if row[0] not in run} | set(failing)
    names = dict.fromkeys(name for way in WAYS for name in probes(way))
    text = []
    for probe in names:
        places = _places({(way, level) for way, level, name in rows if name == probe}, probe)
        if places:
            text.append(f"{probe}: {places}: {lines.get(probe, ('', UNSORTED))[1]}\n")
    FILE.write_text("".join(text))


def _lines() -> Mapping[str, tuple[str, str]]:
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    parts = [[part.strip() for part in line.split(":", 2)] for line in lines if line and not line.startswith("#")]
    return {probe: (places, reason) for probe, places, reason in parts}


def _places(found: set[tuple[str, str]], probe: str) -> str:
    ways = [way for way in WAYS if probe in probes(way)]
    if found == {(way, level) for way in ways for level in LEVELS}:
        return "*"
    words = []
    for way in ways:
        levels = [level for level in LEVELS if (way, level) in found]
        words += [way] if len(levels) == len(LEVELS) else [f"{way}/{level}" for level in levels]
    return " ".join(words)
