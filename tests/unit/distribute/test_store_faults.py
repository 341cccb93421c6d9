"""Whatever happens to the store, a file is right, fetched again, or the error says why it cannot be had."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_context.distribute import folders, records
from parsl_context.distribute.node import NodeStore
from parsl_context.distribute.packed import state_of
from parsl_context.distribute.records import parse_sha256
from parsl_context.errors import FileFetchError
from tests.unit.distribute.test_store import CONTENT, put, sha256, tree, whole

MB = 1 << 20


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def holds():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def small(tmp_path):
    """A file system in memory of one megabyte."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("file systems are mounted by root")
    point = tmp_path / "small"
    point.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(point)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def fetched(folder):
    """The copy that a fetch of the file gives now, for nobody."""

    def fetch(path):
        with contextlib.ExitStack() as holds:
            return NodeStore(folder).fetch(str(path), holds)

    return fetch


# --- what is done to a copy


def flip(copy):
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.chmod(0o600)
    copy.write_bytes(data)
    copy.chmod(0o400)


def flip_and_set_the_time_back(copy):
    status = copy.stat()
    flip(copy)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(copy):
    copy.chmod(0o600)
    os.truncate(copy, 100)


def put_a_link_in_its_place(copy):
    other = copy.parent.parent.parent / "other"
    other.write_bytes(b"x" * len(CONTENT))
    copy.unlink()
    copy.symlink_to(other)


def put_a_folder_in_its_place(copy):
    copy.unlink()
    copy.mkdir()


def put_another_in_its_place(copy):
    copy.unlink()
    copy.write_bytes(b"x" * len(CONTENT))


def lose_the_record(copy):
    (copy.parent / records.NAME).unlink()


def garble_the_record(copy):
    (copy.parent / records.NAME).write_bytes(b'{"files": \xff')


