"""Equal content has equal digests, other content has other digests; names and identities do not count."""

import collections
import concurrent.futures
import functools
import math
import pathlib
import pickle
import sys
import threading
import traceback
import types

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_context.content.digests import digest_bytes, digest_content
from tests.unit.builders import script, user_module

atoms = st.sampled_from([None, False, True, 0, 1, 0.0, -0.0, 1.0, 1j, "", "1", "None", b"", b"1", "\ud800"])
hashables = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.sets(hashables, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
    ),
    max_leaves=8,
)


def content(value):
    """What counts, as a text: the model that digests are compared with."""
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(content, value))})"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(content, value)))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{content(k)}: {content(v)}' for k, v in value.items())})"
    return f"{type(value).__name__}({value!r})"


@given(values)
def test_a_copy_has_the_digest_of_the_original(value):
    assert digest_content(pickle.loads(pickle.dumps(value))) == digest_content(value)


@given(values, values)
def test_digests_are_equal_exactly_where_contents_are(one, other):
    assert (digest_content(one) == digest_content(other)) == (content(one) == content(other))


def test_the_order_of_dictionaries_counts_and_that_of_sets_does_not():
    words = [f"word {i}" for i in range(50)]
    assert digest_content({*words[:40], *words[40:]}) == digest_content({*words[40:], *words[:40]})
    assert digest_content(dict.fromkeys(words)) != digest_content(dict.fromkeys(reversed(words)))


def test_the_identity_of_equal_parts_does_not_count():
    text, other = "some text", "".join(["some", " ", "text"])
    assert digest_content([text, text]) == digest_content([text, other])
    assert digest_content(collections.deque([text, text])) == digest_content(collections.deque([text, other]))
    array = np.arange(5)
    assert digest_content([array, array]) == digest_content([array, array.copy()])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(6), np.array([0, 1, 2, 3, 4, 6])),
        (np.arange(6), np.arange(6).reshape(2, 3)),
        (np.arange(6, dtype="i4"), np.arange(6, dtype="u4")),
        (np.zeros(100_000), np.eye(1, 100_000)[0]),
        (np.float64(1.5), np.float64(2.5)),
        (pathlib.Path("a/b"), pathlib.Path("a/c")),
        (collections.deque([1, 2]), collections.deque([2, 1])),
        (collections.defaultdict(list), collections.defaultdict(int)),
        (collections.defaultdict(int, a=1), {"a": 1}),
        (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
        (bytearray(b"1"), b"1"),
        (range(3), range(4)),
        (int, str),
        (math.sin, math.cos),
        (math, threading),
    ],
    ids=repr,
)
def test_other_library_objects_have_other_digests(one, other):
    assert digest_content(one) == digest_content(pickle.loads(pickle.dumps(one)) if one is not math else math)
    assert digest_content(one) != digest_content(other)


def test_attributes_of_subclasses_of_containers_count():
    settings = script("class Settings(dict): pass", "Settings")
    one, same, other = settings(a=1), settings(a=1), settings(a=1)
    one.unit, same.unit, other.unit = "eV", "eV", "kJ"
    assert digest_content(one) == digest_content(same)
    assert digest_content(one) != digest_content(other)
    assert digest_content(one) != digest_content(settings(a=2, unit="eV"))


def test_containers_that_hold_themselves_have_digests():
    def loop(length):
        first = item = []
        for _ in range(length - 1):
            item.append([])
            item = item[0]
        item.append(first)
        return first

    assert digest_content(loop(2)) == digest_content(loop(2))
    assert len({digest_content(loop(length)) for length in (1, 2, 3)}) == 3


def test_a_back_reference_says_where_it_leads():
    outer, inner = [[]], []
    outer[0].append(outer)
    inner.append(inner)
    assert digest_content(outer) != digest_content([inner])


