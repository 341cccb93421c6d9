"""Values travel by whatever serializer the user registered, or faster; code travels by value from beside the script."""

import functools
import json
import pickle
import sys
import threading

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl.serialize import facade
from parsl.serialize.base import SerializerBase

from parsl_context.content.serialization import pack_app, pack_code, pack_value, unpack_value
from tests.unit.builders import script, user_module

simple = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    simple,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | st.sets(st.text()),
    max_leaves=20,
)


def travelled(value):
    """A value as it comes out at the other end."""
    stream, buffers = pack_value(value)
    return unpack_value([bytes(stream), *map(bytes, buffers)])


def unpack_code(data):
    return unpack_value([data])


@given(values)
def test_a_value_comes_back_as_it_was(value):
    assert travelled(value) == value


def test_the_data_of_arrays_travels_beside_the_stream():
    arrays = [np.arange(10_000), np.ones((30, 30), order="F"), np.array([])]
    stream, buffers = pack_value(({"arrays": arrays}, {}))
    assert len(stream) < 1_000
    assert sum(memoryview(buffer).nbytes for buffer in buffers) == sum(array.nbytes for array in arrays)
    for got, sent in zip(travelled(arrays), arrays, strict=True):
        np.testing.assert_array_equal(got, sent)
        assert got.flags.f_contiguous == sent.flags.f_contiguous


def test_an_array_that_arrives_can_be_written_where_the_one_sent_could():
    """Apps change their arguments in place, as they may on any other executor."""
    array, constant = np.zeros(3), np.zeros(3)
    constant.flags.writeable = False
    got, got_constant = travelled((array, constant))
    got += 1
    assert got.tolist() == [1, 1, 1]
    assert array.tolist() == [0, 0, 0]
    assert not got_constant.flags.writeable


@pytest.mark.parametrize("view", [lambda a: a[::2], lambda a: a.T[1:], lambda a: a[:, 1]])
def test_views_of_arrays_travel(view):
    array = view(np.arange(20).reshape(4, 5))
    np.testing.assert_array_equal(travelled(array), array)


def test_what_the_fast_way_cannot_take_goes_to_dill():
    lock = travelled({"lock": threading.Lock()})["lock"]
    with lock:
        assert lock.locked()


def test_what_nothing_can_take_raises():
    with pytest.raises(TypeError):
        pack_value(iter_of_a_generator())


def iter_of_a_generator():
    return (i for i in range(3))


def test_objects_of_a_class_of_the_script_travel():
    box = script("class Box:\n  def __init__(self, x): self.x = x\n  def get(self): return self.x", "Box")
    got = travelled([box(3), box])
    assert got[0].get() == 3
    assert got[1](4).get() == 4


def test_functions_among_the_arguments_travel():
    factor = 3
    assert travelled((lambda x: factor * x, {}))[0](4) == 12


def test_what_the_user_registered_with_parsl_is_honoured(monkeypatch):
    """It is asked for every value, the simplest too, and found again by its name where it was not registered."""

    class Shouting(SerializerBase):
        identifier = b"user_shouting Shouting"

        def serialize(self, data):
            return json.dumps(data).upper().encode()

        def deserialize(self, body):
            return json.loads(body)

    module = type(sys)("user_shouting")
    module.Shouting = Shouting
    monkeypatch.setattr(facade, "methods_for_data", {Shouting.identifier: Shouting(), **facade.methods_for_data})
    stream, buffers = pack_value("hello")
    assert (stream, list(buffers)) == (b'user_shouting Shouting\n"HELLO"', [])
    assert unpack_value([stream]) == "HELLO"
    monkeypatch.undo()
    monkeypatch.setattr(facade, "additional_methods_for_deserialization", {})
    monkeypatch.setitem(sys.modules, "user_shouting", module)
    assert unpack_value([memoryview(stream)]) == "HELLO"
    assert pack_value("hello")[0] == pickle.dumps("hello", 5)


def test_closures_and_lambdas_travel_with_what_they_hold():
    rows = np.arange(5)
    assert unpack_code(pack_code(lambda i: rows[i] + 1))(2) == 3
    assert unpack_code(pack_code(functools.partial(lambda a, b: a - b, 5)))(3) == 2


def test_installed_functions_travel_by_name():
    assert unpack_code(pack_code(json.dumps)) is json.dumps
    assert len(pack_code(json.dumps)) < 100


def packed_from_a_module(folder, source, name="f"):
    """Code of a function of a module beside the script, whose module does not exist where it is unpacked."""
    with user_module(folder, source) as module:
        return pack_code(vars(module)[name])


def test_functions_beside_the_script_travel_by_value(tmp_path):
    source = "import json\nSIZE = 7\ndef help(x): return x + SIZE\ndef f(x): return json.dumps(help(x))"
    assert unpack_code(packed_from_a_module(tmp_path, source))(1) == "8"


def test_functions_of_a_package_beside_the_script_travel_by_value(tmp_path):
    package = tmp_path / "user_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("class Model:\n  size = 3\ndef f(): return Model().size")
    packed = packed_from_a_module(tmp_path, "from user_package.part import f")
    for name in ("user_package", "user_package.part"):
        del sys.modules[name]
    assert unpack_code(packed)() == 3


def test_a_module_that_cannot_travel_is_left_to_the_worker_to_import(tmp_path):
    source = "import threading\nlock = threading.Lock()\ndef f():\n  with lock: return 5"
    with user_module(tmp_path, source) as module:
        packed = pack_code(module.f)
        assert unpack_code(packed) is module.f
    with pytest.raises(ModuleNotFoundError, match=module.__name__):
        unpack_code(packed)


def test_what_cannot_be_pickled_is_said_by_the_pickler():
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        pack_code(lambda: lock)


def test_packing_leaves_no_module_registered_with_cloudpickle(tmp_path):
    before = cloudpickle.list_registry_pickle_by_value()
    packed_from_a_module(tmp_path, "def f(): return 1")
    with pytest.raises(TypeError):
        pack_code(threading.Lock())
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_what_the_user_registered_with_cloudpickle_stays_registered(tmp_path):
    with user_module(tmp_path, "def f(): return 1") as module:
        cloudpickle.register_pickle_by_value(module)
        try:
            pack_code(module.f)
            assert module.__name__ in cloudpickle.list_registry_pickle_by_value()
        finally:
            cloudpickle.unregister_pickle_by_value(module)


def test_an_object_can_stand_for_another_in_code():
    replaced = pack_code([1, json.dumps], lambda obj: (str, ("other",)) if obj is json.dumps else NotImplemented)
    assert unpack_code(replaced) == [1, "other"]


@pytest.mark.parametrize("function", [json.dumps, script("def f(x): return x", "f"), len])
def test_ordinary_apps_travel_by_parsl(function):
    packed = pack_app(function)
    assert packed[0] != 0x80
    assert unpack_code(memoryview(packed))([]) == function([])


@pytest.mark.timeout(20)
def test_values_that_share_parts_or_hold_themselves_travel():
    shared = [1]
    for _ in range(60):
        shared = [shared, shared]
    loop = {"list": [1]}
    loop["list"].append(loop)
    first, second = travelled(shared), travelled(loop)
    assert first[0] is first[1]
    assert second["list"][1] is second
