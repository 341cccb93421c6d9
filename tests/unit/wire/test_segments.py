"""Segments: large payloads in files that processes of one host share."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parsl_context.content.serialization import pack_value, unpack_value
from parsl_context.errors import PayloadLostError
from parsl_context.wire import messages as m
from parsl_context.wire import segments as module
from parsl_context.wire.segments import Segments, create_segments, join_segments, remove_stale
from tests.unit.builders import result, task

SIZES = [module.SEGMENT_BYTES, 200_001, 3_000_000]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Segments]:
    segments = create_segments([str(tmp_path)])
    yield segments
    segments.close()
    assert list(tmp_path.iterdir()) == [], "the last one that leaves removes the directory"


@pytest.fixture
def other(run: Segments) -> Iterator[Segments]:
    """The same run, as another process sees it."""
    joined = join_segments(run.path)
    yield joined
    joined.close()


def files(segments: Segments) -> list[str]:
    assert segments.path is not None
    return sorted(set(os.listdir(segments.path)) - {"token"})


def packed(segments: Segments, value: object, task_id: int | None = None) -> m.Payload:
    payload, frames = segments.make_payload(*pack_value(value), task_id)
    assert payload.segment is not None
    assert (payload.inline, payload.frames, list(frames)) == (b"", 0, []), "nothing of it travels in the message"
    return payload


@pytest.mark.parametrize("size", SIZES)
def test_an_array_arrives_writable_and_alone(run, other, size):
    array = np.arange(size, dtype=np.uint8)
    payload = packed(run, {"array": array, "rest": [1, "two"]})
    first = unpack_value(other.open_payload(payload, ()))
    second = unpack_value(other.open_payload(payload, ()))
    first["array"][:] = 7
    assert np.array_equal(second["array"], np.arange(size, dtype=np.uint8)), "no reader sees what another one writes"
    assert first["rest"] == [1, "two"]


@pytest.mark.parametrize("size", SIZES)
def test_the_last_reader_removes_the_segment_and_keeps_the_value(run, other, size):
    payload = packed(other, np.full(size, 3, np.uint8))
    value = unpack_value(run.take_payload(payload, ()))
    assert files(run) == []
    assert value.sum(dtype=int) == 3 * size


def test_many_arrays_and_a_large_stream_share_one_segment(run, other):
    value = [b"x" * 100_000, *(np.full(n, n % 251, np.float32) for n in range(200)), "y" * 50_000]
    payload = packed(run, value)
    assert len(files(run)) == 1
    got = unpack_value(other.open_payload(payload, ()))
    assert got[0] == value[0]
    assert got[-1] == value[-1]
    assert all(np.array_equal(a, b) for a, b in zip(got[1:-1], value[1:-1], strict=True))


def test_an_array_that_may_not_be_written_stays_so(run, other):
    array = np.ones(100_000)
    array.flags.writeable = False
    assert not unpack_value(other.open_payload(packed(run, array), ())).flags.writeable


@pytest.mark.parametrize("value", [1, b"x" * 20_000, np.ones(1_000)], ids=["inline", "a frame", "a buffer"])
def test_small_values_travel_in_the_message(run, value):
    payload, frames = run.make_payload(*pack_value(value))
    assert payload.segment is None
    assert files(run) == []
    assert np.array_equal(unpack_value(run.take_payload(payload, frames)), value)


def test_without_a_directory_everything_travels_in_frames():
    nowhere = Segments()
    payload, frames = nowhere.make_payload(*pack_value(np.ones(1_000_000)))
    assert payload.segment is None
    assert len(unpack_value(nowhere.open_payload(payload, frames))) == 1_000_000
    nowhere.drop(payload)
    nowhere.drop_results([1])
    nowhere.close()


def test_only_the_user_may_look(run):
    packed(run, np.ones(100_000))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(run.path).iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(os.stat(run.path).st_mode) == 0o700


def test_who_reads_the_token_has_the_proof(run, other):
    assert run.proof == other.proof
    assert join_segments("/dev/shm/parsl-context-segments-elsewhere").proof is None
    assert join_segments(None).proof is None


def test_a_directory_of_that_name_with_another_token_is_another_one(run, tmp_path):
    with contextlib.closing(create_segments([str(tmp_path)])) as foreign:
        assert foreign.proof != run.proof


def test_the_proof_names_the_kernel(run, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "another")
    with contextlib.closing(join_segments(run.path)) as elsewhere:
        assert elsewhere.proof != run.proof, "a file system that two hosts share is no memory that they share"


def test_a_call_is_spread_into_frames_for_a_node_that_does_not_share(run):
    call = task(5, payload=packed(run, np.arange(50_000)))
    spread, frames = run.spread(call)
    assert (spread.payload.segment, spread.payload.frames) == (None, len(frames))
    assert np.array_equal(unpack_value(Segments().open_payload(spread.payload, frames)), np.arange(50_000))
    assert len(files(run)) == 1, "the call may have to be sent again"


def test_a_result_in_frames_is_gathered_into_a_segment(run):
    payload, frames = Segments().make_payload(*pack_value(np.arange(50_000)))
    gathered, rest = run.gather(result(9, payload=payload), frames)
    assert not rest
    assert np.array_equal(unpack_value(run.take_payload(gathered.payload, ())), np.arange(50_000))


def test_a_small_result_in_frames_stays_as_it_is(run):
    payload, frames = Segments().make_payload(b"x" * 20_000)
    came = result(9, payload=payload)
    assert run.gather(came, frames) == (came, frames)


def test_a_full_file_system_means_frames_and_one_line_in_the_log(run, monkeypatch, caplog):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for _ in range(3):
            payload, frames = run.make_payload(*pack_value(np.ones(100_000)))
            assert payload.segment is None
            assert len(frames) == 1
    assert len([r for r in caplog.records if "No space left" in r.message]) == 1
    assert files(run) == [], "half a segment is none"
    packed(run, np.ones(100_000))


def test_a_tenth_of_the_space_is_left_to_others(run, monkeypatch, caplog):
    monkeypatch.setattr(module, "_KEPT_FREE", 1.0)
    payload, _ = run.make_payload(*pack_value(np.ones(100_000)))
    assert payload.segment is None
    assert "travel through sockets" in caplog.text


def test_a_file_system_without_nameless_files_will_do(run, other, monkeypatch):
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT)
    payload = packed(run, np.ones(100_000))
    assert unpack_value(other.take_payload(payload, ())).sum() == 100_000
    assert files(run) == []


def test_a_segment_that_is_gone_is_an_error_that_says_so(run):
    payload = packed(run, np.ones(100_000))
    run.drop(payload)
    run.drop(payload)
    with pytest.raises(PayloadLostError, match=rf"segment {payload.segment.name}\).*No such file"):
        run.open_payload(payload, ())


def test_a_segment_that_was_cut_short_is_an_error_not_a_crash(run):
    payload = packed(run, np.ones(100_000))
    os.truncate(f"{run.path}/{payload.segment.name}", 4096)
    with pytest.raises(PayloadLostError, match="fewer than"):
        run.open_payload(payload, ())


@pytest.mark.parametrize(
    "segment",
    [("../../etc/passwd", (10,)), ("token/../token", (10,)), ("", (10,)), ("1-a-0", ()), ("1-a-0", (-1, 5))],
    ids=str,
)
def test_a_name_or_size_that_we_do_not_give_is_refused(run, segment):
    payload = m.Payload(b"", 0, m.Segment(*segment))
    with pytest.raises(PayloadLostError, match="none of ours"):
        run.open_payload(payload, ())
    run.drop(payload)


def test_results_of_failed_calls_are_found_by_their_task(run, other):
    mine = packed(run, np.ones(100_000))
    payloads = {number: packed(other, np.ones(100_000), number) for number in (1, 12, 123)}
    run.drop_results([12, 99])
    assert files(run) == sorted([mine.segment.name, payloads[1].segment.name, payloads[123].segment.name])


def test_the_directory_lives_as_long_as_anybody_uses_it(run):
    others = [join_segments(run.path) for _ in range(3)]
    for segments in others:
        payload = packed(run, np.ones(100_000))
        segments.close()
        run.drop(payload)
    assert Path(run.path).is_dir()


def dead_run(parent: Path) -> Path:
    """What a run leaves that was killed at once."""
    segments = create_segments([str(parent)])
    packed(segments, np.ones(100_000))
    os.close(segments._directory)
    segments._directory = None
    return Path(segments.path)


def test_directories_that_nobody_uses_any_more_are_removed_at_the_next_start(run, tmp_path):
    dead_run(tmp_path)
    create_segments([str(tmp_path)]).close()
    assert [path.name for path in tmp_path.iterdir()] == [Path(run.path).name]


def named_alike(place: Path) -> Path:
    """Somebody's folder, which has our name and no token."""
    path = place / f"{module._PREFIX}results"
    path.mkdir()
    (path / "a-1-0").write_text("precious")
    return path


