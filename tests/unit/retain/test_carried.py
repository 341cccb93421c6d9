"""Names of the script on a worker: set when the user's have changed, and left alone otherwise."""

import pytest


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
