"""`parsl-context logs`: the logs of all processes of a run in one order, and what they printed; filtered."""

from __future__ import annotations

import contextlib
import datetime
import heapq
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parsl_context.errors import EventLogError

_STAMP = re.compile(r"^(\d{9,11}\.\d+) \S+ \S+ .*?-\d+ .*?-\d+ (\S+?):\d+ \S+ (\w+): ?(.*)$")  # Parsl's
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


@dataclass(frozen=True, order=True)
class Line:
    """A record of a log, with the lines that follow it, or a line that was printed."""

    at: float  # since 1970; of what was printed, that of the file. [s]
    where: str  # file, for people
    level: str
    logger: str
    text: str


@dataclass(frozen=True)
class Wanted:
    """Which lines to show."""

    words: Sequence[str] = ()  # each must occur in the line or in the name of its file
    level: str = "INFO"
    prints: bool = True

    def has(self, line: Line) -> bool:
        """Whether a line is to be shown."""
        if line.level == "print":
            if not self.prints:
                return False
        elif _LEVELS.get(line.level, 50) < _LEVELS[self.level]:
            return False
        return all(word in line.text or word in line.where for word in self.words)


def logs(run_dir: str | None, wanted: Wanted) -> int:
    """Print the logs of a run. Gives the exit status."""
    run = find_run(run_dir)
    for line in merged(run):
        if wanted.has(line):
            stamp = "" if line.level == "print" else f" {line.level}"
            print(f"{_clock(line.at)} {line.where}{stamp}: {line.text}")
    return 0


def find_run(run_dir: str | None) -> Path:
    """The directory of a run; the newest under `runinfo` if none is named.

    Raises
    ------
    EventLogError
        If there is none.
    """
    start = Path("runinfo") if run_dir is None else Path(run_dir)
    if any(start.glob("parsl.*log")) or any(start.glob("*/interchange.*log")):
        return start
    runs = sorted({path.parent for path in start.glob("*/parsl.*log")}, key=lambda run: run.stat().st_mtime)
    if not runs:
        raise EventLogError(folder=str(start), sought="logs")
    return runs[-1]


def merged(run: Path) -> Iterator[Line]:
    """The lines of all files of a run, by time."""
    readers = [
        reader(path, run) for path in sorted(run.rglob("*")) if (reader := _READERS.get(path.suffix)) is not None
    ]
    yield from heapq.merge(*readers, key=lambda line: line.at)


def _records(path: Path, run: Path) -> Iterator[Line]:
    where = str(path.relative_to(run).with_suffix(""))
    line: Line | None = None
    with path.open(errors="replace") as file:
        for text in file:
            found = _STAMP.match(text.rstrip("\n"))
            if found is not None:
                if line is not None:
                    yield line
                line = Line(float(found[1]), where, found[3], found[2], found[4])
            elif line is not None:
                line = Line(line.at, where, line.level, line.logger, f"{line.text}\n    {text.rstrip()}")
    if line is not None:
        yield line


def _json_records(path: Path, run: Path) -> Iterator[Line]:
    where = str(path.relative_to(run).with_suffix(""))
    with path.open(errors="replace") as file:
        for text in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # the last line may be cut
                found = json.loads(text)
                message = str(found["formatted"]).replace("\n", "\n    ")
                yield Line(float(found["created"]), where, str(found["levelname"]), str(found["name"]), message)


def _printed(path: Path, run: Path) -> Iterator[Line]:
    where = str(path.relative_to(run))
    at = path.stat().st_mtime
    with path.open(errors="replace") as file:
        for text in file:
            yield Line(at, where, "print", "", text.rstrip())


_READERS = {".log": _records, ".jsonlog": _json_records} | dict.fromkeys(
    (".out", ".err", ".stdout", ".stderr"), _printed
)


def _clock(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).strftime("%H:%M:%S.%f")[:-3]
