"""A control of the samples: each rule that keeps statements from moving has one that is split if it is left out."""

import pytest

from parsl_context.discover import (
    automatic,
    bound_names,
    calls,
    classes,
    compound,
    given_out,
    known_effects,
    known_names,
    lively,
    moving,
    passing,
    shapes,
)
from parsl_context.discover.automatic import split_by_itself
from parsl_context.errors import SplitError
from tests.unit.discover import guarded_samples, lively_samples, object_samples, passing_samples
from tests.unit.discover.automatic_samples import SAMPLES

_MORE = (guarded_samples, lively_samples, object_samples, passing_samples)  # their functions are among SAMPLES


def nothing(*args, **kwargs):
    return None


def no(*args, **kwargs):
    return False


def yes(*args, **kwargs):
    return True


# A rule, and how it is left out.
GUARDS = {
    "what may be stepped over": (passing.Passing, "lets_pass", yes),
    "methods that are known": (known_effects, "is_plain_method", yes),
    "methods that are called for their effect": (passing, "_is_for_effect", yes),
    "functions that only look": (known_effects, "only_looks", yes),
    "databases that are only asked": (known_effects, "only_asks", yes),
    "random numbers after a seed": (moving, "may_draw", nothing),
    "what calls would use up": (automatic, "_seen_live", lambda *args: {}),
    "what holds what is used up": (lively, "leaks", no),
    "what is put into what holds it": (lively, "gives_on", no),
    "what is taken out of what holds it": (lively, "_holds", no),
    "entries that are made": (automatic, "ways_asked", lambda *args: {"item"}),
    "variables of loops": (bound_names, "is_bound_before_read", yes),
    "names that what stays has bound": (moving.Moving, "_binds_here", nothing),
    "functions that are kept": (moving.Moving, "_gives_on", nothing),
    "functions with effects": (moving, "why_not_called", nothing),
    "what is caught": (compound, "_is_plain_handler", yes),
    "views of arrays": (given_out.GivenOut, "_is_view", no),
    "conditions": (shapes, "masks_in", lambda *args: frozenset({"first"})),
    "what all objects share": (classes, "_asked_in_making", lambda kind: set()),
    "fields that are made": (classes, "_makes_new", yes),
    "methods of the user's": (calls.Calls, "_is_of_users_class", no),
    "what nobody can change": (known_names, "gives_fixed", yes),
    "functions that change their first argument": (moving.Moving, "_may_change", no),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_rule_that_is_left_out_is_seen(monkeypatch, guard):
    owner, name, value = GUARDS[guard]
    monkeypatch.setattr(owner, name, value)
    split = []
    for function, names, says, _ in SAMPLES:
        try:
            found = split_by_itself(function).names
        except SplitError:
            continue
        if says is not None or not set(found) <= set(names):
            split.append(function.__name__)
    assert split