@pytest.mark.timeout(20)
def test_many_objects_that_know_each_other_take_no_longer_than_their_number():
    """A molecule, a mesh, a module of functions that call each other: no path through them is followed twice."""
    atom = script("class Atom: pass", "Atom")
    molecule = [atom() for _ in range(40)]
    for number, each in enumerate(molecule):
        each.number, each.bonds = number, molecule[:]
    source = "\n".join(f"def f{i}(n): return {', '.join(f'f{j}(n)' for j in range(40))}" for i in range(40))
    assert digest_content(molecule) == digest_content(pickle.loads(cloudpickle.dumps(molecule)))
    assert digest_content(script(source, "f0")) == digest_content(script(source, "f0"))
    assert digest_content(script(source, "f0")) != digest_content(script(source + "+ (1,)", "f0"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("wrap", [lambda part: [part, part], lambda part: {"a": (part,), "b": [(part,)]}])
def test_parts_that_containers_share_are_looked_into_once(wrap):
    def made(last):
        return functools.reduce(lambda part, _: wrap(part), range(40), [last])

    assert digest_content(made(1)) == digest_content(made(1)) != digest_content(made(2))
    equal = [[[1], 2], [[1], 2]]
    assert digest_content(equal) == digest_content([equal[0], equal[0]]), "whether they are one object does not count"


def test_a_long_chain_of_objects_has_a_digest():
    node = script("class Node:\n  def __init__(self, value, next): self.value, self.next = value, next", "Node")

    def chain(last):
        return functools.reduce(lambda tail, value: node(value, tail), range(150), node(last, None))

    assert digest_content(chain("a")) == digest_content(chain("a")) != digest_content(chain("b"))


def test_what_the_caller_stands_in_for_is_not_looked_into():
    lock = threading.Lock()
    assert digest_content([1, lock], escape=lambda value: "the lock" if value is lock else None) == digest_content(
        [1, lock], escape=lambda value: "the lock" if value is lock else None
    )
    assert digest_content("the lock") != digest_content(lock, escape=lambda value: "the lock")


@pytest.mark.parametrize("length", [500, 3000])
def test_a_chain_longer_than_the_stack_is_deep_has_a_digest(length):
    def chain(last):
        return functools.reduce(lambda tail, _: [tail], range(length), {"last": last})

    assert digest_content(chain(1)) == digest_content(chain(1)) != digest_content(chain(2))
    assert digest_content(chain(len)) == digest_content(chain(len)) != digest_content(chain(sum))


def test_a_digest_needs_little_room_on_the_stack():
    def deeper(left):
        return digest_content([[{1: [len]}]]) if left == 0 else deeper(left - 1)

    frames = sum(1 for _ in traceback.walk_stack(None))
    assert deeper(sys.getrecursionlimit() - frames - 60) == digest_content([[{1: [len]}]])


def test_an_object_that_is_taken_apart_without_end_is_refused():
    kind = script("class Endless:\n  def __reduce__(self): return Endless, (Endless(),)", "Endless")
    with pytest.raises(RecursionError, match="lie within each other"):
        digest_content(kind())


def test_the_escape_is_asked_in_deep_objects_too():
    lock = threading.Lock()
    deep = functools.reduce(lambda tail, _: [tail], range(300), lock)
    assert digest_content(deep, escape=lambda value: "the lock" if value is lock else None)


def test_what_was_skipped_where_code_uses_it_is_no_argument():
    """A lock that a function knows by name counts by its kind, but the same lock as an argument cannot be sent."""
    use = script("import threading\nlock = [threading.Lock()]\ndef load(): return lock", "load")
    assert digest_content(use)
    with pytest.raises(TypeError, match="lock"):
        digest_content([use, use.__globals__["lock"]])


def test_a_future_within_an_object_is_refused_in_a_sentence():
    with pytest.raises(TypeError, match=r"Future within an object.*pass its result"):
        digest_content([pathlib.Path(), types.SimpleNamespace(value=concurrent.futures.Future())])


def test_what_cannot_be_pickled_has_no_digest():
    with pytest.raises(TypeError, match="lock"):
        digest_content([threading.Lock()])


def test_what_cannot_be_pickled_in_a_closure_is_no_empty_variable():
    source = "import ctypes\ndef outer(x):\n  def load(): return x\n  return load\nload = outer(ctypes.c_char_p(b'a'))"
    with pytest.raises(ValueError, match="ctypes"):
        digest_content(script(source, "load"))


def test_digests_are_short_hexadecimal_texts():
    for digest in (digest_bytes(b"data"), digest_content("data")):
        assert len(bytes.fromhex(digest)) == 16
    assert digest_bytes(b"data") == digest_bytes(bytearray(b"data")) == digest_bytes(memoryview(b"data"))


def test_a_module_of_the_users_is_known_by_what_is_in_it_and_an_installed_one_by_its_name(tmp_path, monkeypatch):
    with user_module(tmp_path, "x = 1", "user_settings") as module:
        before = digest_content([module])
        assert digest_content([module]) == before
        module.x = 2
        assert digest_content([module]) != before
        module.x = 1
        assert digest_content([module]) == before
    before = digest_content([math])
    monkeypatch.setattr(math, "added", 1, raising=False)
    assert digest_content([math]) == before != digest_content([sys])