def a_short_name(place: Path) -> Path:
    return named_alike(place).rename(place / "parsl-context-results")


def another_token(place: Path) -> Path:
    path = named_alike(place)
    (path / "token").write_text("of something else")
    return path


def a_borrowed_token(place: Path) -> Path:
    path = named_alike(place)
    (path / "token").symlink_to(dead_run(place.parent) / "token")
    return path


def a_pipe_for_a_token(place: Path) -> Path:
    path = named_alike(place)
    os.mkfifo(path / "token")
    return path


def a_link_to_a_run(place: Path) -> Path:
    path = place / f"{module._PREFIX}link"
    path.symlink_to(dead_run(place.parent))
    return path


def a_file_in_a_dead_run(place: Path) -> Path:
    path = dead_run(place)
    (path / "notes").write_text("precious")
    return path


def a_folder_in_a_dead_run(place: Path) -> Path:
    path = dead_run(place)
    (path / "a-1-0").mkdir()
    (path / "a-1-0" / "notes").write_text("precious")
    return path


@pytest.mark.parametrize(
    "make",
    [
        named_alike,
        a_short_name,
        another_token,
        a_borrowed_token,
        a_pipe_for_a_token,
        a_link_to_a_run,
        a_file_in_a_dead_run,
        a_folder_in_a_dead_run,
    ],
)
def test_a_start_removes_nothing_that_is_not_ours(tmp_path, make):
    place = tmp_path / "shm"
    place.mkdir()
    path = make(place)
    kept = [path, *(each for each in path.rglob("*") if each.name in ("notes", "a-1-0", "token"))]
    create_segments([str(place)]).close()
    assert all(os.path.lexists(each) for each in kept), kept


