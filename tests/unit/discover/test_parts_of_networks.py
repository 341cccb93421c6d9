"""A network is not shared if a call changes it in place, or a part of it: whoever asks for that, by whatever name."""

import types

import pytest

from parsl_context.discover import calls, lineage, origins, uses
from parsl_context.discover.automatic import split_by_itself
from parsl_context.errors import SplitError
from parsl_context.retain import terms
from parsl_context.retain.undivided import EitherWay, LeadingWork

torch = pytest.importorskip("torch")

BEGINNING = """
import torch
from torch import nn


def converted(m):
    return m.to(torch.float64)


def part_of(m, x):
    part = m[0]
    return part if x else m[0]


def parts_of(m):
    yield m[0]


class Holder:
    def __init__(self, m):
        self.m = m

    def change(self, kind):
        return self.m.to(kind)


def computed(m, row):
    return m(row)


def call(x):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    model.load_state_dict(torch.load("weights.pt"))
    seen = str(model[0].weight.dtype) if x else ""
    kind = torch.float64 if x else None
    row = torch.ones(1, 2)
"""
CHANGING = {
    "an item": "done = model[0].to(kind)",
    "an item with a name": "part = model[0]\n    part = part if x else model[0]\n    done = part.to(kind)",
    "another name": "other = model if x else model\n    done = other.to(kind)",
    "a function": "done = converted(model if x else model)",
    "a function of an item": "done = converted(model[0 if x else 1])",
    "a function that gives a part": "done = part_of(model, x).to(kind)",
    "a part that a function gave": "part = part_of(model, x)\n    done = part.to(kind)",
    "a function of the class": "done = nn.Module.to(model, kind)",
    "a method with a name": "change = model[0].to\n    done = change(kind)",
    "a method with a name, later": "change = model.to if x else model[1].to\n    done = change(kind)",
    "an iterator": "done = next(iter(model)).to(kind)",
    "what getattr gives": "part = getattr(model, '0')\n    done = part.to(kind)",
    "a captured part": "def part():\n        return model[0]\n    done = part().to(kind)",
    "a generator": "done = next(parts_of(model)).to(kind)",
    "a lambda": "change = lambda m: m.to(kind)\n    done = change(model)",
    "an object of the user's": "done = Holder(model).change(kind)",
    "a function within": "def inner(m):\n        return m.to(kind)\n    done = inner(model)",
    "a loop": "for each in model:\n        done = each.to(kind)",
    "children": "for each in model.children():\n        done = each.to(kind)",
    "a module by its name": "done = model.get_submodule('0').to(kind)",
    "a comprehension": "done = [each.to(kind) for each in model]",
}
COMPUTING = {
    "a result": "done = model(row).to(kind).cpu().detach()",
    "a result with a name": "y = model(row)\n    done = y.to(kind)",
    "a result of a function": "done = computed(model, row).to(kind)",
}


def outcomes(tmp_path, body):
    """Whether it is shared, and what calls give when it is split, and when not."""
    torch.manual_seed(3)
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()).state_dict(), "weights.pt")
    path = tmp_path / "network.py"
    path.write_text(f"{BEGINNING}    {body}\n    return seen, repr(done)\n")
    space = {"__name__": "network", "__file__": str(path)}
    exec(compile(path.read_text(), str(path), "exec"), space)
    undivided = [space["call"](x) for x in (1, 2, 1)]
    try:
        found = split_by_itself(space["call"])
    except SplitError:
        return False, undivided, undivided
    made = LeadingWork(found.context, found.terms)()
    run = EitherWay(found.body, found.function, terms=found.terms)
    return made is not None, [run(made, x) for x in (1, 2, 1)], undivided


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("body", CHANGING.values(), ids=CHANGING)
def test_a_network_of_which_a_part_is_changed_is_not_shared(tmp_path, body):
    is_shared, divided, undivided = outcomes(tmp_path, body)
    assert not is_shared
    assert divided == undivided


@pytest.mark.parametrize("body", COMPUTING.values(), ids=COMPUTING)
def test_what_it_computes_may_be_converted(tmp_path, body):
    is_shared, divided, undivided = outcomes(tmp_path, body)
    assert is_shared
    assert divided == undivided


def names_alone(found):
    return {name for name, origin in found.items() if origin.steps == 0}


FLAWS = {
    "parts": [(calls, "told", names_alone)],
    "functions": [(uses.Uses, "take_over", lambda *args: None)],
    "what gives parts": [(terms, "_GIVING_MODULES", frozenset())],
    "what functions return": [(uses, "GIVING_MODULE", "nothing")],
    "methods with names": [(terms, "types", types.SimpleNamespace(MethodType=()))],
    "methods of classes": [(calls, "ASKED_OF_MODULES", frozenset())],
    "built-in functions": [(lineage, "from_builtin", origins.untold)],
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_rule_that_is_left_out_is_seen(tmp_path, monkeypatch, flaw):
    for owner, name, value in FLAWS[flaw]:
        monkeypatch.setattr(owner, name, value)
    seen = [outcomes(tmp_path, body) for body in CHANGING.values()]
    assert any(divided != undivided for _, divided, undivided in seen)
