"""Contents by digest, folders, and several places of a store."""

import contextlib
import getpass
import hashlib
import logging
import os
import stat
import threading

import pytest

from parsl_context.distribute import folders, records, trees
from parsl_context.distribute.node import NodeStore, store_of_this_node
from parsl_context.distribute.packed import state_of
from parsl_context.distribute.records import parse_sha256
from parsl_context.errors import FileFetchError

MB = 1 << 20
CONTENT = b"weights" * 1000


def sha256(content=CONTENT):
    return parse_sha256(hashlib.sha256(content).hexdigest())


@pytest.fixture
def store(tmp_path):
    return NodeStore(tmp_path / "store")


@pytest.fixture
def holds():
    with contextlib.ExitStack() as stack:
        yield stack


def put(store, content=CONTENT):
    """A content in the store, held by nobody."""
    with contextlib.ExitStack() as holds, store.receiving(sha256(content), len(content)) as part:
        part.path.write_bytes(content)
        return part.settle(holds)


def whole(folder):
    """The entries of a store, each of which is hashed."""
    found = list(folders.entries(folder)) if folder.exists() else []
    for entry in found:
        assert (record := records.read(entry)) is not None, entry
        assert records.problem_of(entry, record, thorough=True) is None
    return {entry.name for entry in found}


def test_a_content_is_found_by_its_digest(store, holds):
    assert store.blob(sha256(), holds) is None
    path = put(store)
    assert store.blob(sha256(), holds) == path
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (CONTENT, 0o400)


def test_a_content_has_the_name_that_is_wanted(store, holds):
    put(store)
    paths = [store.blob(sha256(), holds, name=name) for name in ("a.pt", "b.npz", "a.pt")]
    assert [path.name for path in paths] == ["a.pt", "b.npz", "a.pt"]
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert store.blob(sha256(), holds, verify=True) is not None
    with pytest.raises(ValueError, match="no name of a file"):
        store.blob(sha256(), holds, name="../x")


@pytest.mark.parametrize("text", ["", "x" * 64, "../" + "0" * 61, "A" * 64, "0" * 64 + "\n"])
def test_a_digest_that_others_send_is_looked_at_before_it_is_a_path(text):
    with pytest.raises(ValueError, match="no SHA-256"):
        parse_sha256(text)


def test_the_space_is_taken_before_anything_comes(store):
    with store.receiving(sha256(), 3 * MB) as part:
        status = part.path.stat()
        assert (status.st_size, part.is_resumed, part.is_there) == (3 * MB, False, False)
        assert status.st_blocks * 512 >= 3 * MB


def test_nothing_is_there_before_it_has_settled(store, holds):
    with store.receiving(sha256(), len(CONTENT)) as part:
        part.path.write_bytes(CONTENT)
        assert store.blob(sha256(), holds) is None
        assert part.settle(holds).read_bytes() == CONTENT


def test_what_is_not_what_its_digest_says_is_refused_and_gone(store, holds, tmp_path):
    with store.receiving(sha256(), len(CONTENT)) as part:
        part.path.write_bytes(b"W" + CONTENT[1:])
        with pytest.raises(FileFetchError, match="another content than its digest says"):
            part.settle(holds)
    assert store.blob(sha256(), holds) is None
    assert list(folders.unfinished(tmp_path / "store")) == []
    put(store)


def test_what_was_left_half_made_is_gone_on_with(store, holds):
    with store.receiving(sha256(), len(CONTENT)) as part:
        with part.path.open("r+b") as file:
            file.write(CONTENT[:100])
        (part.folder / "chunks").write_text("1")
    with store.receiving(sha256(), len(CONTENT)) as part:
        assert (part.is_resumed, (part.folder / "chunks").read_text()) == (True, "1")
        assert part.path.read_bytes()[:100] == CONTENT[:100]
        with part.path.open("r+b") as file:
            file.write(CONTENT)
        path = part.settle(holds)
    assert {each.name for each in path.parent.iterdir()} == {"content", records.NAME}


def test_what_was_left_with_another_size_is_not_gone_on_with(store):
    with store.receiving(sha256(), 5):
        pass
    with store.receiving(sha256(), len(CONTENT)) as part:
        assert (part.is_resumed, part.path.stat().st_size) == (False, len(CONTENT))


