"""The event log on disk: read as it grows, after a crash, and within its bound."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from parsl_context.errors import EventLogError
from parsl_context.report import records as r
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.segments import FOLDER, LogWriter, frame, frames, segment_paths
from parsl_context.report.shrinking import shrink
from parsl_context.report.story import Story
from tests.unit.report import samples as s

RECORDS: list[r.Record] = [s.began(), s.known(), s.joined(), s.ended([(2.0, 1, 0.5)]), r.Ended(at=3.0, reason="quits")]


def written(folder: Path, records: list[r.Record], **options: int) -> Path:
    """The log of some records, each written by itself."""
    writer = LogWriter(folder, s.began(), shrink, **options)
    for record in records:
        writer.write(frame(record))
        while writer._queue.qsize() > 10:
            time.sleep(0.001)
    while options and writer._queue.qsize():
        time.sleep(0.001)
    time.sleep(0.5 if options else 0.0)  # the last is written, and what follows from it done
    writer.close(20.0)
    return folder


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert list(LogReader(written(tmp_path / "events", RECORDS[1:])).read()) == RECORDS


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_what_was_written_before_a_crash_can_be_read(cut: int) -> None:
    data = b"".join(map(frame, RECORDS))
    whole = [record for record, end in frames(data) if end <= len(data) - cut]
    assert [record for record, _ in frames(data[: len(data) - cut])] == whole


def test_nothing_is_read_of_what_is_damaged() -> None:
    data = bytearray(b"".join(map(frame, RECORDS)))
    data[len(frame(RECORDS[0])) + 12] ^= 1
    assert [record for record, _ in frames(bytes(data))] == RECORDS[:1]


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    path = folder / "events-00000.bin"
    reader, found = LogReader(folder), []
    data = b"".join(map(frame, RECORDS))
    for end in range(len(frame(RECORDS[0])), len(data) + 11, 11):
        path.write_bytes(data[:end])
        found += reader.read()
    path.write_bytes(data)
    found += reader.read()
    assert found == RECORDS


def test_a_log_stays_within_its_bound_and_counts_every_call(tmp_path: Path) -> None:
    """Old segments become bins, whose sums are those of the calls."""
    dice = random.Random(3)
    calls = [(number * 0.01, number, dice.random()) for number in range(1, 10_001)]
    parts = [calls[at : at + 100] for at in range(0, len(calls), 100)]
    records: list[r.Record] = [s.work(), s.joined()]
    records += [s.ended(part, worker=number % 4) for number, part in enumerate(parts)]
    folder = written(tmp_path / "events", records, segment_bytes=40_000, log_bytes=100_000)
    size = sum(path.stat().st_size for path in segment_paths(folder))
    story = Story().take_all(LogReader(folder).read())
    assert size < 150_000 < sum(len(frame(record)) for record in records)
    assert story.bins
    assert story.tasks == len(calls)
    assert list(story.done) == [(1, len(calls))]
    assert story.kinds[1].run_s == pytest.approx(sum(run_s for _, _, run_s in calls), rel=1e-6)


def test_a_shrunk_segment_can_be_shrunk_again() -> None:
    calls = [(number * 0.01, number, 0.005) for number in range(1, 5001)]
    *_, once = shrink([s.work(), s.ended(calls)], 64)
    *_, twice = shrink(once or [], 4)
    (bins,) = [record for record in twice or [] if isinstance(record, r.CallsBinned)]
    assert len(bins.bins) in (4, 5)
    assert sum(each.tasks for each in bins.bins) == 5000
    assert bins.tasks == [(1, 5000)]


def test_calls_that_wait_outlive_the_shrinking_of_their_segment() -> None:
    *_, kept = shrink([s.waits(1, 10), s.held(3), s.ended([(1.0, 3, 0.1)])], 4)
    rows = [row for record in kept or [] if isinstance(record, r.CallsPending) for row in record.unpack()]
    assert [(row.task, row.size, row.manager) for row in rows] == [(1, 10, 0)]


def test_a_disk_that_is_full_ends_the_log_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events").write_text("a file where the folder should be")
    written(tmp_path / "events", RECORDS)
    assert "event log" in caplog.text


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "events-00000.bin").write_bytes(frame(s.began(version=r.LOG_VERSION + 1)))
    with pytest.raises(EventLogError, match="does not read"):
        list(LogReader(folder).read())


def test_the_newest_run_is_found(tmp_path: Path) -> None:
    for number in ("000", "001"):
        written(tmp_path / number / "contexts" / FOLDER, RECORDS)
    newest = tmp_path / "001" / "contexts" / FOLDER
    assert find_logs(tmp_path) == [newest]
    assert find_logs(tmp_path / "001") == find_logs(newest.parent) == find_logs(newest) == [newest]
    with pytest.raises(EventLogError, match="nowhere"):
        find_logs(tmp_path / "nowhere")