def test_a_directory_of_another_user_is_none_of_ours(tmp_path, monkeypatch):
    path = dead_run(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: os.stat(path).st_uid + 1)
    assert join_segments(str(path)).proof is None
    remove_stale(str(tmp_path))
    assert (path / "token").exists()


def test_a_directory_without_room_for_its_token_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "new_file", full)
    assert create_segments([str(tmp_path)]).path is None
    assert list(tmp_path.iterdir()) == []


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


def test_a_directory_in_use_cannot_be_joined_while_it_is_removed(run):
    fd = os.open(run.path, os.O_RDONLY)
    run_lock = run._directory
    fcntl.flock(run_lock, fcntl.LOCK_UN)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert join_segments(run.path).path is None
    finally:
        os.close(fd)


def test_no_more_maps_than_descriptors_can_be_spared(run, monkeypatch):
    monkeypatch.setattr(module, "_MAPS", 2)
    before = len(os.listdir("/proc/self/fd"))
    payloads = [packed(run, np.full(1_000_000, number, np.uint8)) for number in range(6)]
    values = [unpack_value(run.take_payload(payload, ())) for payload in payloads]
    assert [int(value[-1]) for value in values] == list(range(6))
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_values_stay_when_the_directory_goes(tmp_path):
    segments = create_segments([str(tmp_path)])
    value = unpack_value(segments.take_payload(packed(segments, np.full(1_000_000, 9, np.uint8)), ()))
    segments.close()
    assert list(tmp_path.iterdir()) == []
    assert value.sum(dtype=int) == 9_000_000
    payload, frames = segments.make_payload(*pack_value(np.ones(100_000)))
    assert payload.segment is None
    assert frames


