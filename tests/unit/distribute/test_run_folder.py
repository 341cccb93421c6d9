"""A manager's folder on the node is gone with it; what a killed one left goes when the next one starts, and no more."""

import fcntl
import os
import stat
import subprocess
import sys

import pytest

from parsl_context.distribute import run_folder as run_folders
from parsl_context.distribute.desk import listen
from parsl_context.distribute.run_folder import run_folder

MARKER = "parsl-context-run"


def left_behind(parent, name="parsl-context-run-left", marker=run_folders._OURS):
    """What a manager leaves that is killed."""
    folder = parent / name
    (folder / "trees" / "x").mkdir(parents=True)
    (folder / "trees" / "x" / "module.py").write_text("x = 1")
    os.chmod(folder / "trees" / "x" / "module.py", 0o400)
    if marker is not None:
        (folder / MARKER).write_text(marker)
    return folder


def test_a_folder_is_this_user_s_alone_and_gone_at_the_end(tmp_path):
    with run_folder(str(tmp_path)) as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "trees").mkdir()
        (folder / "trees" / "file").write_text("x")
        (folder / "away").symlink_to(tmp_path)
        with listen(folder):
            pass
    assert list(tmp_path.iterdir()) == []


def test_it_lies_among_temporary_files_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folders.tempfile, "tempdir", str(tmp_path))
    with run_folder() as folder:
        assert folder.parent == tmp_path


def test_it_is_gone_after_an_error_too(tmp_path):
    with pytest.raises(KeyError):
        with run_folder(str(tmp_path)):
            raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_manager_left_is_removed_by_the_next(tmp_path):
    folder = left_behind(tmp_path)
    with run_folder(str(tmp_path)):
        assert not folder.exists()


def test_what_is_in_use_stays(tmp_path):
    """Also by a process that was forked from the one that made it, which may be gone."""
    with run_folder(str(tmp_path)) as first:
        with run_folder(str(tmp_path)) as second:
            assert first.exists()
        assert first.exists()
    assert not first.exists()
    assert not second.exists()


def test_the_lock_is_kept_by_forked_processes(tmp_path):
    program = f"""
import os, sys
from parsl_context.distribute.run_folder import run_folder
with run_folder({str(tmp_path)!r}) as folder:
    if os.fork():
        print(folder, flush=True)
        os._exit(1)
    sys.stdin.read()
    os._exit(0)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes, text=True) as process:
        folder = tmp_path / os.path.basename(process.stdout.readline().strip())
        assert process.wait(10) == 1
        with run_folder(str(tmp_path)):
            assert folder.exists()
        process.stdin.close()
        process.stdout.read()  # until the child has ended, too
        with run_folder(str(tmp_path)):
            assert not folder.exists()


@pytest.mark.parametrize("marker", [None, "", "Files of somebody else.\n"])
def test_what_has_not_our_marker_stays(tmp_path, marker):
    folder = left_behind(tmp_path, marker=marker)
    with run_folder(str(tmp_path)):
        assert (folder / "trees" / "x" / "module.py").exists()


def test_a_marker_that_is_a_link_counts_for_nothing(tmp_path):
    folder = left_behind(tmp_path, marker=None)
    (tmp_path / "elsewhere").write_text(run_folders._OURS)
    (folder / MARKER).symlink_to(tmp_path / "elsewhere")
    with run_folder(str(tmp_path)):
        assert (folder / "trees").exists()


def test_a_marker_that_would_block_the_reader_counts_for_nothing(tmp_path):
    folder = left_behind(tmp_path, marker=None)
    os.mkfifo(folder / MARKER)
    with run_folder(str(tmp_path)):
        assert (folder / "trees").exists()


def test_what_has_another_name_stays(tmp_path):
    folder = left_behind(tmp_path, name="parsl-context-ru")
    with run_folder(str(tmp_path)):
        assert folder.exists()


def test_a_link_to_a_folder_stays_and_what_it_leads_to(tmp_path):
    (tmp_path / "run").mkdir()
    folder = left_behind(tmp_path)
    os.rename(folder, tmp_path / "target")
    (tmp_path / "run" / "parsl-context-run-link").symlink_to(tmp_path / "target")
    with run_folder(str(tmp_path / "run")):
        assert (tmp_path / "target" / "trees").exists()


def test_what_belongs_to_another_user_stays(tmp_path, monkeypatch):
    folder = left_behind(tmp_path)
    monkeypatch.setattr(run_folders.os, "getuid", lambda: os.geteuid() + 1)
    with run_folder(str(tmp_path)):
        assert (folder / "trees").exists()


def test_what_somebody_has_locked_stays(tmp_path):
    folder = left_behind(tmp_path)
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        with run_folder(str(tmp_path)):
            assert (folder / "trees").exists()
    finally:
        os.close(fd)


def test_what_was_half_removed_is_removed_by_the_next(tmp_path, monkeypatch):
    """The marker goes last."""
    folder = left_behind(tmp_path)
    kept = run_folders.shutil.rmtree
    monkeypatch.setattr(run_folders.shutil, "rmtree", lambda path, **options: (_ for _ in ()).throw(OSError))
    with run_folder(str(tmp_path)):
        assert (folder / MARKER).exists()
    monkeypatch.setattr(run_folders.shutil, "rmtree", kept)
    with run_folder(str(tmp_path)):
        assert not folder.exists()
