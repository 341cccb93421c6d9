"""What the script defines travels once; a name is looked at at each submission."""

import pytest


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
