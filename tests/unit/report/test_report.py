"""The figures of a report are those of the calls; advice is given where it is deserved."""

from __future__ import annotations

import base64
import csv
import json
import random
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from parsl_context.cli.reporting import write_tables
from parsl_context.report import records as r
from parsl_context.report.advice import advise
from parsl_context.report.analysis import analyse
from parsl_context.report.calls import Box, Columns, merged
from parsl_context.report.figures import Report
from parsl_context.report.page import page
from parsl_context.report.plots import write_picture
from parsl_context.report.summary import summary
from parsl_context.report.trace import write_trace
from parsl_context.wire.messages import WorkerId
from tests.unit.report import samples as s


def reported(*records: r.Record | list[r.Record], **began: Any) -> Report:
    flat = [each for record in records for each in (record if isinstance(record, list) else [record])]
    report, story = analyse([s.began(**began), s.known(), s.work(), *flat])
    report.advice = advise(report, story)
    return report


def packed_of(text: str) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r'id="data">([^<]+)<', text)
    assert found is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return data


# --- figures


def test_figures_are_those_of_the_calls() -> None:
    dice = random.Random(1)
    calls = [(10 + number * 0.1, number, dice.random() / 10) for number in range(1, 201)]
    report = reported(
        s.joined(), *s.built(9.0, load_s=2.0), s.ended(calls), r.ManagerLeft(at=40.0, manager=1, reason="x")
    )
    run_s = sum(run_s for _, _, run_s in calls)
    totals = report.totals
    assert (totals.tasks, totals.calls, totals.builds, totals.most_workers) == (200, 200, 1, 2)
    assert totals.run_s == pytest.approx(run_s, rel=1e-6)
    assert totals.available_s == pytest.approx(2 * 39.0)
    assert totals.slot_use == pytest.approx(run_s / 78.0, rel=1e-6)
    assert totals.saved_s == pytest.approx(199 * 2.0)
    assert report.contexts[0].hit_rate == pytest.approx(199 / 200)
    assert report.kinds[0].mean_wait_s == pytest.approx(0.499, abs=1e-5)
    assert [row.task for row in report.slowest[:3]] == [task for _, task, _ in sorted(calls, key=lambda c: -c[2])[:3]]
    width = report.lines["time"][1] - report.lines["time"][0]  # type: ignore[operator]
    assert sum(value or 0.0 for value in report.lines["busy"]) * width == pytest.approx(run_s, rel=0.01)


def test_a_worker_that_is_not_one_has_a_word() -> None:
    """Builds that workers share, and calls of which it is not known who ran them."""
    report = reported(s.joined(), *s.built(2.0, worker=None), *s.built(2.0), s.ended([(3.0, 1, 0.5)]))
    assert [row.worker for row in report.workers] == [0, "shared"]
    assert [row.worker for row in report.builds] == ["shared", 0]
    assert [lane["name"] for lane in report.timeline["lanes"]] == ["n1 0", "n1 shared"]
    lost = reported(s.joined(), s.ended([(3.0, 1, 0.5)], worker=r.NO_WORKER))
    assert [row.worker for row in lost.workers] == [row.worker for row in lost.slowest] == ["unknown"]
    assert lost.timeline["lanes"][0]["name"] == "n1 unknown"
    assert "65535" not in json.dumps([report.tables(), lost.tables()])


def test_blocks_of_a_run_that_is_over_are_not_said_to_run() -> None:
    blocks = [
        r.BlockSeen(at=0.5, block="0", state="RUNNING", job="7"),
        r.BlockSeen(at=0.5, block="1", state="PENDING", job="8"),
        r.BlockSeen(at=0.5, block="2", state="FAILED", job="9"),
    ]
    goes_on = reported(*blocks, s.joined())
    assert [row.state for row in goes_on.blocks] == ["running", "pending", "failed"]
    over = reported(*blocks, s.joined(), r.Ended(at=9.0, reason="the executor shut down"))
    assert [row.state for row in over.blocks] == ["running when the run ended", "pending when the run ended", "failed"]


