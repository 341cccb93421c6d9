"""Modules that are large together are written into one file, in which each is found."""

import os

import pytest

from parsl_context.executor.code_packs import CodePacks
from parsl_context.wire.transfers import LEAST_BYTES

FILES = {"a": b"a" * LEAST_BYTES, "b": b"", "c": b"import this\n"}


@pytest.fixture
def allowed():
    return []


@pytest.fixture
def packs(tmp_path, allowed):
    return CodePacks(tmp_path, allowed.extend)


def read(stretch):
    with open(stretch.url.removeprefix("path:"), "rb") as file:
        file.seek(stretch.offset)
        return file.read(stretch.size)


def test_each_is_found_in_a_file_that_nodes_are_served(packs, allowed):
    found = packs.stretches(FILES)
    assert {digest: read(stretch) for digest, stretch in found.items()} == FILES
    assert {stretch.url for stretch in found.values()} == set(allowed)
    assert len(allowed) == 1


def test_nobody_else_may_read_it(packs, tmp_path):
    packs.stretches(FILES)
    assert [path.stat().st_mode & 0o77 for path in tmp_path.rglob("*")] == [0, 0]


def test_small_ones_are_sent(packs, tmp_path, allowed):
    assert packs.stretches({"c": FILES["c"]}) == {}
    assert list(tmp_path.iterdir()) == allowed == []


def test_they_are_sent_if_nodes_are_not_to_help_each_other(packs, tmp_path, monkeypatch):
    monkeypatch.setenv("PARSL_CONTEXT_PEERS", "0")
    assert packs.stretches(FILES) == {}
    assert list(tmp_path.iterdir()) == []


def test_they_are_sent_if_there_is_no_room(tmp_path, allowed, monkeypatch, caplog):
    packs = CodePacks(tmp_path, allowed.extend)

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(packs, "_write", full)
    assert packs.stretches(FILES) == {}
    assert allowed == []
    assert "No space left on device" in caplog.text


def test_nothing_is_left(packs, tmp_path):
    packs.stretches(FILES)
    packs.close()
    assert list(tmp_path.iterdir()) == []
    packs.close()
