"""Leaves of lists, tuples and dictionaries are swapped wherever they are."""

from collections import OrderedDict, defaultdict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_context.retain.arguments import map_leaves

Pair = namedtuple("Pair", ["first", "second"])


class Leaf:
    """Something to swap."""

    def __init__(self, name):
        self.name = name


def fill_in(value, swap):
    return map_leaves(value, lambda leaf: swap(leaf.name) if isinstance(leaf, Leaf) else leaf)


nested = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(nested)
def test_a_value_with_nothing_to_swap_comes_back_equal(value):
    assert map_leaves(value, lambda leaf: leaf) == value


@given(nested)
def test_each_leaf_is_swapped_and_nothing_else(value):
    swapped = map_leaves(value, lambda leaf: f"<{leaf}>")
    assert map_leaves(swapped, lambda leaf: int(leaf.strip("<>"))) == value


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        (Leaf("a"), "A"),
        ([1, (Leaf("a"), {"key": Leaf("b")})], [1, ("A", {"key": "B"})]),
        (Pair(1, Leaf("a")), Pair(1, "A")),
        (OrderedDict(x=Leaf("a"), y=2), OrderedDict(x="A", y=2)),
        (defaultdict(list, x=[Leaf("a")]), defaultdict(list, x=["A"])),
    ],
)
def test_leaves_are_swapped_in_subclasses_too(value, filled):
    result = fill_in(value, {"a": "A", "b": "B"}.__getitem__)
    assert result == filled
    assert type(result) is type(filled)


def test_arguments_are_not_changed_themselves():
    argument = {"key": [Leaf("a")]}
    assert fill_in(argument, lambda _: "A") == {"key": ["A"]}
    assert isinstance(argument["key"][0], Leaf)


def test_a_copy_holds_itself_where_the_value_does():
    loop = [Leaf("a")]
    loop.append({"pair": (loop, OrderedDict(own=loop))})
    filled = fill_in((loop,), lambda _: "A")[0]
    assert filled[0] == "A"
    assert filled[1]["pair"][0] is filled[1]["pair"][1]["own"] is filled
    knot = ([],)
    knot[0].append(knot)
    assert fill_in(knot, lambda _: "A")[0][0][0] is not knot[0]


@pytest.mark.timeout(20)
def test_what_is_in_a_value_twice_is_copied_once():
    value = [1]
    for _ in range(60):
        value = [value, {"same": value}]
    filled = map_leaves(value, lambda leaf: leaf + 1)
    assert filled[0] is filled[1]["same"]
    while len(filled) > 1:
        filled = filled[0]
    assert filled == [2]
