"""The live view fits the terminal: whole columns go, and no word and no number is cut."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from parsl_context.cli.tables import Column, Fitted, lines_of, shortened, shown_columns
from parsl_context.cli.top import View
from parsl_context.report import records as r
from parsl_context.report.segments import FOLDER, frame
from parsl_context.wire.messages import Digest
from tests.unit.report import samples as s

NAMES = ("classifier('resnet50-imagenet.pt', device='cuda:0')", "vocabulary('english')", "tables(1000000)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The log of a run with everything that there is to show, in long words and large numbers."""
    contexts = [Digest(f"d-{number}") for number in range(len(NAMES))]
    records: list[r.Record] = [
        s.began(wall_s=time.time() - 4000.0, label="gpu_executor"),
        *(s.known(digest, name) for digest, name in zip(contexts, NAMES, strict=True)),
        *(s.work(number, f"classify_images_{number}", [digest]) for number, digest in enumerate(contexts, 1)),
        r.BlockSeen(at=1.0, block="0", state="RUNNING", job="12345678", text="None"),
        r.BlockSeen(
            at=2.0, block="1", state="PENDING", job="12345679", text="AssocMaxJobsLimit of the account project"
        ),
        *(s.joined(n, host=f"nid00{1000 + n}.cluster.example.org", slots=64, ends_in_s=7000.0) for n in (1, 2)),
        *s.built(30.0, size_bytes=12_345_678_901, context=contexts[0]),
        *s.built(40.0, size_bytes=2_345_678_901, context=contexts[1], worker=1),
        r.BuildBegan(at=3900.0, manager=2, context=contexts[2], worker=None),
        s.ended([(40.0 + number / 10, number, 1.234) for number in range(1, 20_000)]),
        s.pulse(3999.0, *((number, 123_456, 20_001, 100.0) for number in (1, 2, 3)), held=128, priority=3.0),
    ]
    path = tmp_path / "gpu_executor" / FOLDER
    path.mkdir(parents=True)
    (path / "events-00000.bin").write_bytes(b"".join(map(frame, records)))
    return path


def shown(folder: Path, width: int) -> list[str]:
    console = Console(width=width, color_system=None, record=True, file=io.StringIO())
    console.print(View(folder).refresh().render())
    return console.export_text().splitlines()


def words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in re.findall(r"\w+", re.sub(r"\d+\.?\d* (s|min|h|ms)\b", "", line))}


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_nothing_is_cut_in_the_middle_of_a_word_or_a_number(folder: Path, width: int) -> None:
    whole = words(shown(folder, 400))
    narrow = shown(folder, width)
    assert max(map(len, narrow)) <= width
    assert words(narrow) <= whole


def test_columns_that_are_worth_most_are_there_at_80(folder: Path) -> None:
    text = "\n".join(shown(folder, 80))
    for head in ("block", "state", "workers", "calls done", "context", "builds", "wait", "waiting calls", "count"):
        assert re.search(rf"(^|  ){head}(  |$)", text, re.MULTILINE), head
    for value in ("19,999", "123,456", "classifier(", "64", "pending", "ready", "12345679"):
        assert value in text, value
    assert "again" not in text


def test_all_columns_are_there_where_there_is_room(folder: Path) -> None:
    text = "\n".join(shown(folder, 200))
    for head in ("the provider says", "memory of contexts", "copies", "again", "a build", "hits", "a call", "priority"):
        assert head in text, head
    assert NAMES[0] in text


def test_what_has_no_value_goes_first() -> None:
    columns = [Column("name", 1), Column("empty", 9), Column("size", 5)]
    assert shown_columns(columns, [["a", "", "1"]], 200) == [0, 2]
    assert shown_columns(columns, [["a", "", "1"]], 8) == [2]


@pytest.mark.parametrize(
    ("text", "width", "kept"),
    [
        ("vocabulary", 4, "vocabulary…"),
        ("classifier('resnet50.pt')", 16, "classifier('…"),
        ("one two three", 9, "one two…"),
        ("load(1000000)", 8, "load(…"),
        ("short", 5, "short"),
    ],
)
def test_names_end_where_a_word_ends(text: str, width: int, kept: str) -> None:
    assert shortened(text, width) == kept


def test_lines_end_between_parts() -> None:
    assert list(lines_of(["12 calls", "3 wait", "about 4 s left"], 18)) == ["12 calls  3 wait", "about 4 s left"]


def test_rows_that_are_left_out_are_counted() -> None:
    console = Console(width=40, color_system=None, record=True, file=io.StringIO())
    console.print(Fitted([Column("name", 1)], [["a"]], left_out=1200))
    assert "... and 1,200 more" in console.export_text()