def test_memory_is_that_of_the_instances_that_are_there() -> None:
    """One that was given up takes none, however often it is built again."""
    drop = r.Dropped(at=20.0, manager=1, context=s.MODEL, worker=WorkerId(0), was_evicted=True)
    report = reported(
        s.joined(), *s.built(10.0, size_bytes=100), drop, *s.built(40.0, size_bytes=100), s.ended([(50.0, 1, 1.0)])
    )
    at = dict(zip(report.lines["time"], report.lines["memory"], strict=True))
    assert [value for time, value in at.items() if time and 21 < time < 39] == [0] * sum(21 < (t or 0) < 39 for t in at)
    assert max(value or 0 for value in at.values()) == 100


def test_calls_of_a_worker_do_not_overlap_and_start_no_later_than_they_can() -> None:
    """Results that came together: each call ended before the next began."""
    columns = Columns()
    for row in s.ended([(1.0, 1, 0.2), (5.0, 2, 0.4), (5.0, 3, 0.5), (5.0, 4, 0.3)]).unpack():
        columns.add(row)
    boxes = columns.boxes()
    assert [(round(box.start, 3), round(box.end, 3)) for box in boxes] == [
        (0.8, 1.0),
        (3.8, 4.2),
        (4.2, 4.7),
        (4.7, 5.0),
    ]


def test_calls_of_a_batch_are_one_box() -> None:
    columns = Columns()
    for row in s.ended([(2.0, 3, 0.0), (2.0, 2, 0.0), (2.0, 1, 0.5), (3.0, 4, 0.1)]).unpack():
        columns.add(row)
    assert [box.calls for box in columns.boxes()] == [3, 1]


def test_boxes_that_follow_each_other_are_merged_up_to_a_span() -> None:
    boxes = [Box(0, 1, 1, 1, 1.0), Box(1.1, 2, 1, 1, 0.9), Box(2, 3, 1, 1, 1.0), Box(5, 6, 1, 1, 1.0)]
    assert list(merged(boxes, 2.5)) == [Box(0, 2, 1, 2, 1.9), Box(2, 3, 1, 1, 1.0), Box(5, 6, 1, 1, 1.0)]


def test_boxes_of_several_kinds_share_the_time_in_proportion() -> None:
    boxes = [Box(0, 3, 1, 1, 3.0), Box(3, 4, 2, 5, 1.0), Box(4, 7, 1, 1, 3.0), Box(7, 8, 2, 5, 1.0)]
    assert list(merged(boxes, 10)) == [Box(0, 6, 1, 2, 6.0), Box(6, 8, 2, 10, 2.0)]


def test_a_page_holds_all_and_asks_for_nothing() -> None:
    report = reported(s.joined(), *s.built(9.0), s.ended([(10.0 + n, n, 0.5) for n in range(1, 50)]))
    text = page(report)
    data = packed_of(text)
    assert data["totals"][0]["calls"] == 49
    assert sum(data["timeline"]["lanes"][0]["calls"][3::5]) == 49
    assert not re.search(r'(src|href)="|url\(|@import|fetch\(|XMLHttpRequest', text)
    assert "{{" not in text.partition("<script>")[0]


def test_many_calls_make_no_large_page() -> None:
    calls = [(n / 1000, n, 0.0004 * (n % 3)) for n in range(1, 100_001)]
    report = reported(s.joined(at=0.0, slots=4), *(s.ended(calls[w::4], worker=w) for w in range(4)))
    text = page(report)
    assert len(text) < 1_000_000
    assert sum(sum(lane["calls"][3::5]) for lane in packed_of(text)["timeline"]["lanes"]) == 100_000


