"""Rows of contexts read as one line each."""

import pytest

from parsl_context.wire.rows import ContextRow, FileOrigin, duration_text, size_text


def row(**changes):
    fields = {
        "name": "model('a.pt')", "digest": "d1", "state": "ready", "where": "m-1", "workers": 2, "loads": 2,
        "calls": 12, "load_s": 3.93, "bytes": 1_200_000_000, "last_used_s": 0.5, "host": "node01", "block": "0",
        "age_s": 90.0,
    }  # fmt: skip
    return ContextRow(**{**fields, **changes})


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (
            row(),
            "<ContextRow model('a.pt'): ready on node01 (block 0, manager m-1), 2 workers, built 2 times in 3.93 s "
            "each, 90 s old, 12 calls, the last 0.5 s ago, 1.2 GB>",
        ),
        (
            row(workers=1, loads=1, calls=1, evictions=1, note="it has started threads"),
            "<ContextRow model('a.pt'): ready on node01 (block 0, manager m-1), 1 worker, built once in 3.93 s, 90 s "
            "old, 1 call, the last 0.5 s ago, 1.2 GB, given up once; it has started threads>",
        ),
        (
            row(
                state="building",
                workers=0,
                loads=0,
                calls=0,
                bytes=0,
                last_used_s=None,
                age_s=None,
                building=1,
                building_s=2,
            ),
            "<ContextRow model('a.pt'): building on node01 (block 0, manager m-1), 0 workers, builds for 2 s, 0 calls>",
        ),
        (
            row(state="cold", where=None, workers=0, loads=0, calls=0, bytes=0, last_used_s=None, age_s=None),
            "<ContextRow model('a.pt'): cold, 0 calls>",
        ),
    ],
)
def test_a_row_is_one_line(shown, text):
    assert repr(shown) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (None, ""),
        (0.00123, "1.2 ms"),
        (0.5, "0.5 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (7200, "2.0 h"),
        (1e6, "11.6 d"),
    ],
)
def test_durations_read_as_people_say_them(duration_s, text):
    assert duration_text(duration_s) == text


@pytest.mark.parametrize(("size", "text"), [(None, ""), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**15, "2000.0 TB")])
def test_sizes_read_as_people_say_them(size, text):
    assert size_text(size) == text


def test_a_row_says_where_its_files_came_from():
    file = FileOrigin("/data/w.pt", 2.0, {"the origin": 3, "m-2": 5})
    assert repr(row(files=(file,))).endswith("got /data/w.pt in 2 s (chunks: 3 of the origin, 5 of m-2)>")
