"""What the script defines travels once; a name is looked at at each submission."""

import gc
import threading
import weakref

import pytest

from parsl_context.content.carrying import carry
from parsl_context.content.space import space
from parsl_context.discover import definitions as definitions_of
from parsl_context.discover.packages import Packager
from parsl_context.errors import ContextSerializationError


@pytest.fixture
def packed(monkeypatch):
    """What is taken apart: identifiers of definitions, and values of names."""
    found = []

    def noting(value, *, root=None, **options):
        found.append(value)
        return carry(value, root=root, **options)

    monkeypatch.setattr(definitions_of, "carry", noting)
    return found


def package_of(made, value):
    return made.package(carry(value, defines=True)[1], is_code=False)


def test_a_name_may_be_defined_after_the_first_call(far, cell):
    main = cell("def f(): return later()")
    with pytest.raises(NameError):
        far.call(main.f)
    cell("def later(): return 1")
    assert far.call(main.f) == 1


def test_a_name_that_comes_to_stand_for_none_is_seen(far, cell):
    main = cell("def f(): return later")
    _, package = far.pack(main.f)
    assert package.watch.is_current()
    cell("later = None")
    assert not package.watch.is_current()
    assert far.call(main.f) is None
    _, package = far.pack(main.f)
    cell("del later")
    assert not package.watch.is_current()


def test_names_are_there_before_values_whose_own_code_uses_them(far, cell):
    main = cell("""
class A:
    def __init__(self): self.x = LIMIT
    def __hash__(self): return salted(self.x)
    def __getstate__(self): return 1
    def __setstate__(self, state): self.x = LIMIT
def salted(x): return hash((x, SALT, len(ALL)))
ALL = []
LIMIT = 3
SALT = "s"
FIRST = A()
GROUP = {A(): 1}
SALT_USER = frozenset([A()])
def f(): return FIRST.x, len(GROUP), len(SALT_USER)
""")
    assert far.call(main.f) == (3, 1, 1)


def test_a_class_that_a_call_of_a_module_has_made_does_not_stand_for_the_module(far, cell, project):
    module = project.load(
        "makes_classes", "def make():\n class Local: pass\n return Local\nL = make()\ndef f(x): return 1"
    )
    main = cell("from makes_classes import f\ndef check(x): return f(x), type(x)")
    assert far.call(main.check, module.L()) == (1, module.L)


SCRIPT = """
class A:
    def use(self): return helper(), LIMIT
def helper(): return A, LIMIT, TABLE
LIMIT = 1
TABLE = [1]
def f(): return A().use()
def g(): return helper()
"""


def test_each_definition_and_each_name_is_packed_once(cell, packed):
    main = cell(SCRIPT)
    made = Packager()
    first = package_of(made, main.f)
    count = len(packed)
    assert sum(each is main.A for each in packed) == 2  # the class, and that it stands under its name
    package_of(made, main.f)
    package_of(made, main.helper)
    assert len(packed) == count
    second = package_of(made, main.g)
    assert [each for each in packed[count:] if each is not main.g] == []
    assert first.content.keys() - second.content.keys()  # f itself, and its name


def test_a_name_that_is_bound_anew_gets_a_version_and_one_that_is_changed_in_place_does_not(cell, packed):
    main = cell(SCRIPT)
    made = Packager()
    first = package_of(made, main.f)
    main.TABLE.append(2)
    assert first.watch.is_current()
    assert package_of(made, main.f).digest == first.digest
    cell("LIMIT = 2")
    assert not first.watch.is_current()
    count = len(packed)
    second = package_of(made, main.f)
    assert packed[count:] == [2]
    assert second.digest != first.digest
    assert second.watch.is_current()
    cell("LIMIT = 1")
    assert package_of(made, main.f).digest not in (first.digest, second.digest)  # workers must set it once more


def test_a_function_that_is_defined_anew_is_another(cell):
    main = cell(SCRIPT)
    made = Packager()
    first = package_of(made, main.f)
    old = space.known(main.helper)
    cell("def helper(): return 0")
    second = package_of(made, main.f)
    assert old in first.definitions
    assert old not in second.definitions
    assert space.known(main.helper) in second.definitions


def test_a_value_that_cannot_be_pickled_is_named(cell):
    main = cell(
        "class Handle:\n def __reduce__(self): raise TypeError('no')\nhandle = Handle()\ndef f(): return handle"
    )
    with pytest.raises(ContextSerializationError, match=r"The global 'handle', of type Handle,.* TypeError: no"):
        package_of(Packager(), main.f)


def test_a_function_that_cannot_be_pickled_is_named(cell):
    main = cell("def f(x=(each for each in [])): return x")
    with pytest.raises(ContextSerializationError, match=r"^f "):
        package_of(Packager(), main.f)


def test_what_is_dead_is_forgotten(cell):
    """A notebook may run a cell a thousand times."""
    main = cell("def make(n):\n def inner(): return n, inner\n return inner\ndef run(): return f()")
    made = Packager()
    for number in range(50):
        cell(f"def f(): return {number}\nclosure = make({number})\nclass A:\n def a(self): return f, closure")
        package_of(made, [main.run, main.f, main.closure])
    del number
    gc.collect()
    assert len(made._definitions._items) < 10
    assert len(made._definitions._bound) < 10


def test_what_is_dead_is_no_longer_known_as_one_that_cannot_be_sent(cell):
    main = cell("def f(): return 1")
    made = Packager()
    seen = []
    for _ in range(20):
        cell("class A:\n kept = (each for each in [])\n def use(self): return f")
        made.package(carry(main.f, defines=True)[1])
        seen.append(weakref.ref(main.A))
    assert any(key == space.known(main.A) for key in made._definitions._left_out)
    cell("del A")
    made.package(carry(main.f, defines=True)[1])
    gc.collect()
    assert len(made._definitions._left_out) < 3
    assert sum(each() is not None for each in seen) < 3


def test_classes_are_kept_for_results_that_are_to_come_but_not_all(cell, monkeypatch):
    monkeypatch.setattr(definitions_of, "_CLASSES_KEPT", 5)
    main = cell("")
    made = Packager()
    names = []
    for _ in range(20):
        cell("class A: pass")
        package_of(made, main.A)
        names.append(space.known(main.A))
    gc.collect()
    assert [space.find(name) is not None for name in names] == [False] * 15 + [True] * 5
    assert len(made._definitions._items) <= 6


def test_nothing_is_needed_of_what_is_installed(cell):
    main = cell("import json")
    made = Packager()
    assert package_of(made, [json_dumps := main.json.dumps, len, 1]) is None
    assert package_of(made, json_dumps) is None


def test_a_package_covers_what_needs_no_more(cell, project):
    project.load("covered_module", "def f(): pass")
    project.load("other_module", "def f(): pass")
    main = cell(SCRIPT + "import covered_module, other_module\ndef h(): return covered_module.f, A")
    made = Packager()
    package = package_of(made, main.h)
    assert package.covers(carry([main.A(), main.covered_module.f], defines=True)[1])
    assert not package.covers(carry(main.f, defines=True)[1])
    assert not package.covers(carry(main.other_module.f, defines=True)[1])


def test_many_threads_may_ask_at_once(cell):
    names = [f"f{number}" for number in range(20)]
    pairs = zip(names, names[1:] + names[:1], strict=True)
    main = cell("".join(f"def {name}(): return {other}\n" for name, other in pairs))
    made = Packager()
    found = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(package_of(made, getattr(main, name)).content.keys()))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(content == found[0] or len(content) == len(found[0]) for content in found)
