"""What makes a process unfit to be forked from, and what a forked child gets of its own."""

import errno
import os
import random
import sys
import threading

import numpy as np
import pytest

from parsl_context.retain import sharing


def in_child(check):
    """Run a check in a forked child; its assertion errors come back as a failure."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_thread_pools_that_start_later_have_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for name in ("MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(name, "2")
    before = sharing.hold_threads()
    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert before["OMP_NUM_THREADS"] == "7"
    sharing.make_distinct(before, threads=1)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert not {"MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM"} & set(os.environ)


@pytest.mark.process
def test_a_process_with_a_thread_is_unfit():
    def check():
        assert sharing.why_unsafe() is None
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        assert "1 threads of its own" in (sharing.why_unsafe() or "")

    in_child(check)


@pytest.mark.process
def test_an_open_accelerator_makes_a_process_unfit(monkeypatch, tmp_path):
    device = tmp_path / "nvidia0"
    device.touch()
    monkeypatch.setattr(sharing, "_ACCELERATORS", __import__("re").compile(str(device)))

    def check():
        with device.open():
            assert "uses an accelerator" in (sharing.why_unsafe() or "")
        assert sharing.why_unsafe() is None

    in_child(check)


@pytest.mark.process
def test_the_watcher_of_progress_bars_is_ended():
    class TMonitor(threading.Thread):
        __module__ = "tqdm._monitor"

        def __init__(self):
            super().__init__(daemon=True)
            self.ended = threading.Event()

        def run(self):
            self.ended.wait()

        def exit(self):
            self.ended.set()
            self.join()

    def check():
        TMonitor().start()
        sharing.stop_helpers()
        assert sharing.why_unsafe() is None

    in_child(check)


@pytest.mark.process
def test_children_do_not_share_random_numbers_or_file_positions(tmp_path):
    path = tmp_path / "lines"
    path.write_text("0123456789")
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 3, os.SEEK_SET)
    has_torch = "torch" in sys.modules  # another test may have
    state, drawn = random.getstate(), np.random.get_state()[1].copy()

    def check():
        sharing.make_distinct({}, threads=1)
        assert random.getstate() != state
        assert not np.array_equal(np.random.get_state()[1], drawn)
        assert os.read(fd, 2) == b"34"
        assert ("torch" in sys.modules) == has_torch, "it is not imported for this"

    in_child(check)
    assert os.read(fd, 2) == b"34", "the child has moved its own position only"
    os.close(fd)


def test_a_process_that_may_open_nothing_more_is_not_forked_from(monkeypatch):
    """What is forked from it would have the same limit."""

    def listdir(path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(sharing.os, "listdir", listdir)
    assert sharing.why_unsafe().startswith("it cannot be looked at (Too many open files)")
