"""What `parsl-context pack` writes: what is in it, and that nodes and other programs read it."""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from parsl_context.cli.main import main
from parsl_context.distribute.environments import collecting, fitness, naming, zstd
from parsl_context.distribute.environments.fitness import Terms
from parsl_context.distribute.environments.index import Index, NoPackError, Packed, Shard, read_head, write_head
from parsl_context.distribute.environments.packing import LEAST_SHARDS, pack
from parsl_context.distribute.records import Sha256
from parsl_context.errors import ConfigurationError
from tests.environments import PYTHON, SITE, install, make_prefix


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment of three distributions, of which one has a script."""
    prefix = make_prefix(tmp_path / "prefix")
    script = f"#!{prefix}/bin/python\nprint('hello')\n"
    install(prefix, "Near", {"near/__init__.py": "VALUE = 1\n", "near/data.bin": b"\0" * 300_000}, requires=("far>=1",))
    install(prefix, "far", {"far.py": "VALUE = 2\n", "../../../bin/far": script, "far.pth": "far\n"})
    install(prefix, "other", {"other.py": "def broken(:\n"}, tag="cp311-cp311-manylinux_2_28_x86_64")
    (prefix / "bin" / "far").chmod(0o755)
    return prefix


def packed(prefix: Path, *roots: str) -> Index:
    target = prefix.parent / "env.tar.zst"
    pack(collecting.collect(prefix, roots or None), target)
    with target.open("rb") as stream:
        return read_head(stream.read, zstd.decompress)[0]


def names(index: Index) -> set[str]:
    return {file.path.removeprefix(f"{SITE}/") for file in index.files}


def test_files_are_packed_by_their_lists(prefix: Path) -> None:
    (prefix / SITE / "stray.py").write_text("")
    found = names(packed(prefix))
    assert {"near/__init__.py", "near/data.bin", "far.py", "far.pth", "other.py", "bin/far"} <= found
    assert "stray.py" not in found
    assert "Near-1.0.dist-info/METADATA" in found, "importlib.metadata is to find it"


def test_an_app_s_distributions_bring_what_they_require(prefix: Path) -> None:
    assert packed(prefix, "near").distributions == ["far==1.0", "near==1.0"]
    assert packed(prefix, "far").distributions == ["far==1.0"]
    with pytest.raises(ConfigurationError, match=r"nowhere is needed, and not installed there"):
        collecting.collect(prefix, ["nowhere"])


def test_extras_are_followed_and_markers_heeded(tmp_path: Path) -> None:
    prefix = make_prefix(tmp_path / "p")
    install(prefix, "a", {"a.py": ""}, requires=("b[quick]", 'c; python_version < "3"'))
    install(prefix, "b", {"b.py": ""}, requires=('d; extra == "quick"', 'e; extra == "slow"'))
    for name in "cde":
        install(prefix, name, {f"{name}.py": ""})
    assert packed(prefix, "a").distributions == ["a==1.0", "b==1.0", "d==1.0"]


def test_modules_are_compiled_once_and_never_compared_with_their_sources(prefix: Path, tmp_path: Path) -> None:
    index = packed(prefix)
    cached = {Path(name).name for name in names(index) if name.endswith(".pyc")}
    assert f"far.{sys.implementation.cache_tag}.pyc" in cached
    assert not any(name.startswith("other.") for name in cached), "it cannot be compiled"
    source = prefix / SITE / "far.py"
    made = collecting.compile_once(source, source.stat())
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=True)
    again = collecting.compile_once(source, source.stat())
    assert made is not None
    assert again is not None
    assert (again[:16], marshal.loads(again[16:])) == (made[:16], marshal.loads(made[16:]))
    cache = Path(importlib.util.cache_from_source(str(source)))
    cache.write_bytes(made)
    source.write_text("VALUE = 'changed'\n")
    shown = subprocess.run(
        [sys.executable, "-c", "import far; print(far.VALUE)"], cwd=source.parent, capture_output=True
    )
    assert shown.stdout == b"2\n"


def test_what_was_compiled_of_another_source_is_not_taken(prefix: Path) -> None:
    source = prefix / SITE / "far.py"
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=True)
    before = collecting.compile_once(source, source.stat())
    source.write_text("VALUE = 3\n")
    os.utime(source, (1e9, 1e9))
    assert collecting.compile_once(source, source.stat()) != before


def test_a_large_environment_has_at_least_eight_shards(prefix: Path) -> None:
    index = packed(prefix)
    assert len(index.shards) >= LEAST_SHARDS
    assert index.stream_bytes == sum(end - begin for begin, end in map(index.span, range(len(index.shards))))


def test_it_is_a_tar_archive_for_other_programs(prefix: Path) -> None:
    index = packed(prefix)
    with (prefix.parent / "env.tar.zst").open("rb") as file:
        stream = io.BytesIO(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read())
    with tarfile.open(fileobj=stream) as tar:
        assert {member.name for member in tar} == {file.path for file in index.files}
        stream = tar.extractfile(f"{SITE}/far.py")
        assert stream is not None
        assert stream.read() == b"VALUE = 2\n"
        assert tar.getmember("bin/far").mode & 0o100


def test_the_same_environment_has_the_same_digest(prefix: Path) -> None:
    packed(prefix)
    first = naming.describe(str(prefix.parent / "env.tar.zst"))
    packed(prefix)
    assert naming.describe(str(prefix.parent / "env.tar.zst")) == first
    (prefix / SITE / "near" / "data.bin").write_bytes(b"\1" * 300_000)
    packed(prefix)
    assert naming.describe(str(prefix.parent / "env.tar.zst")) != first


def test_where_it_runs_is_what_its_wheels_say(prefix: Path) -> None:
    index = packed(prefix)
    assert (index.python, index.glibc) == (PYTHON, "2.28")
    assert index.machine == fitness.this_node().machine
    plain = packed(prefix, "near")
    assert (plain.machine, plain.glibc) == ("", ""), "it runs on any processor"


def test_editable_distributions_are_left_out_and_named(prefix: Path) -> None:
    info = prefix / SITE / "far-1.0.dist-info"
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')
    found = collecting.collect(prefix)
    assert "far==1.0" not in found.distributions
    assert any("editable" in note for note in found.notes)


def test_a_distribution_without_a_list_of_its_files_is_refused(prefix: Path) -> None:
    (prefix / SITE / "far-1.0.dist-info" / "RECORD").unlink()
    with pytest.raises(ConfigurationError, match="conda-pack"):
        collecting.collect(prefix)


def test_the_command_says_what_it_has_packed(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = prefix.parent / "env.tar.zst"
    assert main(["pack", "--prefix", str(prefix), "-o", str(target)]) == 0
    assert f"3 distributions for Python {PYTHON} on" in capsys.readouterr().out
    assert [path.name for path in prefix.parent.iterdir() if path.name.startswith(".")] == [], (
        "nothing half written is left"
    )
    assert main(["pack", "--prefix", str(prefix / "bin"), "-o", str(target)]) == 1
    assert "it is no Python environment" in capsys.readouterr().err
    assert main(["pack", "app.py", "-o", str(target)]) == 2
    assert main(["pack", "--prefix", str(prefix), "-o", str(prefix / "none" / "env.tar.zst")]) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_the_command_packs_what_an_app_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text("def use():\n    import sortedcontainers\n    return sortedcontainers.SortedList()\n")
    assert main(["pack", f"{script}:use", "-o", str(tmp_path / "env.tar.zst")]) == 0
    with (tmp_path / "env.tar.zst").open("rb") as stream:
        index = read_head(stream.read, zstd.decompress)[0]
    assert [each.partition("==")[0] for each in index.distributions] == ["sortedcontainers"]


# --- what nodes make of an index


def head(**changes: object) -> bytes:
    known = {
        "python": PYTHON,
        "machine": "",
        "glibc": "",
        "distributions": [],
        "stream_bytes": 100,
        "shard_bytes": 60,
        "shards": [Shard(10, Sha256("0" * 64)), Shard(10, Sha256("0" * 64))],
        "files": [Packed("a", 10, 0, False, Sha256("0" * 64)), Packed("b", 10, 50, False, Sha256("0" * 64))],
    }
    return write_head(Index(**{**known, **changes}), zstd.compress)  # type: ignore[arg-type]


def read(data: bytes) -> Index:
    return read_head(io.BytesIO(data).read, zstd.decompress)[0]


def one(path: str, at: int = 0, size: int = 1) -> Packed:
    return Packed(path, size, at, False, Sha256("0" * 64))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\3\4" + bytes(100), "does not begin"),
        (b"", "does not begin"),
        (head()[:-3], "ends within its index"),
        (head()[:40] + b"\0" * (len(head()) - 40), "cannot be read"),
        (head(files=[one("../a")]), "outside"),
        (head(files=[one("/etc/passwd")]), "outside"),
        (head(files=[one("a/./b")]), "outside"),
        (head(files=[one("a", 0, 10), one("b", 5)]), "overlaps"),
        (head(files=[one("a", 0), one("a", 5)]), "twice"),
        (head(files=[one("a", 95, 10)]), "beyond the end"),
        (head(files=[one("a", 0, -1)]), "overlaps"),
        (head(shards=[]), "another number of shards"),
        (head(shard_bytes=0), "another number of shards"),
    ],
)
def test_an_index_that_cannot_be_right_is_refused(data: bytes, reason: str) -> None:
    assert read(head()).stream_bytes == 100
    with pytest.raises(NoPackError, match=reason):
        read(data)


@pytest.mark.parametrize(
    ("needed", "reason"),
    [
        (Terms(), None),
        (Terms("3.11", "x86_64", "2.17"), None),
        (Terms("3.12", "x86_64", "2.17"), "it is for Python 3.12, and the workers here run Python 3.11"),
        (Terms("3.11", "aarch64", ""), "it is for aarch64 processors, and this node has x86_64"),
        (Terms("3.11", "x86_64", "2.35"), "it needs glibc 2.35, and this node has 2.34"),
        (Terms("3.11", "x86_64", "2.4"), None),
    ],
)
def test_what_does_not_run_on_a_node_is_told_in_a_sentence(needed: Terms, reason: str | None) -> None:
    found = fitness.misfit(needed, Terms("3.11", "x86_64", "2.34"))
    assert (found is None) if reason is None else (found or "").startswith(reason)


def test_glibc_of_wheels() -> None:
    several = ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux2014_x86_64"]
    assert fitness.glibc_of([several, ["py3-none-any"]], "2.36") == "2.17"
    assert fitness.glibc_of([["cp311-cp311-manylinux_2_5_x86_64.manylinux1_x86_64"]], "2.36") == "2.5"
    assert fitness.glibc_of([several, ["cp311-cp311-linux_x86_64"]], "2.36") == "2.36", "built here"
    assert fitness.glibc_of([["py3-none-any"]], "2.36") == ""