SPOILS = [
    flip,
    flip_and_set_the_time_back,
    cut,
    Path.unlink,
    put_a_link_in_its_place,
    put_a_folder_in_its_place,
    put_another_in_its_place,
    lose_the_record,
    garble_the_record,
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_spoilt_copy_is_never_used_again(folder, path, holds, spoil):
    spoil(fetched(folder)(path))
    copy = NodeStore(folder).fetch(str(path), holds)
    assert copy.read_bytes() == CONTENT
    assert not copy.is_symlink()
    assert len(whole(folder)) == 1


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_spoilt_content_is_not_there(folder, holds, spoil):
    store = NodeStore(folder)
    spoil(put(store))
    assert store.blob(sha256(), holds) is None
    assert put(store).read_bytes() == CONTENT


@pytest.mark.parametrize("spoil", [flip, cut, Path.unlink, put_a_link_in_its_place, put_another_in_its_place])
@pytest.mark.parametrize("member", ["config.json", "weights/a.pt"])
def test_a_spoilt_folder_is_never_used_again(folder, tmp_path, holds, spoil, member):
    top = tree(tmp_path)
    (top / "config.json").write_bytes(CONTENT)
    copy = NodeStore(folder).fetch_path(state_of(str(top)), holds)
    (copy / member).parent.chmod(0o700)
    spoil(copy / member)
    again = NodeStore(folder).fetch_path(state_of(str(top)), holds)
    assert {(again / name).read_bytes() for name in ("config.json", "weights/a.pt", "latest.pt")} == {CONTENT}
    assert len(whole(folder)) == 1


@pytest.mark.parametrize("where", ["", "weights"])
def test_a_folder_into_which_something_was_put_is_copied_again(folder, tmp_path, holds, where):
    top = tree(tmp_path)
    copy = NodeStore(folder).fetch_path(state_of(str(top)), holds)
    (copy / where).chmod(0o700)
    (copy / where / "more").write_text("more")
    assert not (NodeStore(folder).fetch_path(state_of(str(top)), holds) / where / "more").exists()


def touched_by_nobody(copy):
    """Flip a byte as a disk does: the record knows the file as it is now."""
    flip(copy)
    record = json.loads((copy.parent / records.NAME).read_text())
    status = copy.stat()
    record["files"][copy.name]["stamp"] = [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    (copy.parent / records.NAME).write_text(json.dumps(record))


def test_what_a_disk_has_spoilt_is_found_on_request(folder, path, holds):
    touched_by_nobody(fetched(folder)(path))
    assert NodeStore(folder).fetch(str(path), holds, verify=True).read_bytes() == CONTENT
    store = NodeStore(folder)
    touched_by_nobody(put(store))
    assert store.blob(sha256(), holds, verify=True) is None


def test_what_may_not_have_reached_the_disk_before_a_crash_is_hashed(folder, path, holds, tmp_path, monkeypatch):
    touched_by_nobody(fetched(folder)(path))
    (tmp_path / "boot_id").write_text("the next boot")
    monkeypatch.setattr(records, "_BOOT", tmp_path / "boot_id")
    assert NodeStore(folder).fetch(str(path), holds).read_bytes() == CONTENT


def test_what_was_touched_and_is_right_is_hashed_once(folder, path, holds, monkeypatch):
    copy = fetched(folder)(path)
    os.utime(copy, (1, 1))
    hashed = []
    sha256_of = records.sha256_of
    monkeypatch.setattr(records, "sha256_of", lambda each: hashed.append(each) or sha256_of(each))
    for _ in range(2):
        assert NodeStore(folder).fetch(str(path), holds) == copy
    assert hashed == [copy]


# --- what is done to the folder of the store


def of_another_user(folder):
    if os.getuid() != 0:
        pytest.skip("folders are given away by root")
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, -1)


def open_to_the_group(folder):
    folder.mkdir()
    folder.chmod(0o770)


def open_to_all(folder):
    folder.mkdir()
    folder.chmod(0o777)


def a_link(folder):
    folder.with_name("elsewhere").mkdir(mode=0o700)
    folder.symlink_to("elsewhere")


def a_file(folder):
    folder.write_text("")


def a_link_to_nowhere(folder):
    folder.symlink_to("nowhere")


UNUSABLE = [
    (of_another_user, "it belongs to user 65534"),
    (open_to_the_group, "its mode is 770"),
    (open_to_all, "its mode is 777"),
    (a_link, "it is a symbolic link"),
    (a_file, "cannot be made"),
    (a_link_to_nowhere, "cannot be made"),
]


@pytest.mark.parametrize(("make", "says"), UNUSABLE)
def test_a_folder_that_is_not_ours_alone_is_passed_over(folder, path, tmp_path, holds, make, says, caplog):
    make(folder)
    copy = NodeStore([folder, tmp_path / "next"]).fetch(str(path), holds)
    assert (copy.read_bytes(), copy.is_relative_to(tmp_path / "next")) == (CONTENT, True)
    (line,) = [record.getMessage() for record in caplog.records if "passes over" in record.getMessage()]
    assert str(folder) in line
    assert says in line
    with pytest.raises(FileFetchError, match=rf"{folder}.*{says}.*Give the store another folder"):
        NodeStore(folder).fetch(str(path), holds)
    assert folder.is_symlink() or not folder.is_dir() or not list(folder.iterdir())


@pytest.mark.parametrize(("make", "says"), UNUSABLE)
def test_a_copy_in_a_folder_that_is_not_ours_alone_is_not_used(folder, path, tmp_path, holds, make, says):
    """As where another user has put it there."""
    fetched(folder)(path)
    folder.rename(tmp_path / "before")
    make(folder)
    if folder.is_dir():
        shutil.copytree(tmp_path / "before", folder, dirs_exist_ok=True)
        folder.chmod(
            folder.stat().st_mode | (0o777 if make is open_to_all else 0o770 if make is open_to_the_group else 0)
        )
    assert NodeStore([folder, tmp_path / "next"]).fetch(str(path), holds).is_relative_to(tmp_path / "next")


def test_a_read_only_file_system_is_passed_over(small, path, tmp_path, holds):
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    copy = NodeStore([small / "store", tmp_path / "next"]).fetch(str(path), holds)
    assert copy.is_relative_to(tmp_path / "next")
    with pytest.raises(FileFetchError, match="Read-only file system"):
        NodeStore(small / "store").fetch(str(path), holds)


def test_one_that_has_become_read_only_is_passed_over(small, path, tmp_path, holds):
    fetched(small / "store")(path)
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    (tmp_path / "b").write_bytes(CONTENT)
    assert NodeStore([small / "store", tmp_path / "next"]).fetch(str(tmp_path / "b"), holds).read_bytes() == CONTENT
    with pytest.raises(FileFetchError, match=r"store cannot be written to\. Give the store another folder"):
        NodeStore(small / "store").fetch(str(tmp_path / "b"), holds)


def test_a_link_with_the_name_of_an_entry_is_not_followed_and_not_removed(folder, path, tmp_path, holds):
    entry = fetched(folder)(path).parent
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileFetchError, match=rf"{entry} is in the way; remove it"):
        NodeStore(folder).fetch(str(path), holds)
    assert NodeStore([folder, tmp_path / "next"]).fetch(str(path), holds).is_relative_to(tmp_path / "next")
    assert entry.is_symlink()


# --- no room


def large(tmp_path, size=3 * MB):
    path = tmp_path / "large"
    path.write_bytes(b"x" * size)
    return path


