"""A folder as one file: any part of it can be read, and what is made of it is the folder again, or nothing."""

import contextlib
import os
import random

import pytest

from parsl_context.distribute import packed, receiving, trees
from parsl_context.distribute.packed import PackedFolder, packed_folder, state_of
from parsl_context.distribute.tier import Tier
from parsl_context.errors import FileFetchError
from tests.unit.distribute.test_store import tree


@pytest.fixture
def top(tmp_path):
    found = tree(tmp_path)
    (found / "none").write_bytes(b"")
    (found / "many").mkdir()
    for number in range(50):
        (found / "many" / f"ä{number}").write_bytes(os.urandom(number * 7))
    return found


def as_file(top, path):
    packed = PackedFolder(trees.listing(str(top)))
    path.write_bytes(packed.read(0, packed.size_bytes))
    return path


def unpacked(file, state, tmp_path, holds):
    tier = Tier(tmp_path / "store", None)
    tier.open(holds)
    folder, record = receiving.unpack_folder(tier, file, state, holds)
    return folder / record.name


def content(top):
    listed = trees.listing(str(top))
    files = {each.place: ((top / each.place).read_bytes(), each.is_program) for each in listed.files}
    return listed.folders, files


def test_it_is_the_same_folder_again(top, tmp_path):
    with contextlib.ExitStack() as holds:
        copy = unpacked(as_file(top, tmp_path / "file"), state_of(str(top)), tmp_path, holds)
        assert content(copy) == content(top)
        assert copy.name == "model"


def test_names_that_are_no_texts_come_through(top, tmp_path):
    with open(os.path.join(os.fsencode(top), b"\xff"), "wb") as file:
        file.write(b"strange")
    with contextlib.ExitStack() as holds:
        copy = unpacked(as_file(top, tmp_path / "file"), state_of(str(top)), tmp_path, holds)
        assert content(copy) == content(top)


def test_any_part_of_it_can_be_read(top, tmp_path):
    whole = as_file(top, tmp_path / "file").read_bytes()
    folder = packed_folder(str(top), state_of(str(top)).stamp)
    assert folder.size_bytes == len(whole) == state_of(str(top)).size_bytes
    choose = random.Random(1)
    for _ in range(500):
        start, size = choose.randrange(len(whole) + 10), choose.choice([0, 1, 7, 100, len(whole)])
        assert folder.read(start, size) == whole[start : start + size]


def test_a_folder_of_nothing_is_one_too(tmp_path):
    (tmp_path / "empty").mkdir()
    with contextlib.ExitStack() as holds:
        copy = unpacked(
            as_file(tmp_path / "empty", tmp_path / "file"), state_of(str(tmp_path / "empty")), tmp_path, holds
        )
        assert list(copy.iterdir()) == []


@pytest.mark.parametrize("change", ["content", "size", "gone"])
def test_a_file_that_changes_while_others_are_read_is_noticed(top, change):
    folder = packed_folder(str(top), state_of(str(top)).stamp)
    path = top / "many" / "ä40"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes(280 if change == "content" else 281))
    with pytest.raises(FileFetchError, match="cannot be read" if change == "gone" else "changed while it was copied"):
        folder.read(0, folder.size_bytes)


def test_another_state_is_not_served(top):
    stamp = state_of(str(top)).stamp
    (top / "more").touch()
    with pytest.raises(FileFetchError, match="changed while it was copied"):
        packed_folder(str(top), stamp)


def cut_head(data):
    return data[:20]


def cut_end(data):
    return data[:-1]


def other_length(data):
    return b"\xff" * 8 + data[8:]


def other_member(data):
    return data.replace(b"config.json", b"config.jsom", 1)


def nothing(data):
    return b""


@pytest.mark.parametrize("spoil", [cut_head, cut_end, other_length, other_member, nothing])
def test_what_is_not_that_folder_leaves_nothing(top, tmp_path, spoil):
    file = as_file(top, tmp_path / "file")
    file.write_bytes(spoil(file.read_bytes()))
    with contextlib.ExitStack() as holds, pytest.raises(FileFetchError):
        unpacked(file, state_of(str(top)), tmp_path, holds)
    assert [path.name for path in (tmp_path / "store").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("place", ["../out", "/out", "weights/../../out", "weights//out", "."])
def test_a_folder_that_would_reach_out_of_itself_is_refused(top, tmp_path, place, monkeypatch):
    """Whoever made it has made its stamp fit."""
    found = trees.listing(str(top))
    bad = trees.Listing(found.path, found.folders, (trees.Member(place, 1, 1, False),))
    head = PackedFolder(bad)._head
    (tmp_path / "file").write_bytes(head + b"x")
    state = packed.PathState(str(top), bad.stamp, len(head) + 1, is_folder=True)
    with contextlib.ExitStack() as holds, pytest.raises(FileFetchError, match="what came is another folder"):
        unpacked(tmp_path / "file", state, tmp_path, holds)
    assert not (tmp_path / "out").exists()
