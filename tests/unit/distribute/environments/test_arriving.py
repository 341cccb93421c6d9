"""An archive is read while it comes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parsl_context.distribute.environments import collecting, naming
from parsl_context.distribute.environments.adopting import Bringing, adopt
from parsl_context.distribute.environments.arriving import Arriving
from parsl_context.distribute.environments.packing import pack
from parsl_context.distribute.environments.unpacking import Unpacker
from parsl_context.distribute.node import NodeStore
from parsl_context.errors import EnvironmentUnusableError, FileFetchError
from tests.environments import SITE, install, make_prefix

CHUNK = 10_000
LARGE = os.urandom(400_000)


class Coming:
    """A file that comes chunk by chunk, as the test says."""

    def __init__(self, data: bytes, folder: Path) -> None:
        self.data = data
        self.part = folder / "part"
        self.part.write_bytes(bytes(len(data)))
        self.file = folder / "whole"
        self.archive = Arriving()
        self.chunks = -(-len(data) // CHUNK)
        self.may_end = threading.Event()
        self.error: Exception | None = None
        self.archive.bring(self._fetch)

    def _fetch(self, holds: contextlib.ExitStack) -> Path:
        self.may_end.wait(20)
        if self.error is not None:
            raise self.error
        self.file.write_bytes(self.data)
        return self.file

    def begin(self) -> None:
        self.archive.begin(self.part, len(self.data), CHUNK)

    def come(self, *chunks: int) -> None:
        for chunk in chunks:
            with self.part.open("r+b") as stream:
                os.pwrite(stream.fileno(), self.data[chunk * CHUNK : (chunk + 1) * CHUNK], chunk * CHUNK)
            self.archive.came(chunk)


@pytest.fixture
def coming(tmp_path: Path) -> Iterator[Callable[[bytes], Coming]]:
    made = []

    def make(data: bytes) -> Coming:
        made.append(Coming(data, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.may_end.set()
        each.archive.close()


def test_ranges_are_given_as_they_come(coming: Callable[[bytes], Coming]) -> None:
    data = os.urandom(35_000)
    file = coming(data)
    spans = [(0, 9_000), (9_000, 21_000), (21_000, 35_000)]
    ready = file.archive.ready(spans)
    file.begin()
    file.come(2, 3)
    assert next(ready) == 2
    assert file.archive.read(21_000, 35_000) == data[21_000:]
    file.come(0)
    assert next(ready) == 0
    file.come(1)
    assert list(ready) == [1]
    assert file.archive.size_bytes == 35_000


def test_what_comes_in_another_way_is_read_when_it_is_whole(coming: Callable[[bytes], Coming]) -> None:
    data = os.urandom(35_000)
    file = coming(data)
    file.begin()
    file.come(0)
    file.part.unlink()
    file.may_end.set()
    assert sorted(file.archive.ready([(0, 10_000), (10_000, 35_000)])) == [0, 1]
    assert file.archive.read(5_000, 35_000) == data[5_000:]
    assert file.archive.whole() == file.file


def test_what_does_not_come_ends_the_wait(coming: Callable[[bytes], Coming]) -> None:
    file = coming(bytes(35_000))
    file.begin()
    file.come(0)
    file.error = FileFetchError(url="http://x", reason="its server is gone")
    file.may_end.set()
    with pytest.raises(FileFetchError, match="its server is gone"):
        file.archive.whole()
    assert file.archive.read(0, 10_000) == bytes(10_000), "what has come can be read all the same"
    with pytest.raises(FileFetchError, match="its server is gone"):
        file.archive.read(0, 10_001)


def test_shards_are_unpacked_before_the_last_has_come(
    coming: Callable[[bytes], Coming], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = make_prefix(tmp_path / "prefix")
    install(prefix, "far", {"far.py": "VALUE = 42\n", "large": LARGE})
    pack(collecting.collect(prefix), tmp_path / "env.tar.zst")
    file = coming((tmp_path / "env.tar.zst").read_bytes())
    written: list[int] = []
    write = Unpacker.write

    def noted(self: Unpacker, shard: int, data: bytes) -> None:
        write(self, shard, data)
        written.append(shard)
        if len(written) == 4:
            file.come(*range(file.chunks - 5, file.chunks))

    monkeypatch.setattr(Unpacker, "write", noted)
    environment = naming.describe(str(tmp_path / "env.tar.zst"))
    monkeypatch.setattr("parsl_context.distribute.environments.adopting.is_local", lambda path: False)
    file.begin()
    file.come(*range(file.chunks - 5))
    with contextlib.ExitStack() as holds:
        top = adopt(environment, Bringing(NodeStore(tmp_path / "store"), lambda url, holds: file.archive), holds)
        assert (top / SITE / "large").read_bytes() == LARGE
    assert not file.may_end.is_set(), "it was ready before anybody said that all had come"


def test_an_archive_that_does_not_come_is_no_environment(
    coming: Callable[[bytes], Coming], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = make_prefix(tmp_path / "prefix")
    install(prefix, "far", {"large": LARGE})
    pack(collecting.collect(prefix), tmp_path / "env.tar.zst")
    file = coming((tmp_path / "env.tar.zst").read_bytes())
    environment = naming.describe(str(tmp_path / "env.tar.zst"))
    monkeypatch.setattr("parsl_context.distribute.environments.adopting.is_local", lambda path: False)
    file.begin()
    file.come(*range(20))
    file.error = OSError("the link is cut")
    file.may_end.set()
    with contextlib.ExitStack() as holds, pytest.raises(EnvironmentUnusableError, match="the link is cut"):
        adopt(environment, Bringing(NodeStore(tmp_path / "store"), lambda url, holds: file.archive), holds)
    assert [path.name for path in (tmp_path / "store").iterdir() if path.is_dir()] == []