def test_a_small_file_system_is_passed_over_for_what_is_larger(small, path, tmp_path, holds):
    store = NodeStore([small / "store", tmp_path / "next"])
    assert store.fetch(str(path), holds).is_relative_to(small)
    assert store.fetch(str(large(tmp_path)), holds).is_relative_to(tmp_path / "next")
    with pytest.raises(FileFetchError, match=r"no room for its 0\.00315 GB: .*small/store may take"):
        NodeStore(small / "store").fetch(str(tmp_path / "large"), holds)


@pytest.mark.parametrize("is_known", [True, False], ids=["size", "no size"])
@pytest.mark.parametrize("kind", ["file", "folder", "content"])
def test_a_full_disk_is_passed_over_and_nothing_is_left_on_it(small, tmp_path, holds, monkeypatch, kind, is_known):
    """Others may fill it: the bound of the store does not help. Where the size is not known it is full only later."""
    if not is_known:
        monkeypatch.setattr("os.posix_fallocate", lambda *_: None)
    path = large(tmp_path)

    def fetch(store):
        if kind == "content":
            with store.receiving(sha256(path.read_bytes()), 3 * MB) as part:
                part.path.write_bytes(path.read_bytes())
                return part.settle(holds)
        return store.fetch(str(path), holds) if kind == "file" else store.fetch_path(state_of(str(top)), holds)

    top = tmp_path / "top"
    top.mkdir()
    path = path.rename(top / "large")
    alone, both = NodeStore(small / "store", 9 * MB), NodeStore([small / "store", tmp_path / "next"], 9 * MB)
    if kind == "content" and not is_known:
        with pytest.raises(OSError, match="No space left"):  # whoever writes it sees it
            fetch(alone)
        return
    assert fetch(both).is_relative_to(tmp_path / "next")
    with pytest.raises(FileFetchError, match=rf"the disk of {small}/store is full; make room on it\. Give the store"):
        fetch(alone)
    assert list(folders.entries(small / "store")) == list(folders.unfinished(small / "store")) == []
    assert shutil.disk_usage(small).used < MB // 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_that_is_used_up_is_a_full_disk(folder, path, holds, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.posix_fallocate", refuse)
    with pytest.raises(FileFetchError, match=f"the disk of {folder} is full"):
        NodeStore(folder).fetch(str(path), holds)


def test_a_disk_that_cannot_be_written_is_passed_over(folder, path, tmp_path, holds, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.posix_fallocate", refuse)
    with pytest.raises(FileFetchError, match=rf"{folder} cannot be written to .*Input/output error"):
        NodeStore(folder).fetch(str(path), holds)


# --- processes that are killed, at whatever they do

KILLED = Path(__file__).with_name("killed.py")


@pytest.mark.parametrize("kind", ["file", "folder", "content"])
def test_a_process_that_is_killed_at_any_step_leaves_nothing_half_made_to_be_seen(tmp_path, kind):
    command = [sys.executable, str(KILLED), kind, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(KILLED.parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads(done.stdout)
    assert steps["killed"] > 20
    assert steps["wrong"] == []


def test_many_processes_at_once_each_get_what_is_right(folder, tmp_path):
    """With a store so small that they take things away from each other."""
    script = """
import contextlib, hashlib, random, sys
from pathlib import Path
from parsl_context.distribute.node import NodeStore
from parsl_context.distribute.packed import state_of
from parsl_context.distribute.records import parse_sha256
from parsl_context.errors import FileFetchError
store, origin, choice = NodeStore(Path(sys.argv[1]), 1 << 20), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
for _ in range(60):
    name = choice.choice("abcdef")
    content = name.encode() * 100_000
    digest = parse_sha256(hashlib.sha256(content).hexdigest())
    with contextlib.ExitStack() as holds:
        try:
            if choice.random() < 0.5:
                path = store.fetch(str(origin / name), holds)
            elif (path := store.blob(digest, holds)) is None:
                with store.receiving(digest, len(content)) as part:
                    if not part.is_there:
                        part.path.write_bytes(content)
                    path = part.settle(holds)
            assert path.read_bytes() == content, path
        except FileFetchError as error:
            assert "no room" in str(error) or "removed as soon as" in str(error), error
print("right")
"""
    for name in "abcdef":
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    command = [sys.executable, "-c", script, str(folder), str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for i in range(6)
    ]
    assert [process.communicate(timeout=50)[0] for process in processes] == ["right\n"] * 6
    whole(folder)
    assert list(folder.glob("lock-*")) == []


def test_a_digest_is_that_of_the_whole(path):
    assert records.sha256_of(path) == parse_sha256(hashlib.sha256(CONTENT).hexdigest())
