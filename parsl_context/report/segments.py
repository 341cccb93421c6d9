"""The event log on disk: segments of frames, each frame one record; written in a thread of its own, read as they grow.

A segment is a file `events-00000.bin`. A frame is the length of a record, its CRC-32, both 4 bytes little-endian, and
the record in MessagePack. Whole frames are written at once, so that of a process that was killed all frames but the
last can be read. When all segments together exceed their bound, the oldest are shrunk: their calls become bins.
"""

from __future__ import annotations

import binascii
import functools
import logging
import os
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from parsl_context.report.records import Began, Record

logger = logging.getLogger(f"parsl.{__name__}")

FOLDER = "events"
SEGMENT_BYTES = 4 << 20
LOG_BYTES = 128 << 20  # of one run: about 3 million calls before the first are shrunk
_QUEUED = 256  # writes that may wait for a slow disk
_PAUSE_S = 0.02  # between two slices of shrinking, which takes turns with the interchange's loop
_LARGEST = 1 << 28  # no record of ours is larger

_lead = struct.Struct("<II")
_encoder = msgspec.msgpack.Encoder()


@functools.cache
def _decoder() -> msgspec.msgpack.Decoder[Record]:
    """Made when it is needed: the interchange, which somebody waits for, only writes."""
    return msgspec.msgpack.Decoder(Record)


def frame(record: Record) -> bytes:
    """A record as it is written."""
    data = _encoder.encode(record)
    return _lead.pack(len(data), binascii.crc32(data)) + data


def frames(data: bytes, start: int = 0) -> Iterator[tuple[Record, int]]:
    """Records of a segment from an offset on, each with the offset behind it; ends where no whole frame follows."""
    decode = _decoder().decode
    while start + _lead.size <= len(data):
        size, check = _lead.unpack_from(data, start)
        body = start + _lead.size
        part = data[body : body + size]
        if size > _LARGEST or len(part) < size or binascii.crc32(part) != check:
            return
        start = body + size
        try:
            yield decode(part), start
        except msgspec.DecodeError:
            continue  # of a kind that another release writes


def segment_paths(folder: Path) -> list[Path]:
    """The segments of a log, in order."""
    return sorted(folder.glob("events-*.bin"))


class LogWriter:
    """Writes frames to segments in a thread of its own. `write` never waits.

    Parameters
    ----------
    folder
        Of the log; made if it is missing.
    began
        First record of each segment.
    shrink
        Makes the records of a segment fewer; works in steps, each the records found by then or None.
    """

    def __init__(
        self,
        folder: Path,
        began: Began,
        shrink: Callable[[Iterable[Record], int], Iterator[list[Record] | None]],
        *,
        segment_bytes: int = SEGMENT_BYTES,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._folder = folder
        self._first = frame(began)
        self._shrink = shrink
        self._segment_bytes = segment_bytes
        self._log_bytes = log_bytes
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._sizes: dict[int, int] = {}  # of segments, by number. [bytes]
        self._intervals: dict[int, int] = {}  # of segments that were shrunk
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()
        self.lost_bytes = 0  # that could not be written since this was last read

    def write(self, data: bytes) -> None:
        """Write whole frames soon."""
        try:
            self._queue.put_nowait(data)
        except queue.Full:
            self.lost_bytes += len(data)

    def close(self, timeout_s: float) -> None:
        """Write what is left, if that takes no longer. [s]"""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    # --- in the thread

    def _run(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write_all()
        except OSError as error:
            text = "The event log in %s ends: %s. Live view and report will lack what follows; calls go on."
            logger.error(text, self._folder, error)
            while self._queue.get() is not None:
                pass

    def _write_all(self) -> None:
        number, file = 0, self._open(0)
        try:
            while (data := self._queue.get()) is not None:
                if self._sizes[number] >= self._segment_bytes:
                    os.close(file)
                    number += 1
                    file = self._open(number)
                self._sizes[number] += _write(file, data)
                while self._queue.empty() and sum(self._sizes.values()) > self._log_bytes:
                    if not self._shrink_oldest(number):
                        break
        finally:
            os.close(file)

    def _open(self, number: int) -> int:
        file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._sizes[number] = _write(file, self._first)
        return file

    def _path(self, number: int) -> Path:
        return self._folder / f"events-{number:05}.bin"

    def _shrink_oldest(self, newest: int) -> bool:
        """Make the segment smaller that was shrunk least, the oldest of those. False if there is none."""
        choices = [number for number in self._sizes if number < newest and self._intervals.get(number, 2) > 1]
        if not choices:
            return False
        number = max(choices, key=lambda each: (self._intervals.get(each, 1 << 20), -each))
        intervals = max(1, self._intervals.get(number, 256) // 4)
        path = self._path(number)
        shrunk: list[Record] = []
        for found in self._shrink((record for record, _ in frames(path.read_bytes())), intervals):
            if found is None:
                time.sleep(_PAUSE_S)
            else:
                shrunk = found
        data = b"".join(map(frame, shrunk))
        beside = path.with_suffix(".new")
        beside.write_bytes(data)
        beside.replace(path)
        self._sizes[number], self._intervals[number] = len(data), intervals
        return True


def _write(file: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    return len(data)
