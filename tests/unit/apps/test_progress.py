"""What `map(progress=True)` shows, and when it asks what is waited for."""

import threading

import pytest

from parsl_context.apps import progress
from parsl_context.apps.progress import progress_text, waiting_text
from parsl_context.wire.rows import ContextRow


def row(name="classifier('a.pt')", **changes):
    fields = {
        "name": name, "digest": name, "state": "building", "where": "m-1", "workers": 0, "loads": 0, "calls": 0,
        "load_s": 0.0, "bytes": 0, "last_used_s": None, "building": 2, "building_s": 6.2, "usual_s": 8.1,
    }  # fmt: skip
    return ContextRow(**{**fields, **changes})


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], ""),
        ([row(building=0, state="ready")], ""),
        ([row()], "building classifier('a.pt') on 2 workers, 6 of about 8 s"),
        ([row("classifier()", building=1, usual_s=None)], "building classifier on 1 worker, for 6 s"),
        ([row(usual_s=2.5)], "building classifier('a.pt') on 2 workers, for 6 s, it used to take 2.5 s"),
        ([row(), row(where="m-2", building_s=7.0)], "building classifier('a.pt') on 4 workers, 7 of about 8 s"),
        ([row(shared=True, building=1)], "building classifier('a.pt') on 1 node, 6 of about 8 s"),
        (
            [row(), row("words()", building=1)],
            "building classifier('a.pt') on 2 workers, 6 of about 8 s, and 1 other context",
        ),
        ([row("elsewhere()")], ""),
    ],
)  # fmt: skip
def test_builds_of_the_contexts_of_an_app_are_told(rows, text):
    assert waiting_text(rows, {"classifier", "words"}, has_workers=True) == text


def test_without_workers_that_is_what_is_waited_for():
    assert waiting_text([], {"classifier"}, has_workers=False) == "waiting for workers"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("f", 0, None, 3.2, ""), "f: 0 done, 3 s"),
        (("f", 1200, 4800, 10.0, ""), "f: 1,200 of 4,800 (25%), 10 s, about 30 s left"),
        (("f", 0, 10, 2.0, "building x"), "f: 0 of 10 (0%), 2 s; building x"),
        (("f", 10, 10, 2.0, ""), "f: 10 of 10 (100%), 2 s"),
        (("f", 0, 0, 0.0, ""), "f: 0 of 0 (0%), 0 s"),
    ],
)
def test_progress_is_a_line(given, text):
    assert progress_text(*given) == text


class Recorder:
    def __init__(self, wanted):
        self.shown, self.wanted, self.has_come = [], wanted, threading.Event()

    def show(self, done, note):
        self.shown.append((done, note))
        if self.wanted == (done, note):
            self.has_come.set()

    def end(self, done):
        self.shown.append((done, "end"))


def tracked(monkeypatch, wanted, results, why):
    monkeypatch.setattr(progress, "_REFRESH_S", 0.001)
    monkeypatch.setattr(progress, "_LOOK_S", 0.002)
    recorder = Recorder(wanted)
    return recorder, progress._tracked(results(recorder), lambda: recorder, why)


def test_where_no_result_comes_it_says_why(monkeypatch):
    def results(recorder):
        yield 1
        assert recorder.has_come.wait(10)
        yield 2

    recorder, given = tracked(monkeypatch, (1, "building"), results, lambda: "building")
    assert list(given) == [1, 2]
    assert recorder.shown[-1] == (2, "end")


def test_an_executor_that_does_not_answer_ends_no_map(monkeypatch):
    asked = threading.Event()

    def fails():
        asked.set()
        raise RuntimeError("The interchange has ended.")

    def results(recorder):
        assert asked.wait(10)
        yield 1

    recorder, given = tracked(monkeypatch, None, results, fails)
    assert list(given) == [1]
    assert not any(note not in ("", "end") for _, note in recorder.shown)


def test_a_map_that_is_left_is_closed_and_nothing_more_is_shown(monkeypatch):
    closed = []

    def results(recorder):
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    recorder, given = tracked(monkeypatch, None, results, lambda: "")
    next(given)
    given.close()
    assert closed == [True]
    assert recorder.shown[-1] == (0, "end")
    assert not [thread for thread in threading.enumerate() if thread.name == "ContextApp-progress"]
