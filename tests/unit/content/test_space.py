"""Objects have identifiers as long as they live; one that came from elsewhere is kept until it is dropped."""

import gc
import os
import sys
import types

import pytest

from parsl_context.content.space import Id, Space
from parsl_context.errors import CarriedCodeError


@pytest.fixture
def space():
    return Space()


def make_class():
    return type("A", (), {})


def test_an_object_has_one_identifier_and_is_found_by_it(space):
    first, second = make_class(), make_class()
    assert space.known(first) is None
    names = {space.identify(first), space.identify(first), space.identify(second)}
    assert len(names) == 2
    assert {space.known(first), space.known(second)} == names
    assert space.find(space.identify(first)) is space.resolve(space.identify(first)) is first


def test_what_is_gone_is_forgotten_and_its_place_is_another_s(space):
    seen = set()
    for _ in range(200):  # places in memory are used again
        found = make_class()
        assert space.known(found) is None
        name = space.identify(found)
        seen.add(name)
        del found
        gc.collect(0)
    gc.collect()
    assert len(seen) == 200
    assert space.find(name) is None
    assert not space._objects
    assert not space._ids


def test_one_that_is_gone_is_said_to_be_gone(space):
    name = space.identify(make_class())
    gc.collect()
    with pytest.raises(CarriedCodeError, match=r"a class or a function of the script that is gone"):
        space.resolve(name)


def test_what_came_from_elsewhere_is_kept_until_it_is_dropped(space):
    value = make_class()
    space.add(Id("theirs.1"), value)
    assert space.known(value) == "theirs.1"
    assert space.identify(value) == "theirs.1"
    assert space.find(Id("theirs.1")) is value
    space.drop(Id("theirs.1"))
    space.drop(Id("theirs.1"))
    assert space.known(value) is None
    assert space.find(Id("theirs.1")) is None


def test_content_is_asked_for_what_is_not_here(space):
    asked = []
    space.source = lambda name: asked.append(name) or "made"
    assert space.resolve(Id("theirs.1")) == "made"
    assert asked == ["theirs.1"]


def test_two_processes_that_were_one_give_no_identifier_twice(space):
    before = make_class()
    name = space.identify(before)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, f"{space.identify(before)} {space.identify(make_class())}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as answer:
        same, other = answer.read().split()
    kept = [make_class() for _ in range(50)]
    assert same == name
    assert other not in {space.identify(each) for each in kept}


def counter():
    count = 0

    def inc():
        nonlocal count
        count += 1

    def get():
        return count, get

    return inc, get


def test_variables_that_functions_share_live_as_long_as_one_of_these(space):
    inc, get = counter()
    (cell,) = inc.__closure__
    space.identify_cells(inc)
    space.identify_cells(get)
    space.identify_cells(get)
    name = space.known(cell)
    assert name is not None
    assert space.find(name) is cell
    assert set(space.owners(name)) == {inc, get}
    del inc, cell
    gc.collect()
    assert isinstance(space.find(name), types.CellType)
    del get  # it has captured itself: nothing of this may keep it
    gc.collect()
    assert space.find(name) is None
    assert not space._objects
    assert not space._ids
    assert not space._owners


def test_a_namespace_is_made_where_there_is_none(space, monkeypatch):
    monkeypatch.delitem(sys.modules, "made_by_code", raising=False)
    made = space.namespace("made_by_code")
    assert sys.modules.pop("made_by_code") is made


def test_the_script_of_a_worker_is_a_module_of_its_own(space, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    before = space.namespace("__main__")
    main = space.adopt_main()
    assert before is not main is sys.modules["__main__"] is space.adopt_main() is space.namespace("__main__")
    monkeypatch.setitem(sys.modules, "__main__", before)  # a body has put another there
    assert space.namespace("__main__") is main
    assert vars(main)["__builtins__"]