def test_one_receives_and_others_wait_or_are_told(store, holds):
    waiting = threading.Event()
    got = []

    def another():
        waiting.set()
        with contextlib.ExitStack() as own, NodeStore(store.folders).receiving(sha256(), len(CONTENT)) as part:
            got.append((part.is_there, part.settle(own).read_bytes()))

    with store.receiving(sha256(), len(CONTENT)) as part:
        with pytest.raises(BlockingIOError), store.receiving(sha256(), len(CONTENT), wait=False):
            pass
        thread = threading.Thread(target=another)
        thread.start()
        waiting.wait()
        part.path.write_bytes(CONTENT)
        part.settle(holds)
    thread.join()
    assert got == [(True, CONTENT)]


def test_half_made_contents_go_first_and_those_that_come_stay(tmp_path, holds):
    store = NodeStore(tmp_path / "store", 3 * MB)
    kept = put(store, b"k" * MB)
    with store.receiving(sha256(), MB):
        pass
    with store.receiving(sha256(b"alive"), MB // 2) as alive:
        put(store, b"n" * MB)
        assert alive.path.exists()
    assert kept.exists()
    assert len(list(folders.unfinished(tmp_path / "store"))) == 1


def test_what_is_used_is_not_given_up(tmp_path, holds):
    store = NodeStore(tmp_path / "store", 2 * MB)
    put(store, b"a" * MB)
    assert store.blob(sha256(b"a" * MB), holds) is not None
    with pytest.raises(FileFetchError, match=r"no room for its 0\.00157 GB"), store.receiving(sha256(), MB + MB // 2):
        pass
    holds.close()
    with store.receiving(sha256(), MB + MB // 2):
        pass


# --- folders and files by path


def tree(tmp_path):
    top = tmp_path / "model"
    (top / "weights" / "empty").mkdir(parents=True)
    (top / "config.json").write_text("{}")
    (top / "weights" / "a.pt").write_bytes(CONTENT)
    (top / "weights" / "run").write_text("#!/bin/sh\n")
    (top / "weights" / "run").chmod(0o755)
    (top / "latest.pt").symlink_to("weights/a.pt")
    return top


def test_a_folder_is_copied_whole_and_read_only(store, tmp_path, holds):
    copy = store.fetch_path(state_of(str(tree(tmp_path))), holds)
    assert (copy.name, copy.is_relative_to(tmp_path / "store")) == ("model", True)
    assert (copy / "latest.pt").read_bytes() == (copy / "weights" / "a.pt").read_bytes() == CONTENT
    assert (copy / "weights" / "empty").is_dir()
    modes = {path: stat.S_IMODE((copy / path).stat().st_mode) for path in ("", "weights", "config.json", "weights/run")}
    assert modes == {"": 0o500, "weights": 0o500, "config.json": 0o400, "weights/run": 0o500}
    assert len(whole(tmp_path / "store")) == 1


def test_a_folder_is_copied_once_until_something_in_it_changes(store, tmp_path, holds):
    top = tree(tmp_path)
    copy = store.fetch_path(state_of(str(top)), holds)
    assert NodeStore(store.folders).fetch_path(state_of(str(top)), holds) == copy
    (top / "weights" / "a.pt").write_bytes(b"renewed")
    again = store.fetch_path(state_of(str(top)), holds)
    assert (again != copy, (again / "weights" / "a.pt").read_bytes()) == (True, b"renewed")
    assert (copy / "weights" / "a.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["a#b?.pt;c", "a b.pt", ".parsl-context.json", "ä.pt"])
def test_a_file_by_path_may_have_any_name(store, tmp_path, holds, name):
    (tmp_path / name).write_bytes(CONTENT)
    copies = {store.fetch_path(state_of(str(tmp_path / name)), holds) for _ in range(2)}
    (copy,) = copies
    assert copy.read_bytes() == CONTENT
    assert copy.name == (name if name != records.NAME else "file")


def test_a_folder_may_be_removed_again(tmp_path, holds):
    """Although it is read-only."""
    store = NodeStore(tmp_path / "store", MB)
    with contextlib.ExitStack() as brief:
        store.fetch_path(state_of(str(tree(tmp_path))), brief)
    (tmp_path / "large").write_bytes(b"x" * (MB - 12_000))
    store.fetch_path(state_of(str(tmp_path / "large")), holds)
    assert len(whole(tmp_path / "store")) == 1
    assert list(folders.unfinished(tmp_path / "store")) == []


def spoil_circle(top):
    (top / "weights" / "again").symlink_to("..")


def spoil_dangling(top):
    (top / "weights" / "gone").symlink_to("nowhere")


def spoil_pipe(top):
    os.mkfifo(top / "weights" / "pipe")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_circle, "weights/again.* is a symbolic link to a folder that it is in"),
        (spoil_dangling, "there is no .*weights/gone here"),
        (spoil_pipe, "weights/pipe in it is neither a file nor a folder"),
    ],
)
def test_what_cannot_be_copied_is_named(store, tmp_path, holds, spoil, says):
    top = tree(tmp_path)
    spoil(top)
    with pytest.raises(FileFetchError, match=says):
        store.fetch_path(state_of(str(top)), holds)


@pytest.mark.parametrize("changes", ["content", "member"])
def test_a_folder_that_changes_while_it_is_copied_is_refused(store, tmp_path, holds, changes, monkeypatch):
    """Whenever it does: here right after it was looked at, and it would be named by the state that is gone."""
    top = tree(tmp_path)
    stamp_of = trees.stamp_of

    def look(path):
        stamp = stamp_of(path)
        (top / "config.json" if changes == "content" else top / "new").write_text("changed")
        return stamp

    monkeypatch.setattr(trees, "stamp_of", look)
    with pytest.raises(FileFetchError, match="changed while it was copied"):
        store.fetch_path(state_of(str(top)), holds)
    assert not whole(tmp_path / "store")
    assert list(folders.unfinished(tmp_path / "store")) == []


# --- several folders


def test_the_first_folder_is_used_and_the_next_when_it_is_full(tmp_path, holds, caplog):
    caplog.set_level(logging.WARNING, "parsl")
    store = NodeStore([tmp_path / "ram", tmp_path / "disk"], MB + MB // 4)
    first = (tmp_path / "first", tmp_path / "second", tmp_path / "third")
    for path in first:
        path.write_bytes(path.name[0].encode() * (MB // 2))
    where = [store.fetch(str(path), holds).parts[len(tmp_path.parts)] for path in first]
    assert where == ["ram", "ram", "disk"]
    (tmp_path / "fourth").write_bytes(b"4" * MB)
    with pytest.raises(FileFetchError, match=r"no room.*ram may take.*no room.*disk may take.*Give the store another"):
        store.fetch(str(tmp_path / "fourth"), holds)
    told = [record.message for record in caplog.records if "passes over" in record.message]
    assert len([line for line in told if f"passes over {tmp_path}/ram" in line]) == 1


def test_what_is_in_a_later_folder_is_used_from_there(tmp_path, holds):
    path = tmp_path / "a.pt"
    path.write_bytes(CONTENT)
    old = NodeStore(tmp_path / "disk").fetch(str(path), holds)
    put(NodeStore(tmp_path / "disk"))
    both = NodeStore([tmp_path / "ram", tmp_path / "disk"])
    assert both.fetch(str(path), holds) == old
    assert both.blob(sha256(), holds).is_relative_to(tmp_path / "disk")
    assert not (tmp_path / "ram").exists()


def test_the_node_says_where(tmp_path, holds, caplog):
    caplog.set_level(logging.WARNING, "parsl")
    environment = {"FAST": str(tmp_path / "fast"), "PARSL_CONTEXT_STORE": f"$SLOW/x:{tmp_path}/named"}
    assert store_of_this_node(environment).folders == (tmp_path / "named",)
    assert "$SLOW/x cannot be used: SLOW is not set on this node" in caplog.text
    store = store_of_this_node(environment, ["$FAST/store"])
    assert store.folders == (tmp_path / "fast" / "store",)


@pytest.mark.parametrize("environment", [{}, {"USER": ""}])
def test_a_node_whose_jobs_have_no_user_name_in_their_environment_knows_it_still(tmp_path, environment):
    name = getpass.getuser()
    assert store_of_this_node(environment, [f"{tmp_path}/$USER"]).folders == (tmp_path / name,)
    named = {**environment, "PARSL_CONTEXT_STORE": f"{tmp_path}/of-${{USER}}"}
    assert store_of_this_node(named).folders == (tmp_path / f"of-{name}",)


def test_where_nothing_can_be_used_the_error_says_what_to_do(holds, tmp_path):
    (tmp_path / "a.pt").write_bytes(CONTENT)
    store = store_of_this_node({}, ["$NVME/x"])
    with pytest.raises(
        FileFetchError, match=r"NVME is not set on this node\. Give the store another folder.*node_store"
    ):
        store.fetch(str(tmp_path / "a.pt"), holds)
