"""Reads the event log of a run, once or as it grows, and finds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from parsl_context.errors import EventLogError
from parsl_context.report.records import LOG_VERSION, Began, Record
from parsl_context.report.segments import FOLDER, frames, segment_paths


class LogReader:
    """Reads a log from its beginning; each `read` gives the records that came since the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path: Path | None = None
        self._offset = 0
        self._has_begun = False

    def read(self) -> Iterator[Record]:
        """Records that were not read before. Those behind a place that is damaged are left out, up to the next file.

        Raises
        ------
        EventLogError
            If another release wrote them, in another format, or if nothing of it can be read.
        """
        for path in segment_paths(self.folder):
            if self._path is None or path > self._path:
                self._path, self._offset = path, 0
            if path == self._path:
                yield from self._rest(path)
        if not self._has_begun:
            size = sum(path.stat().st_size for path in segment_paths(self.folder))
            damage = f"none of its {size} bytes is part of a record, it is damaged or was cut short"
            raise EventLogError(folder=str(self.folder), problem=damage if size else "it is empty")

    def _rest(self, path: Path) -> Iterator[Record]:
        with path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        before = self._offset
        for record, end in frames(data):
            self._offset = before + end
            if isinstance(record, Began):
                self._has_begun = True
                if record.version != LOG_VERSION:
                    raise EventLogError(folder=str(self.folder), version=record.version)
            if self._has_begun:
                yield record


def find_logs(run_dir: Path | str | None) -> list[Path]:
    """The logs of a run, one for each executor; the newest run under `runinfo` if none is named.

    Parameters
    ----------
    run_dir
        Of the run (`runinfo/000`), of one of its executors, of the log itself, or one that holds runs.

    Raises
    ------
    EventLogError
        If there is none.
    """
    start = Path("runinfo") if run_dir is None else Path(run_dir)
    for folders in ([start], [start / FOLDER], sorted(start.glob(f"*/{FOLDER}"))):
        if found := [path for path in folders if segment_paths(path)]:
            return found
    runs = [path for path in start.glob(f"*/*/{FOLDER}") if segment_paths(path)]
    if not runs:
        raise EventLogError(folder=str(start))
    newest = max(runs, key=_changed_at).parents[1]
    return [path for path in sorted(newest.glob(f"*/{FOLDER}")) if segment_paths(path)]


def _changed_at(folder: Path) -> float:
    return max(path.stat().st_mtime for path in segment_paths(folder))