def test_calls_of_kinds_that_take_turns_make_no_large_page() -> None:
    rows = [r.EndedRow(n / 1000, n, 1 + n % 3, 1, 0, 0, 1, 0.0009, 0.001, 0.5) for n in range(1, 100_001)]
    calls = r.CallsEnded(rows=b"".join(r.ended_row.pack(*row) for row in rows))
    report = reported(s.work(2, "caption"), s.work(3, "embed"), s.joined(at=0.0), calls)
    text = page(report)
    assert len(text) < 1_000_000
    lane = packed_of(text)["timeline"]["lanes"][0]["calls"]
    assert 10_000 < len(lane) / 5 <= 60_000
    assert sum(lane[3::5]) == 100_000


def test_more_workers_than_can_be_shown_are_shown_as_nodes() -> None:
    joined = [s.joined(number, host=f"n{number}", at=0.0, slots=64) for number in range(1, 6)]
    calls = [s.ended([(n / 10, 1000 * m + n, 0.05)], manager=m, worker=n) for m in range(1, 6) for n in range(1, 65)]
    timeline = reported(joined, calls).timeline  # type: ignore[arg-type]
    assert timeline["of"] == "nodes"
    assert [lane["name"] for lane in timeline["lanes"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert sum(sum(lane["calls"][3::5]) for lane in timeline["lanes"]) == 320


def test_tables_and_traces_are_files_that_others_read(tmp_path: Path) -> None:
    records: list[r.Record] = [s.began(), s.known(), s.work(), s.joined(), *s.built(2.0), s.ended([(3.0, 1, 0.5)])]
    report, _ = analyse(records)
    write_tables(report.tables(), tmp_path)
    with (tmp_path / "contexts.csv").open() as file:
        assert [row["builds"] for row in csv.DictReader(file)] == ["1"]
    write_trace(records, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"] == [
        ("classify", 2.5e6, 0.5e6),
        ("builds model('a.pt')", 1e6, 1e6),
    ]


def test_a_report_can_be_drawn(tmp_path: Path) -> None:
    write_picture(reported(s.joined(), *s.built(2.0), s.ended([(3.0, 1, 0.5), (4.0, 2, 0.5)])), tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_a_summary_names_what_matters() -> None:
    text = summary(reported(s.joined(), *s.built(2.0), s.ended([(3.0, 1, 0.5), (4.0, 2, 0.5)])))
    assert "contexts: 2 calls in 4 s, 2 in a second, on 2 workers of 1 node in 1 block" in text
    assert "model('a.pt'): 1 build in 1 s each, 2 calls" in text


# --- advice


def taking_turns(reloads: int) -> list[r.Record]:
    """Two contexts in one worker that take each other's place."""
    found: list[r.Record] = [
        s.known(s.WORDS, "words()"),
        s.work(2, "caption", (s.WORDS,)),
        s.joined(memory_bytes=10**9),
    ]
    for turn in range(reloads):
        mine, other = ((s.MODEL, s.WORDS), (s.WORDS, s.MODEL))[turn % 2]
        at = 10.0 + 4 * turn
        found.append(r.Dropped(at=at - 3, manager=1, context=other, worker=WorkerId(0), was_evicted=True))
        found += s.built(at, context=mine, load_s=3.0, size_bytes=7 * 10**8)
        found.append(s.ended([(at + 0.5, turn + 1, 0.5)], what=1 + turn % 2))
    return found


def test_contexts_that_take_turns() -> None:
    (thrashing, budget) = reported(*taking_turns(12)).advice
    assert "built again" in thrashing
    assert "context_memory_gb" in thrashing
    assert "take 1.4 GB together" in budget


def test_contexts_that_take_turns_in_a_worker_that_may_keep_one() -> None:
    records = [record for record in taking_turns(12) if not isinstance(record, r.ManagerJoined)]
    advice = reported(s.joined(), *records, contexts_per_worker=1).advice
    assert "raise max_contexts_per_worker (it is 1)" in advice[0]


def test_builds_that_take_no_time_are_not_worth_a_word() -> None:
    cheap = [
        record.__class__(**{**{name: getattr(record, name) for name in record.__struct_fields__}, "load_s": 0.001})
        if isinstance(record, r.BuildEnded)
        else record
        for record in taking_turns(12)
    ]
    assert not any("built again" in sentence for sentence in reported(*cheap).advice)


def test_code_that_carries_data() -> None:
    heavy = s.work(code_bytes=40_000_000)
    assert "App classify carries 40.0 MB" in reported(heavy, s.joined(), s.ended([(2.0, 1, 0.5)])).advice[0]
    known = s.known(code_bytes=25_000_000)
    assert "Context model('a.pt') carries 25.0 MB" in reported(known, s.joined(), s.ended([(2.0, 1, 0.5)])).advice[0]


def test_calls_that_are_too_short_for_one_by_one() -> None:
    calls = [(2 + n / 1000, n, 0.0001) for n in range(1, 15_001)]
    assert "classify.map(...)" in reported(s.joined(), *s.built(1.9), s.ended(calls)).advice[0]


def test_workers_that_wait_for_a_second_copy() -> None:
    calls = [(2.0 + n, n, 0.95) for n in range(1, 31)]
    waits = [s.pulse(2.0 + n, (1, 60 - n, n + 1, 0.0)) for n in range(30)]
    report = reported(
        s.joined(slots=4, memory_bytes=10**10), *s.built(2.0, size_bytes=6 * 10**9), s.ended(calls), *waits
    )
    assert "1 of 4 workers could have it" in report.advice[0]
    assert "share='node'" in report.advice[0]


def test_contexts_that_are_built_for_every_call() -> None:
    fresh = [s.known(reuse="disk"), s.work(fresh=True), s.joined()]
    builds = [record for n in range(5) for record in s.built(3.0 + 2 * n)]
    report = reported(*fresh, *builds, s.ended([(3.5 + 2 * n, n + 1, 0.5) for n in range(5)]))
    assert "with reuse='memory' it is built once per worker" in report.advice[0]


def test_workers_that_have_nothing_to_do() -> None:
    calls = [(5.0 * n, n, 0.05) for n in range(1, 20)]
    report = reported(s.joined(at=0.0, slots=8), *s.built(1.0), s.ended(calls))
    assert "the script makes calls more slowly than they end" in report.advice[0]


RUNS: dict[str, list[r.Record]] = {
    "one context, long calls": [
        s.joined(), *s.built(2.0), *s.built(2.0, worker=1), s.ended([(3.0 + n, n, 0.9) for n in range(40)]),
        s.ended([(3.0 + n, 40 + n, 0.9) for n in range(40)], worker=1),
    ],
    "short calls, in chunks": [
        s.joined(), *s.built(2.0),
        r.CallsEnded(rows=b"".join(
            r.ended_row.pack(2 + n / 20, n, 1, 1, 0, 0, 500, 0.05, 0.06, 0.5) for n in range(1, 200)
        )),
    ],
    "a context that was given up once, unused": [
        s.joined(), *s.built(2.0, size_bytes=10**9), s.ended([(3.0 + n, n, 0.9) for n in range(40)]),
        r.Dropped(at=44.0, manager=1, context=s.MODEL, worker=WorkerId(0), was_evicted=True),
    ],
    "two contexts that fit": [
        s.known(s.WORDS, "words()"), s.work(2, "caption", (s.WORDS,)), s.joined(),
        *s.built(2.0, size_bytes=10**9), *s.built(2.0, worker=1, context=s.WORDS, size_bytes=10**9),
        s.ended([(3.0 + n, n, 0.9) for n in range(40)]),
        s.ended([(3.0 + n, 40 + n, 0.9) for n in range(40)], what=2, worker=1),
    ],
    "a node that was lost, and its contexts built again": [
        s.joined(), *s.built(2.0), s.ended([(3.0 + n, n, 0.9) for n in range(20)]),
        r.ManagerLeft(at=24.0, manager=1, reason="lost"), s.joined(2, at=25.0), *s.built(27.0, manager=2),
        s.ended([(28.0 + n, 20 + n, 0.9) for n in range(20)], manager=2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_does_well_hears_no_advice(name: str) -> None:
    assert reported(*RUNS[name]).advice == []
