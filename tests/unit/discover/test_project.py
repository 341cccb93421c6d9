"""Modules of the user's travel as files, as the script has loaded them."""

import importlib
import importlib.util
import sys

import pytest


def test_a_module_may_be_written_after_the_first_call(far, cell, project):
    """A cell of a notebook writes it."""
    main = cell("def f():\n import written_later\n return written_later.x")
    with pytest.raises(ModuleNotFoundError):
        far.call(main.f)
    _, package = far.pack(main.f)
    project.load("written_later", "x = 1")
    assert not package.watch.is_current()
    assert far.call(main.f) == 1


def test_a_part_of_a_package_that_was_loaded_anew_is_so_there(far, project):
    """Also if no name of it stands in the code that loads it."""
    project.write("plugged/__init__.py")
    project.write("plugged/one.py", "def value(): return 1")
    core = project.load(
        "plugged.core", "import importlib\ndef get(name): return importlib.import_module('plugged.' + name).value()"
    )
    assert core.get("one") == far.call(core.get, "one") == 1
    _, package = far.pack(core.get)
    project.write("plugged/one.py", "def value(): return 22")
    importlib.reload(sys.modules["plugged.one"])
    assert not package.watch.is_current()
    assert core.get("one") == far.call(core.get, "one") == 22
