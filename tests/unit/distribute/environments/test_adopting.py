"""An archive becomes an entry of the store, whole and once; or the error says why it cannot."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from parsl_context.distribute import folders, records
from parsl_context.distribute.environments import collecting, interpreters, naming, runtime, unpacking
from parsl_context.distribute.environments.adopting import ARCHIVES, Bringing, adopt
from parsl_context.distribute.environments.fitness import Terms, this_node
from parsl_context.distribute.environments.packing import pack
from parsl_context.distribute.node import NodeStore
from parsl_context.errors import ConfigurationError, EnvironmentUnusableError
from tests.environments import PYTHON, SITE, install, make_prefix

LARGE = os.urandom(700_000)  # in several shards, which cannot be compressed


@pytest.fixture
def holds() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    prefix = make_prefix(tmp_path / "prefix")
    script = f"#!{prefix}/bin/python\nimport far\nprint(far.VALUE, far.__file__)\n"
    (tmp_path / "archives").mkdir()
    install(
        prefix,
        "far",
        {
            "far.py": "VALUE = 42\n",
            "data/large": LARGE,
            "data/none": "",
            "data/__init__.py": "",
            "../../../bin/far": script,
        },
    )
    (prefix / "bin" / "far").chmod(0o755)
    target = tmp_path / "archives" / "env.tar.zst"
    pack(collecting.collect(prefix), target)
    return target


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    return NodeStore(tmp_path / "store")


def adopted(archive: Path, store: NodeStore, holds: contextlib.ExitStack, *, is_kept: bool = True) -> Path:
    return adopt(naming.describe(str(archive), is_kept=is_kept), Bringing(store), holds)


def left(store: NodeStore) -> list[str]:
    """What is in the store, but its entries."""
    return [path.name for path in folders.unfinished(store.folders[0])]


def shown(*command: object) -> str:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def test_an_environment_is_unpacked_with_an_interpreter(
    archive: Path, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    top = adopted(archive, store, holds)
    assert shown(top / "bin" / "far") == f"42 {top / SITE / 'far.py'}\n", "a script runs the interpreter beside it"
    assert (top / SITE / "data" / "large").read_bytes() == LARGE
    assert (top / SITE / "data" / "none").read_bytes() == b""
    assert shown(interpreters.python_in(top), "-c", "import sys; print(sys.prefix)") == f"{top}\n"
    lacking = subprocess.run([interpreters.python_in(top), "-c", "import msgspec"], capture_output=True, check=False)
    assert lacking.returncode == 1, "nothing of this environment is there"
    assert left(store) == []


def test_it_is_unpacked_once(archive: Path, store: NodeStore, holds: contextlib.ExitStack) -> None:
    first = adopted(archive, store, holds)
    marked = first.stat().st_mtime_ns
    described = naming.describe(str(archive))
    archive.unlink()
    assert adopt(described, Bringing(NodeStore(store.folders)), holds) == first
    assert first.stat().st_mtime_ns == marked


def test_for_one_call_it_is_unpacked_and_removed(archive: Path, store: NodeStore) -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        tops = [adopted(archive, store, holds, is_kept=False) for holds in (first, second)]
        assert tops[0] != tops[1]
        assert shown(tops[1] / "bin" / "far").startswith("42 ")
    assert not any(top.exists() for top in tops)
    assert left(store) == []


def test_nobody_can_change_it(archive: Path, store: NodeStore, holds: contextlib.ExitStack) -> None:
    top = adopted(archive, store, holds)
    modes = {path.stat().st_mode & 0o222 for path in top.rglob("*") if not path.is_symlink()}
    assert modes == {0}


@pytest.mark.parametrize("change", ["content", "more", "less", "link", "interpreter"])
def test_one_that_was_changed_is_unpacked_anew(
    archive: Path, store: NodeStore, holds: contextlib.ExitStack, change: str
) -> None:
    with contextlib.ExitStack() as first:
        top = adopted(archive, store, first)
    for path in (top / "bin", top / SITE):
        path.chmod(0o700)
    if change == "content":
        (top / SITE / "far.py").chmod(0o600)
        (top / SITE / "far.py").write_text("VALUE = 43\n")
    elif change == "more":
        (top / SITE / "more.py").write_text("")
    elif change == "less":
        (top / SITE / "far.py").unlink()
    elif change == "link":
        (top / "bin" / "python3").unlink()
    else:
        (top / "bin" / "python").unlink()
        (top / "bin" / "python").symlink_to("/bin/false")
    again = adopted(archive, store, holds)
    assert shown(again / "bin" / "far").startswith("42 ")
    assert not (again / SITE / "more.py").exists()


def broken(archive: Path, at: float) -> None:
    """Change one byte there, as a part of the whole."""
    data = bytearray(archive.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0x40
    archive.write_bytes(data)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 1.0])
def test_a_corrupted_shard_is_named(archive: Path, store: NodeStore, holds: contextlib.ExitStack, at: float) -> None:
    described = naming.describe(str(archive))
    broken(archive, at)
    with pytest.raises(
        EnvironmentUnusableError, match=r"shard \d+ of \d+ has another content.*; copy or pack it again"
    ):
        adopt(described, Bringing(store), holds)
    assert left(store) == []
    assert list(folders.entries(store.folders[0])) == []


def test_another_index_is_another_environment(archive: Path, store: NodeStore, holds: contextlib.ExitStack) -> None:
    described = naming.describe(str(archive))
    prefix = make_prefix(archive.parent / "other")
    install(prefix, "far", {"far.py": "VALUE = 43\n"})
    pack(collecting.collect(prefix), archive)
    with pytest.raises(EnvironmentUnusableError, match="another one than when the context was made"):
        adopt(described, Bringing(store), holds)


@pytest.mark.parametrize("size", [5, 400, -300_000, -1])
def test_a_truncated_archive_is_refused(
    archive: Path, store: NodeStore, holds: contextlib.ExitStack, size: int
) -> None:
    described = naming.describe(str(archive))
    with archive.open("r+b") as stream:
        stream.truncate(size if size > 0 else archive.stat().st_size + size)
    with pytest.raises(EnvironmentUnusableError, match=r"copy or pack it again"):
        adopt(described, Bringing(store), holds)
    assert left(store) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
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


def test_a_disk_without_room_is_passed_over(
    archive: Path, small: Path, tmp_path: Path, holds: contextlib.ExitStack
) -> None:
    top = adopted(archive, NodeStore([small / "store", tmp_path / "other"]), holds)
    assert top.is_relative_to(tmp_path / "other")
    assert left(NodeStore(small / "store")) == []
    with pytest.raises(EnvironmentUnusableError, match=r"no room for its .* PARSL_CONTEXT_STORE"):
        adopted(archive, NodeStore(small / "store"), holds)


def test_a_disk_that_fills_in_the_middle_is_passed_over(
    archive: Path, small: Path, tmp_path: Path, holds: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others take the room that was given back for what is written next."""
    write = unpacking.Unpacker._write

    def and_others(self: unpacking.Unpacker, *args: object) -> None:
        if self._top.is_relative_to(small) and not (small / "theirs").exists():
            with contextlib.suppress(OSError), (small / "theirs").open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(4096))
        write(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(unpacking.Unpacker, "_write", and_others)
    place = NodeStore([small / "store", tmp_path / "other"], max_bytes=1_000_000)
    top = adopted(archive, place, holds)
    assert (small / "theirs").exists()
    assert top.is_relative_to(tmp_path / "other")
    assert (top / SITE / "data" / "large").read_bytes() == LARGE
    assert left(NodeStore(small / "store")) == []


def test_two_at_once_unpack_it_once(archive: Path, store: NodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    finish = unpacking.Unpacker.finish

    def counted(self: unpacking.Unpacker) -> None:
        made.append(self)
        time.sleep(0.1)
        finish(self)

    monkeypatch.setattr(unpacking.Unpacker, "finish", counted)
    tops: list[Path] = []

    def want() -> None:
        with contextlib.ExitStack() as holds:
            tops.append(adopted(archive, NodeStore(store.folders), holds))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tops)) == 1
    assert len(tops) == 3
    assert len(made) == 1


