"""Modules of the user's travel as files, as the script has loaded them."""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from parsl_context.discover import project as project_of
from parsl_context.discover.project import Project
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


def files_of(project, *names):
    tree, _, _ = project.tree(names)
    return set() if tree is None else set(tree.files)


def test_a_package_travels_whole_with_its_data(project):
    wanted = {"__init__.py", "used.py", "unused.py", "sub/__init__.py", "sub/deep.py", "data/table.csv", "no_suffix"}
    for name in (*wanted, ".hidden", ".git/config", "__pycache__/x.pyc", "old.pyc", "node_modules/x.js"):
        project.write(f"whole/{name}", "")
    (project.path / "whole/dangling").symlink_to("nowhere")
    (project.path / "whole/loop").symlink_to("..")
    os.mkfifo(project.path / "whole/pipe")
    project.load("whole.used")
    assert files_of(Project(), "whole.used") == {f"whole/{name}" for name in wanted}


def test_modules_come_with_all_that_they_import(project):
    project.load("deep_c", "x = 1")
    project.load("lazy_d", "y = 1")
    sys.modules.pop("lazy_d")  # nobody has loaded it here
    project.load("deep_b", "import deep_c, json\ndef f():\n import lazy_d")
    project.load("deep_a", "from deep_b import f")
    assert files_of(Project(), "deep_a") == {"deep_a.py", "deep_b.py", "deep_c.py", "lazy_d.py"}
    assert files_of(Project(), "deep_c", "json", "nothing_of_this_name", "not a name") == {"deep_c.py"}
    assert files_of(Project(), "json") == set()


def test_modules_that_import_each_other_are_found_once(project):
    project.write("circle_b.py", "import circle_a")
    project.load("circle_a", "import circle_b")
    assert files_of(Project(), "circle_a") == {"circle_a.py", "circle_b.py"}


def test_a_module_lies_by_its_name_not_by_its_place(tmp_path, far, project):
    """pytest's import mode "importlib" gives names that no folder of `sys.path` leads to."""
    file = tmp_path / "somewhere" / "test_thing.py"
    file.parent.mkdir()
    file.write_text("class A: pass\ndef f(): return A, __name__")
    for name in ("placed_tests", "placed_tests.unit"):
        sys.modules[name] = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None, is_package=True))
        sys.modules[name].__path__ = [str(file.parent)]
    spec = importlib.util.spec_from_file_location("placed_tests.unit.test_thing", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        assert files_of(Project(), spec.name) == {"placed_tests/unit/test_thing.py"}
        assert far.call(module.f) == (module.A, spec.name)
    finally:
        for name in ("placed_tests", "placed_tests.unit", spec.name):
            del sys.modules[name]


def test_of_a_package_without_init_the_parts_that_are_needed_travel(far, project):
    project.write("spaced/other.py", "")
    module = project.load("spaced.inner.part", "class A: pass\ndef f(): return A")
    project.load("spaced.inner.more", "from spaced.inner import part")
    assert files_of(Project(), "spaced.inner.more") == {"spaced/inner/more.py", "spaced/inner/part.py"}
    assert far.call(module.f) is module.A


def test_a_tree_gets_a_number_when_what_is_in_it_changes(project):
    found = Project()
    module = project.load("numbered_a", "x = 1")
    project.load("numbered_b", "x = 1")
    first, content, _ = found.tree(["numbered_a"])
    assert found.tree(["numbered_a"])[0] is first
    second, _, _ = found.tree(["numbered_b"])
    assert second.number > first.number
    assert set(second.files) == {"numbered_a.py", "numbered_b.py"}  # it has all of the older ones
    assert found.tree(["numbered_a"])[0] is second
    project.write("numbered_a.py", "x = 22")
    assert found.tree(["numbered_a"])[0] is second
    importlib.reload(module)
    third, content, _ = found.tree(["numbered_a"])
    assert third.number > second.number
    assert content[third.files["numbered_a.py"]] == b"x = 22"
    assert set(content) == set(third.files.values())  # what no tree names any more is let go


def test_a_module_that_was_imported_after_it_was_carried_is_what_was_imported(far, project):
    """It may have been written anew in between."""
    lazy = project.load("uses_lazily", "def f():\n import imported_later\n return imported_later.x")
    project.write("imported_later.py", "x = 1")
    assert far.call(lazy.f) == 1
    project.write("imported_later.py", "x = 22")
    assert lazy.f() == far.call(lazy.f) == 22


def test_a_compiled_extension_is_named_in_the_log_and_not_carried(project, caplog):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    project.write(f"with_extension/fast{suffix}", b"\x7fELF")
    project.write("with_extension/__init__.py", "def f():\n from with_extension import fast")
    project.load("with_extension")
    assert files_of(Project(), "with_extension") == {"with_extension/__init__.py"}
    assert f"Module with_extension.fast is compiled ({project.path}/with_extension/fast{suffix})" in caplog.text
    assert "install it where the workers run" in caplog.text


def test_a_package_that_is_too_large_is_named(project, monkeypatch):
    monkeypatch.setattr(project_of, "MAX_PACKAGE_BYTES", 1 << 20)
    project.write("too_large/__init__.py")
    project.write("too_large/data.bin", bytes(1 << 21))
    project.load("too_large")
    with pytest.raises(CarriedCodeError, match=r"Package too_large \(.*/too_large\) holds more than 1 MB .* as a File"):
        Project().tree(["too_large"])


def test_a_package_that_cannot_be_carried_is_refused_each_time(project, monkeypatch):
    monkeypatch.setattr(project_of, "MAX_PACKAGE_BYTES", 1 << 20)
    project.write("too_large_twice/__init__.py")
    project.write("too_large_twice/data.bin", bytes(1 << 21))
    project.load("too_large_twice")
    found = Project()
    for _ in range(2):
        with pytest.raises(CarriedCodeError):
            found.tree(["too_large_twice"])
    (project.path / "too_large_twice/data.bin").write_bytes(b"")
    assert files_of(found, "too_large_twice") == {"too_large_twice/__init__.py", "too_large_twice/data.bin"}


def test_a_module_that_does_not_compile_travels_for_its_error(far, project):
    project.write("broken_module.py", "def f(:\n")
    lazy = project.load("uses_broken", "def f():\n import broken_module")
    with pytest.raises(SyntaxError):
        lazy.f()
    with pytest.raises(SyntaxError):
        far.call(lazy.f)


def test_trees_can_be_asked_for_from_many_threads(project):
    names = [f"threaded_{number}" for number in range(30)]
    for name in names:
        project.load(name, f"x = '{name}'")
    found = Project()
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(lambda name: found.tree([name]), names))
    for name, (tree, _, _) in zip(names, trees, strict=True):
        assert f"{name}.py" in tree.files
    last, content, _ = found.tree(names)
    assert len(last.files) == 30
    assert {bytes(content[digest]) for digest in last.files.values()} == {f"x = '{name}'".encode() for name in names}