def test_a_place_that_is_too_small_or_missing_is_passed_over(tmp_path, monkeypatch):
    with contextlib.closing(create_segments(["/nowhere", str(tmp_path)])) as segments:
        assert Path(segments.path).parent == tmp_path
    monkeypatch.setattr(module, "_SMALLEST_BYTES", 1 << 62)
    assert create_segments([str(tmp_path)]).path is None


@pytest.fixture
def far(tmp_path_factory) -> Iterator[Segments]:
    """Of another host."""
    segments = create_segments([str(tmp_path_factory.mktemp("far"))])
    yield segments
    segments.close()


def taken(run: Segments, far: Segments, segment: m.Segment, piece: int = 70_000) -> bool:
    """Whether a segment is whole over there, after it has gone there in pieces."""
    content = run.departing(segment)
    arrival = far.arriving(segment)
    ends = [arrival.write(content[start : start + piece]) for start in range(0, len(content), piece)]
    assert ends[:-1] == [False] * (len(ends) - 1)
    return ends[-1]


@pytest.mark.parametrize("size", SIZES)
def test_a_segment_can_be_taken_to_another_host(run, far, size):
    array = np.arange(size, dtype=np.uint8)
    payload = packed(run, {"array": array, "rest": [1, "two"]})
    assert not far.has(payload.segment)
    assert taken(run, far, payload.segment)
    assert far.has(payload.segment)
    there = unpack_value(far.open_payload(payload, ()))
    assert np.array_equal(there["array"], array)
    assert there["rest"] == [1, "two"]
    run.drop(payload)


def test_a_segment_that_does_not_come_whole_is_never_there(run, far):
    payload = packed(run, np.ones(1_000_000))
    content, arrival = run.departing(payload.segment), far.arriving(payload.segment)
    assert not arrival.write(content[:-1])
    assert not far.has(payload.segment)
    arrival.give_up()
    assert files(far) == []
    run.drop(payload)


def test_more_than_was_announced_is_refused(run, far):
    payload = packed(run, np.ones(100_000))
    content, arrival = run.departing(payload.segment), far.arriving(payload.segment)
    with pytest.raises(OSError, match="more came than was announced"):
        arrival.write(memoryview(bytes(content) + b"x"))
    arrival.give_up()
    assert files(far) == []
    run.drop(payload)


def test_a_segment_that_comes_twice_is_there_once(run, far):
    payload = packed(run, np.ones(100_000))
    assert taken(run, far, payload.segment)
    assert taken(run, far, payload.segment)
    assert files(far) == [payload.segment.name]
    run.drop(payload)


@pytest.mark.parametrize("name", ["../x", "a-b-c", "token", ""])
def test_no_other_file_comes_or_goes(run, far, name):
    for look in (run.departing, far.arriving):
        with pytest.raises(PayloadLostError):
            look(m.Segment(name, (100_000,)))


def test_without_room_nothing_comes(run, far, monkeypatch):
    payload = packed(run, np.ones(100_000))
    monkeypatch.setattr(far, "_free_share", lambda more: 0.01)
    with pytest.raises(OSError, match="would be left"):
        far.arriving(payload.segment)
    run.drop(payload)