def test_a_process_that_is_killed_while_unpacking_leaves_nothing_in_the_way(
    archive: Path, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    """Killed at each of its shards in turn."""
    killed = 0
    for step in range(1, 40):
        pid = os.fork()
        if pid == 0:
            _die_at(step)
            adopted(archive, store, contextlib.ExitStack())
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            break
        killed += 1
        assert list(folders.entries(store.folders[0])) == []
    assert killed > 8
    top = adopted(archive, store, holds)
    assert (top / SITE / "data" / "large").read_bytes() == LARGE
    assert left(store) == [], "what others left was removed to make room"


def _die_at(step: int) -> None:
    lock, count = threading.Lock(), [step]
    write, finish = unpacking.Unpacker._write, unpacking.Unpacker.finish

    def check() -> None:
        with lock:
            count[0] -= 1
            if not count[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    def written(self: unpacking.Unpacker, *args: object) -> None:
        check()
        write(self, *args)  # type: ignore[arg-type]

    def finished(self: unpacking.Unpacker) -> None:
        finish(self)
        check()

    unpacking.Unpacker._write = written  # type: ignore[method-assign, assignment]
    unpacking.Unpacker.finish = finished  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("node", "reason"),
    [(Terms("3.99"), "the workers here run Python 3.99"), (Terms(PYTHON, "riscv64"), "this node has riscv64")],
)
def test_one_that_does_not_run_here_is_refused(
    archive: Path, store: NodeStore, holds: contextlib.ExitStack, node: Terms, reason: str
) -> None:
    prefix = make_prefix(archive.parent / "binary")
    install(prefix, "far", {"far.py": ""}, tag="cp311-cp311-manylinux_2_17_x86_64")
    pack(collecting.collect(prefix), archive)
    with pytest.raises(EnvironmentUnusableError, match=reason):
        adopt(naming.describe(str(archive)), Bringing(store), holds, node)


def test_an_archive_that_a_site_s_tool_has_put_there_is_taken(
    archive: Path, store: NodeStore, holds: contextlib.ExitStack, tmp_path: Path
) -> None:
    described = naming.describe(str(archive))
    there = archive.rename(tmp_path / "broadcast.tar.zst")
    other = tmp_path / "other.tar.zst"
    other.write_bytes(b"something else")
    variables = {ARCHIVES: f"{tmp_path}/none:{other}:{there}"}
    top = adopt(described, Bringing(store, variables=variables), holds)
    assert shown(top / "bin" / "far").startswith("42 ")
    broken(there, 0.99)
    with pytest.raises(EnvironmentUnusableError, match=r"shard .* of broadcast\.tar\.zst"):
        adopt(described, Bringing(NodeStore(tmp_path / "second"), variables=variables), holds)
    broken(there, 0.0)
    with pytest.raises(EnvironmentUnusableError, match="no such file"):
        adopt(described, Bringing(NodeStore(tmp_path / "second"), variables=variables), holds)


# --- what others have made


def virtual(prefix: Path, home: str = "/nowhere/bin") -> Path:
    """A virtual environment as uv makes it, of an interpreter that is not on this machine."""
    make_prefix(prefix)
    install(prefix, "far", {"far.py": "VALUE = 42\n"})
    version = ".".join(map(str, sys.version_info[:3]))
    (prefix / "pyvenv.cfg").write_text(
        f"home = {home}\nimplementation = CPython\nversion_info = {version}\nrelocatable = true\n"
    )
    (prefix / "bin" / "python").symlink_to(f"{home}/python{PYTHON}")
    (prefix / "bin" / "python3").symlink_to("python")
    (prefix / "lib64").symlink_to("lib")
    return prefix


def tarred(folder: Path, target: Path, *, name: str = ".") -> Path:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(folder, name)
    compress = zstandard.compress if target.suffix == ".zst" else __import__("gzip").compress
    target.write_bytes(compress(made.getvalue()))
    return target


@pytest.mark.parametrize("name", [".", ".venv"])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_an_archive_of_a_virtual_environment_runs_on_the_node_s_python(
    tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack, name: str, suffix: str
) -> None:
    archive = tarred(virtual(tmp_path / "venv"), tmp_path / f"env.tar.{suffix}", name=name)
    top = adopted(archive, store, holds)
    assert shown(top / "bin" / "python3", "-c", "import far; print(far.__file__)") == f"{top / SITE / 'far.py'}\n"


def test_one_of_another_minor_version_is_refused(tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack) -> None:
    prefix = virtual(tmp_path / "venv")
    (prefix / "pyvenv.cfg").write_text("home = /x\nversion_info = 3.99.1\n")
    archive = tarred(prefix, tmp_path / "env.tar.gz")
    with pytest.raises(EnvironmentUnusableError, match=r"it is for Python 3\.99, and the workers here run Python"):
        adopted(archive, store, holds)
    with pytest.raises(EnvironmentUnusableError, match=r"it is for Python 3\.99"):
        adopted(prefix, store, holds)
    assert left(store) == []


def test_a_folder_whose_interpreter_is_elsewhere_is_refused(
    tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    with pytest.raises(EnvironmentUnusableError, match=r"its interpreter is /nowhere/bin/python.*not on this node"):
        adopted(virtual(tmp_path / "venv"), store, holds)


def conda(prefix: Path, place: str) -> Path:
    """A conda environment as conda-pack leaves it, of this interpreter."""
    make_prefix(prefix)
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    shutil.copy(base, prefix / "bin" / f"python{PYTHON}")
    (prefix / "bin" / "python").symlink_to(f"python{PYTHON}")
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "python.json").write_text('{"name": "python", "depends": ["__glibc >=2.17,<3.0.a0"]}')
    install(prefix, "far", {"far.py": f"PLACE = '{place}/share'\n"})
    (prefix / SITE / "binary").write_bytes(f"head {place}/share/x\0tail".encode())
    (prefix / "bin" / "conda-unpack").write_text(
        "import os\n_prefix_records = [\n"
        f"    ('{SITE}/far.py', '{place}', 'text'),\n    ('{SITE}/binary', '{place}', 'binary')\n]\n"
    )
    return prefix


def test_an_archive_of_conda_pack_is_told_its_place(
    tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    place = "/placeholder" + "_place" * 40
    archive = tarred(conda(tmp_path / "conda", place), tmp_path / "env.tar.gz")
    top = adopted(archive, store, holds)
    assert (top / SITE / "far.py").read_text() == f"PLACE = '{top}/share'\n"
    data = (top / SITE / "binary").read_bytes()
    assert data.startswith(f"head {top}/share/x\0".encode())
    assert len(data) == len(f"head {place}/share/x\0tail")
    assert data.endswith(b"\0tail")
    assert records.problem_of(top.parent, records.read(top.parent) or pytest.fail("no record"), thorough=True) is None


def test_a_place_that_is_too_long_for_a_binary_is_refused(
    tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    archive = tarred(conda(tmp_path / "conda", "/p"), tmp_path / "env.tar.gz")
    with pytest.raises(EnvironmentUnusableError, match="path of the node's store is too long"):
        adopted(archive, store, holds)


def with_members(target: Path, *members: tuple[str, str, str]) -> Path:
    """An archive of members: name, kind, and target or content."""
    with tarfile.open(target, "w:gz") as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            if kind == "file":
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
            else:
                info.type = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}[kind]
                info.linkname = text
                tar.addfile(info)
    return target


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../out", "file", "x")], "outside of it"),
        ([("/tmp/out", "file", "x")], "outside of it"),
        ([("a", "link", "/etc")], "a link to /etc, outside"),
        ([("a", "link", "../../x")], "outside"),
        ([("b/c", "file", ""), ("a", "link", "b"), ("a/c", "file", "x")], "outside of it"),
        ([("a", "file", "x"), ("a", "file", "y")], "twice"),
        ([("a", "hard", "nothing")], "not in it"),
        ([("a", "device", "")], "neither a file nor"),
        ([("a", "file", "x")], "no Python environment"),
        (
            [("bin/conda-unpack", "file", "no("), ("bin/python", "link", "x"), ("pyvenv.cfg", "file", "")],
            "none that we know",
        ),
    ],
)
def test_an_archive_that_leads_out_of_itself_or_is_none_is_refused(
    tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack, members: list[tuple[str, str, str]], reason: str
) -> None:
    archive = with_members(tmp_path / "env.tar.gz", *members)
    with pytest.raises(EnvironmentUnusableError, match=reason):
        adopted(archive, store, holds)
    assert left(store) == []
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(EnvironmentUnusableError):
        adopted(archive, store, holds)


