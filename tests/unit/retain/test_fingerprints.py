"""What a call has changed in an object is found and named."""

import collections
import enum
import functools
import random
import subprocess
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import pytest

from parsl_context.retain.fingerprints import MOST_PARTS, changes, fingerprint


class Slotted:
    __slots__ = ("count", "rows")

    def __init__(self):
        self.count = 0
        self.rows = []


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


@dataclass
class Model:
    calls: int = 0
    names: dict = field(default_factory=lambda: {"a": [1, 2], "b": (3, {"deep": 4})})
    slotted: Slotted = field(default_factory=Slotted)
    weights: np.ndarray = field(default_factory=lambda: np.zeros((3, 4)))
    kind: Kind = Kind.ONE
    tags: set = field(default_factory=lambda: {"x"})
    queue: collections.deque = field(default_factory=lambda: collections.deque([1, 2]))
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    numpy_rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    buffer: bytearray = field(default_factory=lambda: bytearray(b"abc"))
    space: types.SimpleNamespace = field(default_factory=lambda: types.SimpleNamespace(x=1))

    @functools.cached_property
    def total(self):
        return self.calls + 1

    def bound(self):
        return None


def set_at(holder, key, value):
    holder[key] = value


CHANGES = {
    "calls: 0 became 1": lambda m: setattr(m, "calls", 1),
    "names['a']: 2 items became 3 items": lambda m: m.names["a"].append(5),
    "names['b'][1]['deep']: 4 became 5": lambda m: set_at(m.names["b"][1], "deep", 5),
    "names: 2 items became 3 items": lambda m: set_at(m.names, "c", 1),
    "names['a'] is gone": lambda m: m.names.clear(),
    "slotted.count: 0 became 1": lambda m: setattr(m.slotted, "count", 1),
    "slotted.rows: 0 items became 1 item": lambda m: m.slotted.rows.append(1),
    "weights: array of 3x4 float64": lambda m: set_at(m.weights, (1, 2), 1.0),
    "kind.": lambda m: setattr(m, "kind", Kind.TWO),
    "tags: 1 item became 2 items": lambda m: m.tags.add("y"),
    "queue[0]: 1 became 2": lambda m: m.queue.rotate(),
    "rng": lambda m: m.rng.random(),
    "numpy_rng": lambda m: m.numpy_rng.random(),
    "buffer": lambda m: set_at(m.buffer, 0, 9),
    "space.x: 1 became 2": lambda m: setattr(m.space, "x", 2),
    "extra is new": lambda m: setattr(m, "extra", 1),
}


@pytest.mark.parametrize("says", CHANGES)
def test_what_has_changed_is_named(says):
    model = Model()
    before = fingerprint(model, "m")
    CHANGES[says](model)
    found = changes(before, fingerprint(model, "m"), most=100)
    assert any(says in each for each in found), found
    assert changes(fingerprint(model, "m"), fingerprint(model, "m")) == []


def test_what_is_only_read_has_not_changed():
    model = Model()
    before = fingerprint(model)
    assert model.total == 1
    assert (model.weights.sum(), repr(model), model.bound()) == (0, repr(model), None)
    assert changes(before, fingerprint(model)) == []


def test_objects_that_hold_themselves_end():
    rows = [1]
    rows.append(rows)
    before = fingerprint(rows, "rows")
    rows[0] = 2
    assert changes(before, fingerprint(rows, "rows")) == ["rows[0]: 1 became 2"]


def test_the_number_of_parts_is_bounded():
    wide = {i: {j: [j] for j in range(100)} for i in range(10_000)}
    before = fingerprint(wide, "wide")
    assert len(before) <= MOST_PARTS
    wide[10_001] = {}
    assert "wide: 10000 items became 10001 items" in changes(before, fingerprint(wide, "wide"))


def test_long_texts_and_large_numbers_are_told_apart():
    assert fingerprint("a" * 1000 + "b") != fingerprint("a" * 1000 + "c")
    assert fingerprint(1 << 50_000) != fingerprint((1 << 50_000) + 1)
    assert all(len(text) < 100 for text in fingerprint(["a" * 1000, 1 << 50_000]).values())


def test_what_cannot_be_looked_at_counts_by_its_kind():
    class Refuses:
        __slots__ = ()

        def __reduce_ex__(self, protocol):
            raise RuntimeError("no")

    assert fingerprint([Refuses()], "r")["r[0]"].endswith("Refuses")


def test_many_changes_are_counted():
    before = fingerprint(list(range(20)), "r")
    assert changes(before, fingerprint(list(range(1, 21)), "r"))[-1] == "and 15 more"


@pytest.mark.library("pandas")
def test_tables_are_compared_by_column():
    import pandas

    table = pandas.DataFrame({"a": [1.0, 2.0], "name": ["x", "y"]})
    before = fingerprint(table, "t")
    table.loc[0, "a"] = 5.0
    table.loc[1, "name"] = "z"
    found = changes(before, fingerprint(table, "t"))
    assert len(found) == 2
    assert found[0].startswith("t['a']")
    assert found[1] == "t['name'][1]: 'y' became 'z'"


_TENSORS = """
import torch
from parsl_context.retain.fingerprints import changes, fingerprint

model = torch.nn.Linear(3, 2)
before = fingerprint(model, "m")
model(torch.zeros(1, 3)).sum().backward()
found = changes(before, fingerprint(model, "m"))
assert found and all(".grad is new" in each for each in found), found
before = fingerprint(model, "m")
with torch.no_grad():
    model.weight[0, 0] += 1
(found,) = changes(before, fingerprint(model, "m"))
assert "weight" in found, found
"""


@pytest.mark.process
@pytest.mark.library("torch")
def test_tensors_are_compared_by_value_and_gradient():
    subprocess.run([sys.executable, "-c", _TENSORS], check=True)
