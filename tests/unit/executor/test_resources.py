"""Resource specifications: what may stand in them, and the priority."""

import math

import pytest
from parsl.executors.errors import InvalidResourceSpecification

from parsl_context.executor.resources import check_values, priority


@pytest.mark.parametrize("resources", [None, {}, {"priority": 3, "num_nodes": 2, "note": "x", "share": 0.5}])
def test_numbers_and_texts_may_be_sent(resources):
    check_values(resources)


def test_other_values_are_refused_by_name():
    with pytest.raises(InvalidResourceSpecification, match="b, c") as raised:
        check_values({"a": 1, "c": [], "b": None})
    assert raised.value.invalid_keys == {"b", "c"}


def test_calls_without_a_priority_come_last():
    assert (priority(None), priority({}), priority({"num_nodes": 1})) == (math.inf,) * 3
    assert (priority({"priority": 0}), priority({"priority": -2})) == (0.0, -2.0)
