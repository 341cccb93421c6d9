"""What one look at a function has found is not kept for the next: its globals may be others by then."""

import pytest

from parsl_context.discover.automatic import split_by_itself
from parsl_context.errors import SplitError


def helper(x):
    return [x, x]


def telling(x):
    print("told")
    return [x]


def call(i):
    rows = helper(3)
    return len(rows) + i


def test_a_function_that_is_bound_anew_is_looked_into_anew(monkeypatch):
    for _ in range(2):
        assert [each.place for each in split_by_itself(call).verdicts] == ["context", "body"]
        with monkeypatch.context() as patch:
            patch.setitem(globals(), "helper", telling)
            with pytest.raises(SplitError, match="more than compute"):
                split_by_itself(call)
