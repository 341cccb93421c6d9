"""What workers have printed is printed in whole lines; neither a slow terminal nor a flood holds results up."""

import io
import sys
import threading
import time

import pytest

from parsl_context.executor import printer as module
from parsl_context.executor.printer import Labels, Printer
from parsl_context.retain import echoing
from parsl_context.wire import messages as m


def said(*packets, manager="m-1", host="node01", dropped=0):
    frames = [
        echoing.encode(who, [echoing.Line(text, is_error, is_labelled) for text, is_error, is_labelled in lines], 0)
        for who, lines in packets
    ]
    return m.Said(manager=manager, host=host, lines=0, dropped=dropped), frames


@pytest.fixture
def printer():
    made = Printer()
    yield made
    made.close()
    assert made._thread is None or not made._thread.is_alive()


def test_lines_are_printed_where_they_belong_before_anything_else_is_done(printer, capsys):
    printer.said(*said(("worker 0", [("one", False, False), ("careful", True, False), ("two", False, False)])))
    assert capsys.readouterr() == ("one\ntwo\n", "careful\n")


def test_lines_have_a_label_once_several_workers_speak(printer, capsys):
    printer.said(*said(("worker 0", [("one", False, False)])))
    printer.said(*said(("worker 1", [("two", False, False)]), ("worker 0", [("three", False, False)])))
    printer.said(*said(("worker 0", [("[worker 0, context a()] building", False, True)])))
    printer.said(*said(("worker 0", [("four", False, False)]), manager="m-2", host="node02"))
    assert capsys.readouterr().out.splitlines() == [
        "one", "[worker 1] two", "[worker 0] three", "[worker 0, context a()] building", "[worker 0 on node02] four",
    ]  # fmt: skip


def test_one_worker_has_no_label():
    labels = Labels()
    assert {labels.label("m-1", "node01", "worker 0") for _ in range(3)} == {""}


def test_dropped_lines_are_counted_and_said(printer, capsys):
    printer.said(*said(("worker 0", [("one", False, False)]), dropped=1200))
    printer.said(*said(dropped=34))
    printer.close()
    out, err = capsys.readouterr()
    assert out == "one\n"
    counts = [int(line[1:].split()[0].replace(",", "")) for line in err.splitlines()]
    assert sum(counts) == 1234


class Stuck(io.StringIO):
    """A terminal that somebody has stopped."""

    def __init__(self):
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text):
        self.goes_on.wait(10)
        return super().write(text)


def test_a_terminal_that_is_stopped_holds_nobody_up_and_what_waits_is_bounded(monkeypatch, printer, capsys):
    stuck = Stuck()
    monkeypatch.setattr(sys, "stdout", stuck)
    line = "x" * 1000
    begun = time.monotonic()
    for _ in range(200):
        printer.said(*said(("worker 0", [(line, False, False)] * 100)))
    assert time.monotonic() - begun < 2.0
    assert sum(len(entry.text) for entry in printer._waiting) <= module._MOST_CHARACTERS + 2000
    stuck.goes_on.set()
    printer.close()
    shown = stuck.getvalue().count(line)
    err = capsys.readouterr().err
    dropped = sum(int(text[1:].split()[0].replace(",", "")) for text in err.splitlines())
    assert shown + dropped == 20_000
    assert dropped > 10_000


def test_a_stream_that_is_closed_is_no_error(monkeypatch, printer):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    printer.said(*said(("worker 0", [("one", False, False)])))
    monkeypatch.setattr(sys, "stdout", None)
    printer.said(*said(("worker 0", [("two", False, False)])))


def test_what_is_no_packet_is_logged_and_left_out(printer, capsys, caplog):
    message, frames = said(("worker 0", [("one", False, False)]))
    printer.said(message, [b"\0" * 8 + b"\xc1", *frames])
    assert capsys.readouterr().out == "one\n"
