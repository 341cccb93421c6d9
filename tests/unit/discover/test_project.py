"""Modules of the user's travel as files, as the script has loaded them."""

import contextlib
import importlib
import sys
import zipfile

import pytest

from parsl_context.errors import CarriedCodeError
from tests.unit.far import Far


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


WRAPPED = """
import functools
def wrap(function):
    @functools.wraps(function)
    def inner(*args): return function(*args)
    return inner
@wrap
def h(x): return x
class Held:
    def __init__(self, function): self.body = function
    def __call__(self, *args): return self.body(*args)
@Held
def q(x): return x + 1
twice = lambda x: 2 * x
def parts(): return h, h.__wrapped__, q.body, twice
def same(*given): return [a is b for a, b in zip(given, parts())]
"""


def test_functions_that_others_wrap_are_one_object_with_the_module_s(tmp_path, project):
    module = project.load("wrapped", WRAPPED)
    with contextlib.closing(Far(tmp_path / "far")) as far:
        assert far.call(module.same, *module.parts()) == [True] * 4
        assert module.same(*far.call(module.parts)) == [True] * 4


CHANGED = "class A:\n    def size(self): return {0}\ndef f(): return A().size()\n"


@pytest.mark.parametrize("keeps", [True, False], ids=["bytecode", "no bytecode"])
def test_a_module_that_was_changed_and_not_loaded_anew_is_refused(far, project, monkeypatch, keeps):
    """Images of containers often have Python keep no bytecode, which would tell."""
    monkeypatch.setattr(sys, "dont_write_bytecode", not keeps)
    module = project.load(f"changed_{keeps}", CHANGED.format(1))
    file = project.write(f"changed_{keeps}.py", CHANGED.format(22))
    with pytest.raises(CarriedCodeError) as caught:
        far.call(module.f)
    assert module.__name__ in str(caught.value)
    assert str(file) in str(caught.value)
    importlib.reload(module)
    assert far.call(module.f) == 22
    _, before = far.pack(module.f)
    project.write(f"changed_{keeps}.py", CHANGED.format(333))
    assert far.call(module.f) == 22  # what was loaded
    assert before.watch.is_current()
    importlib.reload(module)
    assert not before.watch.is_current()
    assert far.call(module.f) == 333


def test_modules_that_have_no_files_are_named_in_the_log(far, project, caplog):
    with zipfile.ZipFile(project.path / "packed.zip", "w") as archive:
        archive.writestr("zipped_module.py", "def f(): return 1")
    sys.path.insert(0, str(project.path / "packed.zip"))
    try:
        zipped = project.load("zipped_module")
    finally:
        sys.path.pop(0)
    gone = project.load("gone_module", "def f(): return 1")
    (project.path / "gone_module.py").unlink()
    for module in (zipped, gone):
        with pytest.raises(ModuleNotFoundError):
            far.call(module.f)
        assert f"Module {module.__name__} has no file of its own" in caplog.text
