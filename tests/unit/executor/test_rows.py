"""What `executor.contexts()` gives reads as a table."""

from parsl_context.executor.rows import ContextRows
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
