"""How large a value is where it is sent, without a copy of it and in a bounded time."""

import pickle
import threading
import time
import tracemalloc

import numpy as np
import pytest

from parsl_context.discover.needs.sizes import size_of


@pytest.mark.parametrize(
    ("value", "at_least", "at_most"),
    [
        (b"x" * 1000, 1000, 1000),
        ("x" * 1000, 1000, 1000),
        (np.zeros((10, 100)), 8000, 8000),
        ({"a": np.zeros((10, 100)), "b": bytes(5000)}, 13_000, 13_500),
        ([1.5] * 1000, 5000, 10_000),
        (None, 1, 10),
    ],
)
def test_a_value_takes_what_its_pickle_takes(value, at_least, at_most):
    size_bytes, is_all = size_of(value)
    assert at_least <= size_bytes <= at_most
    assert is_all


def test_arrays_in_other_objects_are_not_copied():
    array = np.zeros(50_000_000, dtype=np.uint8)
    tracemalloc.start()
    try:
        size_bytes, _ = size_of([array])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes > array.nbytes
    assert peak_bytes < 1_000_000


class Slow:
    """Takes a fiftieth of a second for each MB."""

    def __reduce__(self):
        time.sleep(0.02)
        return bytes, (pickle.dumps(1) * 40_000,)


def test_what_takes_long_is_given_up_with_what_was_counted():
    began = time.monotonic()
    size_bytes, is_all = size_of([Slow() for _ in range(1000)], limit_s=0.1)
    assert not is_all
    assert size_bytes > 0
    assert time.monotonic() - began < 10


def test_what_dill_takes_counts_as_well():
    size_bytes, is_all = size_of([threading.Lock(), bytes(1000)])
    assert size_bytes > 1000
    assert is_all


def test_what_cannot_be_pickled_raises():
    with pytest.raises(TypeError, match="generator"):
        size_of(each for each in [])
