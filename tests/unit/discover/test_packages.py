"""What many pickles need alike is looked for once."""

import gc
import weakref

from parsl_context.content.carrying import carry
from parsl_context.discover.packages import Packager


class Large:
    pass


def needs_of(value):
    return carry(value, defines=True)[1]


def test_what_is_needed_alike_is_looked_for_once(cell, monkeypatch):
    main = cell("setting = 1\ndef f(): return setting")
    made = Packager()
    first = made.package(needs_of(main.f))
    monkeypatch.setattr(made, "_find", None)
    assert made.package(needs_of(main.f)) is first


def test_it_is_looked_for_anew_when_a_name_was_bound_anew(cell):
    main = cell("setting = 1\ndef f(): return setting")
    made = Packager()
    first = made.package(needs_of(main.f))
    cell("setting = 2")
    second = made.package(needs_of(main.f))
    assert second is not first
    assert second.digest != first.digest


def test_it_is_looked_for_anew_when_the_script_has_defined_more(cell):
    main = cell("def f(): return 1")
    made = Packager()
    first = made.package(needs_of(main.f))
    cell("class Later: pass")
    assert made.package(needs_of(main.f)) is not first


def test_values_that_names_stand_for_no_more_are_let_go(cell):
    """A table of many GB, say, that a cell has made anew."""
    main = cell("def f(): return table\ndef g(): return 1")
    main.table = Large()
    gone = weakref.ref(main.table)
    made = Packager()
    made.package(needs_of(main.f))
    main.table = None
    made.package(needs_of(main.g))
    made._definitions._bound.clear()
    gc.collect()
    assert gone() is None


def test_few_are_kept(cell):
    main = cell("")
    made = Packager()
    for i in range(100):
        cell(f"def f{i}(): return {i}")
        made.package(needs_of(getattr(main, f"f{i}")))
    assert len(made._packages) <= 64
