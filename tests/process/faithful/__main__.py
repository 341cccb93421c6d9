"""What differs on workers: python -m tests.process.faithful [--write] [--only probe,probe] [--levels memory] [way ...]

`--write` writes known_failures.txt anew from what was seen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.process.faithful.known_failures import Row, known_failures, write_failures
from tests.process.faithful.ways import LEVELS, WAYS, probes, run


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the probes whose values differ on workers.")
    parser.add_argument("ways", nargs="*", default=list(WAYS), metavar="way", help=", ".join(WAYS))
    parser.add_argument("--only", help="names of probes, with commas")
    parser.add_argument("--levels", help="levels, with commas")
    parser.add_argument("--write", action="store_true", help="write known_failures.txt anew")
    parser.add_argument("--short", action="store_true", help="numbers alone")
    options = parser.parse_args()
    known, failing = known_failures(), set[Row]()
    for way in options.ways:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faithful-") as folder:
            outcome = run(way, Path(folder), only=options.only, levels=options.levels)
        names = [name for name in probes(way) if options.only is None or name in options.only.split(",")]
        for level in LEVELS if options.levels is None else options.levels.split(","):
            bad = [name for name in names if outcome.seen(level, name) != outcome.wanted(name)]
            failing |= {(way, level, name) for name in bad}
            seconds = time.monotonic() - began
            print(f"{way}/{level}: {len(bad)} of {len(names)} differ ({seconds:.0f} s for all levels)")
            for name in bad if not options.short else []:
                mark = " " if (way, level, name) in known else "new"
                print(f"  {mark:3} {name}\n        {outcome.seen(level, name)}\n   want {outcome.wanted(name)}")
            fixed = [name for name in names if (way, level, name) in known and name not in bad]
            if fixed:
                print(f"  no longer: {', '.join(fixed)}")
    if options.write:
        write_failures(failing, options.ways)


if __name__ == "__main__":
    main()
