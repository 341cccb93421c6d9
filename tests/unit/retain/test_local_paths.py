"""A context function asks where its data is, and gets a path on this node."""

import os
import threading

import pytest

from parsl_context import local_path
from parsl_context.errors import ConfigurationError
from parsl_context.retain.local_paths import placing


@pytest.fixture
def places():
    with placing() as places:
        places.update({"w.pt": "/store/1/w.pt", "/home/ada/w.pt": "/store/1/w.pt", "data": "/store/2/data"})
        yield places


@pytest.mark.parametrize("path", ["w.pt", "./w.pt", "/home/ada/w.pt", "/home/ada/../ada/w.pt"])
def test_a_path_is_known_however_it_is_spelt(places, path):
    assert local_path(path) == "/store/1/w.pt"


@pytest.mark.parametrize(("path", "there"), [("data/", ""), ("data/a/b.txt", "/a/b.txt"), ("data/a/../c", "/c")])
def test_what_is_in_a_folder_is_found_in_its_copy(places, path, there):
    assert local_path(path) == f"/store/2/data{there}"


@pytest.mark.parametrize("path", ["other.pt", "database", "/data", "data/../other", ".."])
def test_what_was_not_named_is_refused(places, path):
    with pytest.raises(ConfigurationError, match=r"names as its data 'w.pt', '/home/ada/w.pt', 'data'. Add it there"):
        local_path(path)


def test_a_context_without_data_has_none():
    with placing(), pytest.raises(ConfigurationError, match="names as its data nothing"):
        local_path("w.pt")


def test_elsewhere_a_path_stays_as_it_is(tmp_path):
    assert [local_path("w.pt"), local_path(tmp_path)] == ["w.pt", os.fspath(tmp_path)]


def test_required_contexts_have_data_of_their_own(places):
    with placing() as inner:
        inner["w.pt"] = "/store/3/w.pt"
        assert local_path("w.pt") == "/store/3/w.pt"
    assert local_path("w.pt") == "/store/1/w.pt"


def test_threads_of_a_context_function_ask_too(places):
    got = []
    thread = threading.Thread(target=lambda: got.append(local_path("w.pt")))
    thread.start()
    thread.join()
    assert got == ["/store/1/w.pt"]


def test_builds_in_several_threads_do_not_mix(places):
    got = []

    def build():
        with placing() as own:
            own["w.pt"] = "/store/4/w.pt"
            got.append(local_path("w.pt"))

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert got == ["/store/4/w.pt"]
    assert local_path("w.pt") == "/store/1/w.pt"
