"""What differs on workers: python -m tests.process.faithful [way ...]; `--help` says what else.

A way is `script`, or `library_project:script`. `--write` writes the lists of known failures anew from what was seen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.process.faithful.known_failures import Row, known_failures, write_failures
from tests.process.faithful.ways import LEVELS, PROJECTS, WAYS, Project, probes, run


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the probes whose values differ on workers.")
    parser.add_argument("ways", nargs="*", default=list(WAYS), help=f"[project:]way, of {', '.join(WAYS)}")
    parser.add_argument("--only", help="names of probes, with commas")
    parser.add_argument("--levels", help=f"levels, with commas, of {', '.join(LEVELS)}")
    parser.add_argument("--write", action="store_true", help="write the lists of known failures anew")
    parser.add_argument("--short", action="store_true", help="numbers alone")
    options = parser.parse_args()
    chosen: dict[Project, list[str]] = {}
    for word in options.ways:
        name, _, way = word.rpartition(":")
        chosen.setdefault(PROJECTS[name or "project"], []).append(way)
    for project, ways in chosen.items():
        failing = {row for way in ways for row in _failing(project, way, options)}
        if options.write:
            write_failures(project, failing, ways)


def _failing(project: Project, way: str, options: argparse.Namespace) -> set[Row]:
    """Run a project, print what differs, and return it."""
    began, known, failing = time.monotonic(), known_failures(project), set[Row]()
    with tempfile.TemporaryDirectory(prefix="faithful-") as folder:
        outcome = run(project, way, Path(folder), only=options.only, levels=options.levels)
    print(f"{way}: {time.monotonic() - began:.0f} s", *outcome.left, sep="\n  left: ")
    for level in LEVELS if options.levels is None else options.levels.split(","):
        names = [name for name in probes(project, way, level) if outcome.is_asked(name)]
        names = [name for name in names if options.only is None or name in options.only.split(",")]
        bad = [name for name in names if outcome.seen(level, name) != outcome.wanted(name)]
        failing |= {(way, level, name) for name in bad}
        print(f"{way}/{level}: {len(bad)} of {len(names)} differ")
        for name in bad if not options.short else []:
            mark = " " if (way, level, name) in known else "new"
            print(f"  {mark:3} {name}\n        {outcome.seen(level, name)}\n   want {outcome.wanted(name)}")
        fixed = [name for name in names if (way, level, name) in known and name not in bad]
        if fixed:
            print(f"  listed, and do not fail: {', '.join(fixed)}")
    return failing


if __name__ == "__main__":
    main()
