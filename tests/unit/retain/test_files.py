"""The files of a build have local paths, and stay as long as its instance."""

import os
from pathlib import Path

import pytest

from parsl_context.distribute import locks
from parsl_context.distribute.node import NodeStore
from parsl_context.distribute.packed import state_of
from parsl_context.errors import FileFetchError
from parsl_context.retain.arguments import NodeData, NodeFile
from parsl_context.retain.files import BuildFiles
from parsl_context.retain.instances import build
from tests.unit.builders import recording


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def files(tmp_path):
    store = NodeStore(tmp_path / "store")
    return BuildFiles(lambda: store)


def test_a_file_that_is_kept_has_the_path_of_its_copy(files, path, tmp_path):
    file, [same, other] = files.fill_in((NodeFile(str(path), is_kept=True), [NodeFile(str(path), is_kept=True), 3]))
    assert os.fspath(file).startswith(str(tmp_path / "store"))
    assert (file.url, os.fspath(same), other) == (str(path), os.fspath(file), 3)


def test_a_file_that_is_not_kept_is_used_where_it_is(files, path, tmp_path):
    file = files.fill_in(NodeFile(f"file://{path}", is_kept=False))
    assert os.fspath(file) == str(path)
    assert not (tmp_path / "store").exists()


def test_a_missing_file_is_an_error_in_either_case(files, tmp_path):
    for is_kept in (True, False):
        with pytest.raises(FileFetchError, match="missing cannot be had"):
            files.fill_in(NodeFile(str(tmp_path / "missing"), is_kept=is_kept))


@pytest.mark.parametrize("yields", [True, False])
def test_files_are_held_until_the_clean_up_is_over(files, path, tmp_path, yields):
    log = []
    files.fill_in(NodeFile(str(path), is_kept=True))
    made = build("model", recording(log, "model", 1) if yields else lambda: 1)
    files.release_after(made)
    (entry,) = [folder for folder in (tmp_path / "store").iterdir() if folder.is_dir()]
    assert locks.hold(entry, shared=False) is None
    made.end()
    assert len(log) == (2 if yields else 0)
    fd = locks.hold(entry, shared=False)
    assert fd is not None
    os.close(fd)


def test_an_instance_without_files_is_left_as_it_is(files):
    made = build("model", lambda: 1)
    files.release_after(made)
    assert made.cleanup is None


def data(path, is_kept=True):
    return NodeData("a.pt", state_of(str(path)), is_kept=is_kept)


def test_data_has_the_path_of_its_copy_under_both_names(files, path, tmp_path):
    places = files.places([data(path)])
    assert places == {"a.pt": places[str(path)], str(path): places["a.pt"]}
    assert places["a.pt"].startswith(str(tmp_path / "store"))


def test_a_folder_is_data_too(files, path, tmp_path):
    (tmp_path / "set").mkdir()
    path.rename(tmp_path / "set" / "a.pt")
    copy = files.places([data(tmp_path / "set")])[str(tmp_path / "set")]
    assert (Path(copy) / "a.pt").read_bytes() == b"weights"


def test_data_that_is_not_kept_is_used_where_it_is(files, path, tmp_path):
    assert files.places([data(path, is_kept=False)])["a.pt"] == str(path)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("is_kept", [True, False])
def test_data_in_another_state_than_is_wanted_is_refused(files, path, is_kept):
    """The instance would be another than the calls ask for."""
    wanted = data(path, is_kept=is_kept)
    path.write_bytes(b"renewed")
    with pytest.raises(FileFetchError, match="not what it was when the call was made"):
        files.places([wanted])


def test_data_is_held_until_the_instance_ends(files, path, tmp_path):
    files.places([data(path)])
    made = build("model", lambda: 1)
    files.release_after(made)
    (entry,) = [folder for folder in (tmp_path / "store").iterdir() if folder.is_dir()]
    assert locks.hold(entry, shared=False) is None
    made.end()
    fd = locks.hold(entry, shared=False)
    assert fd is not None
    os.close(fd)
