"""Contexts that calls change are noticed, and the script is told."""

import pickle
import warnings

import pytest

from parsl_context import ConfigurationError, ContextDriftWarning, context, context_app
from parsl_context.retain.drift import DriftCheck, checked, say


def test_a_change_is_told_with_its_call():
    rows = [1]
    check = DriftCheck("table()", rows, 2)
    run = checked(rows.append, [check], "adds")
    with pytest.warns(ContextDriftWarning) as told:
        assert pickle.loads(pickle.dumps(run(2))) is None
    (text,) = (str(each.message) for each in told)
    assert text.startswith(
        "Context table() changed in call 1 of this process, of adds: context: 1 item became 2 items; context[1] is new."
    )


def test_a_result_is_what_the_body_gives_if_nothing_changed():
    given = []
    assert checked(lambda: given, [DriftCheck("t", [1], 3)], "gives")() is given


def test_an_error_carries_it_as_a_note():
    def raises():
        rows.append(1)
        raise KeyError(1)

    rows = []
    with pytest.raises(KeyError) as raised:
        checked(raises, [DriftCheck("t", rows, 1)], "raises")()
    assert "Context t changed" in raised.value.__notes__[0]


def test_later_calls_are_looked_at_ever_more_seldom():
    check = DriftCheck("t", [], 3)
    assert [i for i in range(1, 50) if check.before() is not None] == [1, 2, 3, 6, 12, 24, 48]


def test_what_changed_in_between_is_told_too():
    rows = []
    check = DriftCheck("t", rows, 1)
    for i in range(1, 5):
        before = check.before()
        if i == 3:
            rows.append(1)
        told = None if before is None else check.after(before, "body")
        assert (told is not None) == (i == 4)
    assert "between calls 2 and 4 of this process" in told


def test_it_is_told_three_times_at_most():
    rows = []
    run = checked(lambda x: rows.append(x) or True, [DriftCheck("t", rows, 10)], "adds", is_away=False)
    with pytest.warns(ContextDriftWarning) as told:
        all(map(run, range(8)))
    assert len(told) == 3


def test_no_call_fails_for_a_warning():
    rows = []
    run = checked(rows.append, [DriftCheck("t", rows, 1)], "adds", is_away=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(1) is None


def test_what_a_body_says_comes_with_its_result():
    def body():
        say("Something is odd.")
        return 5

    with pytest.warns(ContextDriftWarning, match="odd"):
        assert pickle.loads(pickle.dumps(checked(body, [], "body")())) == 5


def test_calls_in_this_process_are_looked_at_too():
    @context_app(context=context(check=2)(dict))
    def remembers(seen, x):
        seen[x] = x
        return x

    with pytest.warns(ContextDriftWarning, match="remembers: context: 0 items became 1 item"):
        assert remembers.func(3) == 3


def test_where_calls_run_in_forks_nothing_is_looked_at():
    @context_app(context=context(check=2, isolation="call")(dict))
    def remembers(seen, x):
        seen[x] = x
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert remembers.func(3) == 3


@pytest.mark.parametrize("check", [-1, 1.5, True])
def test_a_number_of_calls_is_wanted(check):
    with pytest.raises(ConfigurationError, match="check="):
        context(check=check)