def test_what_is_no_archive_at_all(tmp_path: Path, store: NodeStore, holds: contextlib.ExitStack) -> None:
    path = tmp_path / "env.tar.gz"
    path.write_text("nothing")
    with pytest.raises(EnvironmentUnusableError, match="no archive that can be read"):
        adopted(path, store, holds)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="a folder without a Python environment"):
        naming.describe(str(tmp_path / "folder"))


# --- what is lent to it


def test_an_environment_is_lent_what_it_lacks_and_nothing_else(tmp_path: Path) -> None:
    prefix = make_prefix(tmp_path / "prefix")
    lent = tmp_path / "lent"
    lent.mkdir()
    assert runtime.lend([prefix / SITE], lent) is None
    names = {path.name for path in lent.iterdir()}
    assert {"parsl", "parsl_context", "msgspec", "zmq", "tblib"} <= names
    assert names.isdisjoint({"pytest", "numpy", "hypothesis", "bin"})
    code = f"import sys; sys.path.append({str(lent)!r}); import parsl_context.pool.zygote, parsl; print(parsl.__file__)"
    assert shown(getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-c", code).startswith(str(lent))


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("parsl", "2020.1.1", r"it has parsl 2020.1.1, and the manager of this node runs"),
        ("parsl-context", "0.0.1", r"it has parsl-context 0.0.1"),
        ("msgspec", "0.1", r"it has msgspec 0.1, and its workers need msgspec>="),
    ],
)
def test_versions_that_cannot_work_are_refused(tmp_path: Path, name: str, version: str, reason: str) -> None:
    prefix = make_prefix(tmp_path / "prefix")
    install(prefix, name, {}, version=version)
    (tmp_path / "lent").mkdir()
    assert __import__("re").search(reason, runtime.lend([prefix / SITE], tmp_path / "lent") or "")


def test_the_machine_of_an_interpreter_is_read_from_its_file(tmp_path: Path) -> None:
    prefix = conda(tmp_path / "conda", "/x")
    terms = interpreters.terms_of(prefix)
    assert (terms.python, terms.machine, terms.glibc) == (PYTHON, this_node().machine, "2.17")
    foreign = bytearray((prefix / "bin" / f"python{PYTHON}").read_bytes()[:64])
    foreign[18] = 183
    (prefix / "bin" / f"python{PYTHON}").write_bytes(foreign)
    assert interpreters.terms_of(prefix).machine == "aarch64"
