"""What `executor.contexts()` gives reads as a table."""

from parsl_context.executor.rows import ContextRows, with_files
from parsl_context.wire.rows import FileOrigin
from tests.unit.wire.test_rows import row


def test_rows_are_a_list_that_reads_as_a_table():
    rows = ContextRows(
        [row(), row(name="w()", where=None, host=None, block=None, loads=0, age_s=None, last_used_s=None)]
    )
    assert rows == [rows[0], rows[1]]
    assert isinstance(rows, list)
    head, line, first, second = repr(rows).splitlines()
    assert head.split() == [
        "context",
        "state",
        "host",
        "block",
        "workers",
        "builds",
        "each",
        "calls",
        "size",
        "age",
        "last",
        "call",
    ]
    assert set(line) == {"-", " "}
    assert first.split("  ")[0] == "model('a.pt')"
    for cell in ("ready", "node01", "3.93 s", "12", "1.2 GB", "90 s", "0.5 s ago"):
        assert cell in first
    assert second.split() == ["w()", "ready", "2", "0", "12", "1.2", "GB"]


def test_notes_have_a_column_if_there_are_some():
    assert "note" in repr(ContextRows([row(), row(note="it has started threads")])).splitlines()[0]
    assert repr(ContextRows()) == "<no contexts>"


def test_notebooks_show_names_as_they_are():
    shown = ContextRows([row(name="<b>(1 & 2)")])._repr_html_()
    assert "<td>&lt;b&gt;(1 &amp; 2)</td>" in shown
    assert "<b>" not in shown
    assert shown.count("<th>") == shown.count("<td>") == 11


WEIGHTS = FileOrigin("/data/w.pt", 2.0, {"the origin": 1, "m-2": 2, "m-3": 1})
OTHER = FileOrigin("/data/other", 1.0, {"the script": 1})


def test_each_row_has_the_files_of_its_context_on_its_node():
    rows = [row(digest="a", where="m-1"), row(digest="a", where="m-2"), row(digest="b", where="m-1"), row(where=None)]
    named = {"a": {"/data/w.pt"}, "d1": {"/data/w.pt"}}
    found = with_files(rows, {"m-1": [OTHER, WEIGHTS], "m-3": [WEIGHTS]}, lambda digest: named.get(digest, set()))
    assert [each.files for each in found] == [(WEIGHTS,), (), (), ()]


def test_the_table_has_a_column_for_them_only_if_there_are_any():
    assert "files from" not in repr(ContextRows([row()]))
    text = repr(ContextRows([row(files=(WEIGHTS, OTHER)), row()]))
    assert "other nodes 60%, the origin 20%, the script 20%" in text
