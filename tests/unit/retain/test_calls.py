"""On a worker, a body gets the instances of its process and the arguments of the call."""

import pickle
import time

import pytest
from parsl.app.errors import AppTimeout

from parsl_context.content.serialization import pack_code, unpack_value
from parsl_context.retain import calls
from parsl_context.retain.calls import BodyCall, ChunkCall, bind
from parsl_context.retain.instances import Instances, build


@pytest.fixture
def resident(monkeypatch):
    """A worker that holds contexts "a" and "b"."""
    instances = Instances()
    instances.add("a", build("a", lambda: 10))
    instances.add("b", build("b", lambda: 20))
    monkeypatch.setattr(calls, "resident", instances)
    return instances


def add(*numbers, scale=1):
    return scale * sum(numbers)


def difference(x, *, left, right):
    return left - right + x


def busy(_, seconds):
    """Spends time in bytecode, where an asynchronous exception arrives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_one_context_is_the_first_parameter(resident):
    assert BodyCall(add, [None], ["a"], None)(1, 2, scale=3) == 39


def test_several_contexts_go_by_name(resident):
    assert BodyCall(difference, ["right", "left"], ["a", "b"], None)(1) == 11


def test_a_chunk_is_a_list_of_calls(resident):
    assert ChunkCall(add, [None], ["a"], None)([(1,), (2, 3), ()]) == [11, 15, 10]


def test_the_instance_is_looked_up_at_each_call(resident):
    call = BodyCall(add, [None], ["a"], None)
    before = call(1)
    resident.drop("a")
    resident.add("a", build("a", lambda: 30))
    assert (before, call(1)) == (11, 31)


def test_what_the_body_raises_is_raised(resident):
    with pytest.raises(TypeError, match="unsupported operand"):
        BodyCall(add, [None], ["a"], None)("x")


@pytest.mark.parametrize("call", [BodyCall(busy, [None], ["a"], 0.01), ChunkCall(busy, [None], ["a"], 0.01)])
def test_a_body_that_takes_too_long_is_ended(resident, call):
    arguments = ([(0,), (10,)],) if isinstance(call, ChunkCall) else (10,)
    with pytest.raises(AppTimeout):
        call(*arguments)


@pytest.mark.parametrize("walltime_s", [None, 5.0])
def test_a_call_travels(resident, walltime_s):
    call = BodyCall(lambda context, x: context + x, [None], ["a"], walltime_s)
    assert unpack_value([pack_code(call)])(1) == 11


def test_a_call_holds_digests_and_no_instances(resident):
    packed = pickle.dumps(BodyCall(add, [None], ["a"], None))
    resident.close()
    with pytest.raises(KeyError):
        pickle.loads(packed)(1)


def test_a_bound_body_takes_what_the_body_takes():
    assert bind(add, [None], [5])(1, scale=2) == 12
    assert bind(difference, ["left", "right"], [5, 3])(x=1) == 3
