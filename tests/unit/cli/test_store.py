"""`parsl-context store` shows, cleans and verifies."""

import contextlib
import json
import os
import re

import pytest

from parsl_context.cli.main import main
from parsl_context.distribute import keeping
from parsl_context.distribute.keeping import Kept, to_clean
from parsl_context.distribute.node import NodeStore
from tests.unit.distribute.test_store import put
from tests.unit.distribute.test_store_faults import flip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PARSL_CONTEXT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "store"


@pytest.fixture
def holds():
    with contextlib.ExitStack() as stack:
        yield stack


def fetch(folder, tmp_path, name, holds, size=100_000):
    (tmp_path / name).write_bytes(name[:1].encode() * size)
    return NodeStore(folder).fetch(str(tmp_path / name), holds)


def run(capsys, *arguments):
    status = main(["store", *arguments])
    return status, re.sub(r"\s+", " ", capsys.readouterr().out)


def test_an_empty_one_is_no_error(capsys, folder):
    assert run(capsys, "ls") == (0, f"{folder}: nothing was stored there yet ")
    assert run(capsys, "clean", "--all") == (0, "Removed 0 entries of 0 B. ")
    assert run(capsys, "verify") == (0, "0 entries of 0 B looked at, 0 broken. ")
    assert not folder.exists()


def test_it_lists_what_is_there_and_who_uses_it(capsys, folder, tmp_path, holds):
    fetch(folder, tmp_path, "a.pt", holds)
    path = put(NodeStore(folder))
    os.utime(path.parent, (keeping.now() - 3 * 86_400,) * 2)
    status, shown = run(capsys, "ls")
    assert status == 0
    assert f"{folder}: 2 entries of 118.8 kB" in shown
    assert re.search(rf"a.pt │ \w{{12}} │ 106.5 kB │ just now │ \S+.*\({os.getpid()}\) │", shown)
    assert re.search(r"\(known by its digest\) │ \w{12} │ 12.3 kB │ 3 days ago │ │", shown)


def test_it_prints_data_for_programs(capsys, folder, tmp_path, holds):
    copy = fetch(folder, tmp_path, "a.pt", holds)
    main(["store", "ls", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["path"], row["source"], row["users"]) == (str(copy.parent), str(tmp_path / "a.pt"), [os.getpid()])


def test_looking_takes_nothing_away_from_a_run(capsys, folder, tmp_path, holds, monkeypatch):
    """As a lock would that is held for a moment: who wants the entry meanwhile would fetch it again."""
    fetch(folder, tmp_path, "a.pt", holds)
    holds.close()
    monkeypatch.setattr("fcntl.flock", lambda *_: pytest.fail("locked"))
    assert main(["store", "ls"]) == 0


def test_what_is_in_use_stays_when_all_is_removed(capsys, folder, tmp_path, holds):
    kept = fetch(folder, tmp_path, "kept", holds)
    with contextlib.ExitStack() as brief:
        gone = fetch(folder, tmp_path, "gone", brief)
    status, said = run(capsys, "clean", "--all")
    assert (status, kept.exists(), gone.exists()) == (0, True, False)
    assert re.search(rf"Removed 1 entry of 106.5 kB. In use by \S+.* \({os.getpid()}\): {tmp_path}/kept", said)


def test_what_is_half_made_and_locks_of_the_dead_go_too(capsys, folder, tmp_path):
    store = NodeStore(folder)
    put(store)
    with store.receiving("0" * 64, 5):
        pass
    (folder / "lock-dead").touch()
    (folder / "temporary-dead").mkdir()
    (folder / "notes").touch()
    assert run(capsys, "clean", "--all")[1].startswith("Removed 3 entries")
    assert {path.name for path in folder.iterdir()} == {"parsl-context-store", "notes"}


def kept(name, size, used, users=()):
    return Kept(path=name, source="", sha256=None, size_bytes=size, last_used=used, users=users)


@pytest.mark.parametrize(
    ("since", "most", "gone"),
    [
        (None, None, ""),
        (5.0, None, "ab"),
        (None, 60, ""),
        (None, 50, "a"),
        (None, 20, "abd"),
        (float("inf"), None, "abd"),
    ],
)
def test_what_was_used_least_recently_goes_first_and_never_what_is_in_use(since, most, gone):
    entries = [kept("d", 10, 9.0), kept("c", 20, 3.0, users=(7,)), kept("b", 20, 2.0), kept("a", 10, 1.0)]
    assert "".join(each.path for each in to_clean(entries, unused_since=since, most_bytes=most)) == gone


def test_it_is_cleaned_by_age_and_by_size(capsys, folder, tmp_path, holds):
    copies = [fetch(folder, tmp_path, name, holds) for name in "abc"]
    holds.close()
    for age, copy in enumerate(copies):
        os.utime(copy.parent, (keeping.now() - age * 86_400 - 10,) * 2)
    run(capsys, "clean", "--older-than", "2")
    assert [copy.exists() for copy in copies] == [True, True, False]
    run(capsys, "clean", "--to-gb", "0.0002")
    assert [copy.exists() for copy in copies] == [True, False, False]


def test_what_is_broken_is_removed_and_named(capsys, folder, tmp_path, holds):
    copies = [fetch(folder, tmp_path, name, holds) for name in "abc"]
    flip(copies[1])
    (copies[2].parent / ".parsl-context.json").unlink()
    status, said = run(capsys, "verify")
    assert (status, [copy.exists() for copy in copies]) == (1, [True, False, False])
    assert f"Removed {tmp_path}/b: b has another content than was written. It was in use by" in said
    assert f"Removed {copies[2].parent.name}: it has no record." in said
    assert "3 entries of" in said
    assert "2 broken" in said
    assert run(capsys, "verify")[0] == 0


def test_folders_that_are_no_store_are_left_alone(capsys, tmp_path, folder):
    (tmp_path / "mine" / ("0" * 32)).mkdir(parents=True)
    (tmp_path / "link").symlink_to("mine")
    for name in ("mine", "link"):
        for command in (["clean", "--all"], ["verify"], ["ls"]):
            assert main(["store", *command, "--folder", str(tmp_path / name)]) == 0
    assert (tmp_path / "mine" / ("0" * 32)).exists()


def test_a_folder_may_be_named(capsys, tmp_path, monkeypatch, holds):
    fetch(tmp_path / "fast", tmp_path, "a", holds)
    monkeypatch.setenv("FAST", str(tmp_path / "fast"))
    monkeypatch.chdir(tmp_path)
    for name in ("$FAST", "fast", str(tmp_path / "fast")):
        assert "1 entry of" in run(capsys, "ls", "--folder", name)[1]
    assert main(["store", "ls", "--folder", "$GONE/x"]) == 2
    assert "GONE is not set on this node" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["clean"], ["clean", "--all", "--to-gb", "1"], ["clean", "--to-gb", "-1"]])
def test_a_command_that_says_too_little_or_too_much_is_refused(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(["store", *arguments])
    assert ended.value.code == 2
