"""Names of the script on a worker: set when the user's have changed, and left alone otherwise."""

import contextlib
import importlib

import pytest

from parsl_context.content.space import space
from tests.unit.far import Far


def test_what_code_sets_there_survives_until_the_script_binds_the_name_anew(far, cell):
    main = cell("state = 'script'\ndef set_it(value):\n global state\n state = value\ndef get(): return state")
    assert far.call(main.get) == "script"
    far.call(main.set_it, "worker")
    assert far.call(main.get) == "worker"
    assert main.state == "script"
    cell("state = 'again'")
    assert far.call(main.get) == "again"


def test_code_that_was_packed_before_a_name_was_bound_anew_sees_what_it_was_then(far, cell):
    main = cell("x = [1]\ndef get(): return x")
    old = far.pack((main.get, (), {}))
    assert far.run(*old) == [1]
    cell("x = [2]")
    assert far.call(main.get) == [2]
    assert far.run(*old) == [1]
    assert far.call(main.get) == [2]


def test_a_name_that_was_set_before_another_failed_is_known_to_be_another(far, cell):
    main = cell("""
a = 1
def get_a(): return a
class Bad:
    def __setstate__(self, state): raise OSError("no")
    def __getstate__(self): return 1
b = Bad()
def get_both(): return a, b
""")
    first = far.pack((main.get_a, (), {}))
    assert far.run(*first) == 1
    cell("a = 2")
    with pytest.raises(OSError, match="no"):
        far.call(main.get_both)
    assert far.run(*first) == 1


def test_a_call_that_was_packed_before_a_module_was_loaded_anew_is_older(far, project):
    """Also if this process has run it before."""
    module = project.load("older_module", "def f(): return 1")
    old = far.pack((module.f, (), {}))
    assert far.run(*old) == 1
    assert far.look(f"carried.why_older([None, {old[1].digest!r}])") is None
    project.write("older_module.py", "def f(): return 22")
    importlib.reload(module)
    assert far.call(module.f) == 22
    assert far.look(f"carried.why_older([None, {old[1].digest!r}])") == "module older_module was loaded anew since"
    new = far.pack((module.f, (), {}))
    assert far.look(f"carried.why_older([{new[1].digest!r}])") is None


def test_what_nobody_names_any_more_is_let_go(tmp_path, cell):
    main = cell("class A: pass\nx = [1]\ndef f(): return A, x")
    with contextlib.closing(Far(tmp_path / "far")) as far:
        frames, package = far.pack((main.f, (), {}))
        far.run(frames, package)
        name = space.known(main.A)
        assert far.look(f"space.find({name!r}) is sys.modules['__main__'].A")
        far.forget(package.digest, *package.content)
        assert far.look(f"space.find({name!r})") is None
        assert far.look("len(carried._headers) + len(carried._prepared) + len(carried._definitions)") == 0
        assert far.call(main.f) == (main.A, [1])


def test_what_is_forgotten_while_others_need_it_comes_again(far, cell):
    main = cell("class A: pass\ndef f(): return A\ndef g(): return A")
    _, first = far.pack((main.f, (), {}))
    assert far.call(main.f) is main.A
    far.call(main.g)
    far.forget(first.digest)  # the header alone: what it names is named by another, too
    assert far.call(main.f) is main.A


def test_text_of_the_script_is_there(far, cell):
    main = cell("def f():\n    import inspect\n    return inspect.getsource(f)  # this very line")
    assert far.call(main.f).endswith("# this very line")


def test_the_script_has_its_file_and_no_more_facts_than_here(far, cell):
    main = cell("def f(): return __file__, __name__, __package__, sorted(globals())")
    assert far.call(main.f)[:3] == (main.__file__, "__main__", None)


def test_a_forked_process_goes_on_with_what_its_parent_had(far, cell):
    main = cell("""
import os, pickle
class A: pass
def f():
    reader, writer = os.pipe()
    if not os.fork():
        try:
            os.write(writer, pickle.dumps([A is type(A()), __file__]))
        finally:
            os._exit(0)
    os.wait()
    os.close(writer)
    with open(reader, "rb") as answer:
        return pickle.load(answer)
""")
    assert far.call(main.f) == [True, main.__file__]


def test_modules_are_found_whatever_a_body_has_made_of_the_path(far, cell, project):
    """Also by imports in functions that have run before."""
    project.write("found_late.py", "x = 1")
    main = cell("def late():\n import found_late\n return found_late.x")
    packed = far.pack((main.late, (), {}))
    assert far.run(*packed) == 1
    far.look("sys.modules.pop('found_late').x")
    far.look("sys.path.clear()")
    assert far.run(*packed) == 1
    assert far.look("sys.path") == [str(far.folder / "trees" / far.look("sys.path[0].rpartition('/')[2]"))]
