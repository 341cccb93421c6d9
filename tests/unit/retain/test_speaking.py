"""What is printed and logged while it is about a context is labelled, line by line, whatever is done to the streams."""

import contextlib
import io
import logging
import os
import sys

import pytest

from parsl_context.retain.speaking import Voice, mark_logs

LABEL = "[worker 3, context classifier('a.pt')] "


@pytest.fixture
def about():
    return lambda name="classifier('a.pt')": Voice("worker 3").about(name)


@pytest.fixture
def print_to_file(monkeypatch, tmp_path):
    """Makes standard output a file, in the test itself: pytest puts its own there before. Gives what was written."""
    path = tmp_path / "out"
    with open(path, "w") as stream:

        def written():
            if not stream.closed:
                stream.flush()
            return path.read_text()

        def begin():
            monkeypatch.setattr(sys, "stdout", stream)
            return written

        yield begin
        monkeypatch.undo()


def test_each_line_is_labelled_once(about, print_to_file):
    out = print_to_file()
    with about():
        print("one", "line")
        sys.stdout.write("in ")
        sys.stdout.writelines(["parts\n", "two\nlines\n"])
    assert out() == "".join(f"{LABEL}{line}\n" for line in ("one line", "in parts", "two", "lines"))


def test_what_is_printed_before_and_after_is_not(about, print_to_file):
    out = print_to_file()
    print("before")
    with about():
        pass
    print("after")
    assert out() == "before\nafter\n"


def test_a_line_that_was_begun_is_ended(about, print_to_file):
    out = print_to_file()
    with about():
        print("no end", end="")
    print("a body")
    assert out() == f"{LABEL}no end\na body\n"


def test_a_context_that_another_requires_has_a_label_of_its_own(about, print_to_file):
    out = print_to_file()
    with about():
        with about("tokens()"):
            print("inner")
        print("outer")
    assert out() == f"[worker 3, context tokens()] inner\n{LABEL}outer\n"


def test_the_stream_is_as_it_was_in_all_but_that(about, print_to_file):
    out = print_to_file()
    before = sys.stdout
    with about():
        assert isinstance(sys.stdout, io.TextIOWrapper)
        assert sys.stdout.fileno() == before.fileno()
        assert sys.stdout.isatty() is False
        assert sys.stdout.encoding == before.encoding
        sys.stdout.reconfigure(line_buffering=True)
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.flush()
        assert print("x", file=sys.stdout) is None
        assert sys.stdout.write("four\n") == 5
    assert sys.stdout is before
    assert out() == f"bytes\n{LABEL}x\n{LABEL}four\n"


def test_a_stream_that_was_put_in_its_place_stays(about, print_to_file):
    print_to_file()
    other = io.StringIO()
    with about():
        sys.stdout = other
        print("elsewhere")
    assert sys.stdout is other
    with about():
        print("again")
    assert sys.stdout is other
    assert other.getvalue() == f"elsewhere\n{LABEL}again\n"


def test_a_stream_that_writes_to_the_one_before_labels_once(about, print_to_file):
    out = print_to_file()

    class Tee(io.TextIOBase):
        def __init__(self, stream):
            self.stream = stream

        def write(self, text):
            return self.stream.write(text)

    with about():
        sys.stdout = Tee(sys.stdout)
        print("built")
    print("a body")
    with about():
        print("cleaned")
    assert out() == f"{LABEL}built\na body\n{LABEL}cleaned\n"


def test_a_redirection_that_lasts_as_long_as_the_context_ends_with_it(about, print_to_file):
    out = print_to_file()
    before, other = sys.stdout, io.StringIO()
    redirection = contextlib.redirect_stdout(other)
    with about():
        redirection.__enter__()
        print("built")
    print("a body")
    with about():
        redirection.__exit__(None, None, None)
        print("cleaned")
    assert sys.stdout is before
    assert other.getvalue() == "built\na body\n"
    assert out() == f"{LABEL}cleaned\n"


def test_a_method_that_was_put_in_its_place_stays(about, print_to_file):
    out = print_to_file()
    seen = []

    def write(text, inner):
        seen.append(text)
        return inner(text)

    with about():
        inner = sys.stdout.write
        sys.stdout.write = lambda text: write(text, inner)
        print("built", end="\n")
    print("a body")
    assert "".join(seen) == "built\na body\n"
    assert out() == f"{LABEL}built\na body\n"


@pytest.mark.parametrize("stream", [None, "closed", "no file"])
def test_a_stream_that_is_not_there_changes_nothing(about, monkeypatch, stream):
    if stream == "closed":
        closed = io.StringIO()
        closed.close()
        stream = closed
    monkeypatch.setattr(sys, "stdout", stream)
    with about():
        pass
    assert sys.stdout is stream


def test_a_stream_that_is_closed_while_it_is_about_a_context_is_closed(about, print_to_file):
    print_to_file()
    before = sys.stdout
    with about():
        print("begun", end="")
        sys.stdout.close()
    assert sys.stdout is before
    assert before.closed


def test_what_waits_to_be_written_is_so_before_a_process_is_forked(about, print_to_file):
    """Or each worker that is forked would write it again."""
    print_to_file()
    with about():
        print("once")
    assert os.stat(sys.stdout.fileno()).st_size == len(LABEL + "once\n")


def test_records_carry_the_label_in_log_files(about, tmp_path):
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("parsl")
    logger.addHandler(handler)
    try:
        mark_logs()
        with about():
            logger.warning("100 %% of %s", "it")
        logger.warning("nothing %s", "special")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text() == f"WARNING: {LABEL}100 % of it\nWARNING: nothing special\n"


def test_records_have_worker_and_context_as_attributes(about):
    """Parsl's JSON logs write those whose names begin with `parsl.`."""
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(vars(record))

    handler, logger = Keep(), logging.getLogger("parsl")
    logger.addHandler(handler)
    try:
        mark_logs()
        with about():
            logger.warning("word")
        logger.warning("word")
    finally:
        logger.removeHandler(handler)
    assert (records[0]["parsl.worker"], records[0]["parsl.context"]) == ("worker 3", "classifier('a.pt')")
    assert "parsl.context" not in records[1]
