"""Calls of context apps run on executors that place contexts, unless the app says otherwise or there are none."""

from types import SimpleNamespace

import pytest

from parsl_context.apps.places import Warmed, feasible
from parsl_context.errors import ConfigurationError

OURS, OTHER = SimpleNamespace(preload=None), SimpleNamespace()
MIXED = {"threads": OTHER, "a": OURS, "b": OURS, "_parsl_internal": OTHER}


@pytest.mark.parametrize(
    ("wanted", "executors", "labels"),
    [
        ("all", MIXED, ["a", "b"]),
        ("all", {"threads": OTHER, "_parsl_internal": OTHER}, "all"),
        ("all", {}, "all"),
        (["threads"], MIXED, ["threads"]),
        (["b", "threads"], MIXED, ["b", "threads"]),
        (["_parsl_internal"], MIXED, ["_parsl_internal"]),
    ],
)
def test_calls_run_where_contexts_are_placed(wanted, executors, labels):
    assert feasible("app", wanted, executors) == labels


def test_an_executor_that_is_added_later_counts():
    executors = {"threads": OTHER}
    assert feasible("app", "all", executors) == "all"
    executors["late"] = OURS
    assert feasible("app", "all", executors) == ["late"]


@pytest.mark.parametrize(
    ("wanted", "executors", "says"),
    [
        (["gpu", "a"], MIXED, "no executor 'gpu'; the executors of this run are 'threads', 'a', 'b'"),
        ([], MIXED, "that names none"),
        (["gpu"], {}, "are none"),
    ],
)
def test_what_the_run_does_not_have_is_refused_with_what_it_has(wanted, executors, says):
    with pytest.raises(ConfigurationError, match=says):
        feasible("app", wanted, executors)


def test_what_was_warmed_reads_well():
    warmed = Warmed((("a", "x()"), ("a", "y()"), ("b", "x()")), ("z() on b is built for each call",))
    assert (warmed.executors, warmed.contexts) == (("a", "b"), ("x()", "y()"))
    assert repr(warmed) == "<warming x(), y() on a; x() on b; z() on b is built for each call>"
    assert not Warmed()
    assert repr(Warmed()) == "<warming nothing>"
