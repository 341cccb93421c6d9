"""A store keeps whole files, the right version of each, within its bound."""

import contextlib
import http.client
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import locks, origins, records
from parsl_context.distribute.node import NodeStore, store_of_this_node
from parsl_context.errors import ConfigurationError, FileFetchError

MB = 1 << 20


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def holds():
    with contextlib.ExitStack() as stack:
        yield stack


def origin(tmp_path, name="a.pt", content=b"weights"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def entries(folder):
    return {path.name for path in folder.glob("*/*")} - {records.NAME}


def test_a_file_is_copied_once_and_is_read_only(folder, tmp_path, holds):
    path = origin(tmp_path)
    copies = {NodeStore(folder).fetch(url, holds) for url in [f"file://{path}"] * 3}
    (copy,) = copies
    assert (copy.name, copy.read_bytes()) == ("a.pt", b"weights")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_changed_file_is_another_one(folder, tmp_path, holds):
    path = origin(tmp_path)
    old = NodeStore(folder).fetch(str(path), holds)
    os.utime(origin(tmp_path, content=b"renewed"), ns=(1, 1))
    assert NodeStore(folder).fetch(str(path), holds).read_bytes() == b"renewed"
    assert old.read_bytes() == b"weights"


@pytest.mark.parametrize("spoil", [lambda copy: os.truncate(copy, 3), os.unlink])
def test_a_spoilt_copy_is_fetched_again(folder, tmp_path, holds, spoil):
    path = origin(tmp_path)
    copy = NodeStore(folder).fetch(str(path), holds)
    copy.chmod(0o600)
    spoil(copy)
    assert NodeStore(folder).fetch(str(path), holds).read_bytes() == b"weights"


def test_what_was_used_least_recently_goes_first(folder, tmp_path):
    paths = [origin(tmp_path, name, b"x" * MB) for name in ("a", "b", "c")]
    store = NodeStore(folder, 2 * MB + MB // 2)
    for i, path in enumerate([paths[0], paths[1], paths[0]]):
        with contextlib.ExitStack() as holds:
            os.utime(store.fetch(str(path), holds).parent, (i, i))
    with contextlib.ExitStack() as holds:
        store.fetch(str(paths[2]), holds)
    assert entries(folder) == {"a", "c"}


def test_what_is_in_use_stays_and_the_error_says_what_to_do(folder, tmp_path, holds):
    store = NodeStore(folder, 2 * MB)
    kept = store.fetch(str(origin(tmp_path, "a", b"x" * MB)), holds)
    large = origin(tmp_path, "b", b"y" * (MB + MB // 2))
    with pytest.raises(
        FileFetchError, match=r"b cannot be had on node .*no room for its 0\.00157 GB.*STORE_GB"
    ) as caught:
        store.fetch(str(large), holds)
    assert (caught.value.url, kept.read_bytes()[:1]) == (str(large), b"x")
    holds.close()
    store.fetch(str(large), holds)
    assert entries(folder) == {"b"}


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_receives_is_not(folder, tmp_path, holds):
    NodeStore(folder).fetch(str(origin(tmp_path, "first")), holds)
    for name in ("temporary-dead", "temporary-alive"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(b"x")
    fd = locks.hold(folder / "temporary-alive", shared=True)
    NodeStore(folder).fetch(str(origin(tmp_path)), holds)
    os.close(fd)
    assert not (folder / "temporary-dead").exists()
    assert (folder / "temporary-alive" / "file").exists()


def test_a_private_copy_goes_when_it_is_let_go(folder, tmp_path):
    path = origin(tmp_path)
    with contextlib.ExitStack() as holds:
        copies = [NodeStore(folder).fetch_privately(str(path), holds) for _ in range(2)]
        assert [copy.read_bytes() for copy in copies] == [b"weights"] * 2
        assert copies[0] != copies[1]
    assert entries(folder) == set()


@pytest.mark.parametrize(
    ("name", "says"), [("missing", "no such file here; give a path that all nodes see"), ("", "no regular file")]
)
def test_what_cannot_be_read_is_named(folder, tmp_path, holds, name, says):
    with pytest.raises(FileFetchError, match=says):
        NodeStore(folder).fetch(f"file://{tmp_path}/{name}", holds)


def test_an_empty_file_is_a_file(folder, tmp_path, holds):
    assert NodeStore(folder).fetch(str(origin(tmp_path, content=b"")), holds).read_bytes() == b""


def test_a_folder_of_others_is_not_trusted(folder, tmp_path, holds):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(FileFetchError, match=r"this user alone may write.*PARSL_CONTEXT_STORE"):
        NodeStore(folder).fetch(str(origin(tmp_path)), holds)


def test_a_folder_that_holds_something_else_is_refused_and_kept(folder, tmp_path, holds):
    """As where the variable names a folder of the user's with things in it."""
    for name in ("thesis", "temporary-notes", "0" * 32):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(b"x" * MB)
    folder.chmod(0o700)
    with pytest.raises(FileFetchError, match=r"store is no store: 0{32} is in it. Give the store a folder of its own"):
        NodeStore(folder, MB // 2).fetch(str(origin(tmp_path)), holds)
    assert len(list(folder.glob("*/file"))) == 3


@pytest.mark.parametrize("makes", ["words", "link"])
def test_only_our_words_make_a_store(folder, tmp_path, holds, makes):
    folder.mkdir(mode=0o700)
    (folder / "thesis").mkdir()
    if makes == "words":
        (folder / "parsl-context-store").write_text("of something else")
    else:
        NodeStore(tmp_path / "another").fetch(str(origin(tmp_path)), holds)
        (folder / "parsl-context-store").symlink_to(tmp_path / "another" / "parsl-context-store")
    with pytest.raises(FileFetchError, match="thesis is in it"):
        NodeStore(folder).fetch(str(origin(tmp_path)), holds)


def test_what_others_put_into_a_store_stays(folder, tmp_path):
    store = NodeStore(folder, 2 * MB)
    with contextlib.ExitStack() as holds:
        store.fetch(str(origin(tmp_path, "a", b"x" * MB)), holds)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "file").write_bytes(b"x" * MB)
    (folder / ("0" * 32)).symlink_to(tmp_path / "thesis")
    (tmp_path / "thesis").rename(folder / "thesis")
    with contextlib.ExitStack() as holds:
        store.fetch(str(origin(tmp_path, "b", b"y" * (MB + MB // 2))), holds)
    assert entries(folder) == {"b", "file"}
    assert (folder / ("0" * 32)).is_symlink()


def test_a_store_whose_maker_died_is_made_by_the_next(folder, tmp_path, holds):
    folder.mkdir(mode=0o700)
    for name in ("lock-parsl-context-store", "parsl-context-store.new"):
        (folder / name).touch()
    assert NodeStore(folder).fetch(str(origin(tmp_path)), holds).read_bytes() == b"weights"


def test_many_may_make_a_store_at_once(folder, tmp_path):
    paths = [origin(tmp_path, f"{number}") for number in range(16)]

    def fetch(path):
        with contextlib.ExitStack() as holds:
            return NodeStore(folder).fetch(str(path), holds).read_bytes()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(fetch, paths)) == {b"weights"}


def test_a_store_in_use_is_locked(folder, tmp_path):
    """Who would empty it sees that a run uses it."""
    with contextlib.ExitStack() as holds:
        NodeStore(folder).fetch(str(origin(tmp_path)), holds)
        assert locks.hold(folder, shared=False) is None
    fd = locks.hold(folder, shared=False)
    assert fd is not None
    os.close(fd)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, holds):
    path = origin(tmp_path)
    with pytest.raises(FileFetchError, match=r"a.pt/store cannot be made"):
        NodeStore(path / "store").fetch(str(path), holds)


def test_the_environment_says_where_and_how_large(folder, tmp_path, holds):
    store = store_of_this_node({"PARSL_CONTEXT_STORE": str(folder), "PARSL_CONTEXT_STORE_GB": "0.0001"})
    with pytest.raises(FileFetchError, match=r"may take 0\.0001 GB"):
        store.fetch(str(origin(tmp_path, content=b"x" * MB)), holds)
    with pytest.raises(ConfigurationError, match="STORE_GB='much' must be a number"):
        store_of_this_node({"PARSL_CONTEXT_STORE_GB": "much"})


def test_the_default_folder_is_one_per_user(tmp_path, holds, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copy = store_of_this_node({}).fetch(str(origin(tmp_path)), holds)
    assert copy.is_relative_to(tmp_path / f"parsl-context-store-{os.getuid()}")


def test_a_file_that_comes_slowly_holds_no_other_up(folder, tmp_path, holds):
    """Whatever its name hashes to."""
    slow = origin(tmp_path, "slow")
    entry = digest_bytes(f"{slow} {origins.version(str(slow)).identity}".encode())
    folder.mkdir(mode=0o700)
    with locks.locked(folder / f"lock-{entry}"):
        for number in range(300):
            path = origin(tmp_path, f"{number}", b"%d" % number)
            assert NodeStore(folder).fetch(str(path), holds).read_bytes() == b"%d" % number


def test_locks_leave_no_files_behind(folder, tmp_path, holds):
    NodeStore(folder).fetch(str(origin(tmp_path)), holds)
    assert list(folder.glob("lock-*")) == []


def test_a_lock_is_one_at_a_time_also_where_its_file_goes(tmp_path):
    inside, most, lock = [], [], tmp_path / "lock"

    def work(_):
        with locks.locked(lock):
            inside.append(None)
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(400)))
    assert max(most) == 1


class Trickle(http.client.HTTPResponse):
    """A server that sends a byte a second."""

    def __init__(self, clock):
        self.clock, self.headers = clock, {}

    def read1(self, size):
        self.clock.now += 1.0
        return b"x"


def test_a_download_that_hardly_gets_on_is_given_up():
    clock = SimpleNamespace(now=0.0)
    source = origins.Source("http://host/file", Trickle(clock), clock=lambda: clock.now)
    for _ in range(59):
        source.read(1 << 20)
    with pytest.raises(FileFetchError, match="has sent 60 bytes in 60 s"):
        source.read(1 << 20)
    assert clock.now == origins.PATIENCE_S


def test_a_copy_is_named_by_the_version_that_was_read(folder, tmp_path, holds, monkeypatch):
    """Another one may come between the look at the file and its opening; the old one may come back."""
    path = origin(tmp_path)
    first = origins.version(str(path))
    path.rename(tmp_path / "first")
    origin(tmp_path, content=b"renewed")
    with monkeypatch.context() as patch:
        patch.setattr(origins, "version", lambda url: first)
        assert NodeStore(folder).fetch(str(path), holds).read_bytes() == b"renewed"
    (tmp_path / "first").rename(path)
    assert NodeStore(folder).fetch(str(path), holds).read_bytes() == b"weights"
