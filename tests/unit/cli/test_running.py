"""`--run` calls a function here, and tells what a context saves."""

import sys
import types

import pytest

from parsl_context.cli.errors import CommandError
from parsl_context.cli.loading import Loaded
from parsl_context.cli.running import Call, measure, show_run
from parsl_context.errors import SplitError

SCRIPT = '''
import os, parsl
from parsl_context import context, context_app

SEEN = []
NUMBERS = [4, 3, 2, 1]

def plain(x, *, y=0):
    """Doc."""
    import re
    print("called", flush=True)
    if x is None:
        raise ValueError("none\\nat all")
    pattern = re.compile(os.getenv("NO_SUCH_NAME", "a+"))
    SEEN.append(x)
    return pattern.findall(x)

app = parsl.python_app(plain)

def two(x):
    a = sorted([1]); return a[x]

@context_app
def block(x):
    with context:
        import re
        pattern = re.compile("a+")
    return pattern.findall(x)

@context_app(discover=True)
def found(x):
    table = sorted([3, 1])
    return table[x]

@context
def numbers(size):
    SEEN.append(size)
    return list(range(size))

@context_app(context=numbers.by("size"))
def apart(made, x):
    SEEN.append(x)
    return made[x]

def later(x):
    SEEN.append(x)
    if len(SEEN) == 2:
        raise KeyError(x)
    return x

def takes(given):
    return given.pop()

def shared(x):
    import re
    rows = re.finditer("a", "aaa")
    return x, str(rows.__class__)

def values(x):
    yield x

@parsl.bash_app
def command(x):
    return "true"

class Held:
    def __init__(self, n):
        self.n = n

    def method(self, x):
        table = sorted([3, 1])
        return table[x] + self.n

    @staticmethod
    def static(x):
        table = sorted([3, 1])
        return table[x]

def leaves(x):
    import sys
    sys.exit(x)
'''


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    sys.modules["script"] = module = types.ModuleType("script")
    module.__file__ = str(path)
    exec(compile(SCRIPT, str(path), "exec"), vars(module))
    yield Loaded("script.py", module)
    del sys.modules["script"]


def run(loaded, text, place=None):
    place = place or text.partition("(")[0]
    value = loaded.find(place)
    return measure(value, Call(text, loaded, value, place))


def places(found):
    return [(each.text.splitlines()[0], each.place) for each in found.statements]


@pytest.mark.parametrize("name", ["plain", "app"])
def test_any_function_is_called_three_times_and_its_statements_are_timed(loaded, name, capsys):
    found = run(loaded, f"{name}('banana', y=1)")
    assert places(found) == [
        ("import re", "both"),
        ('print("called", flush=True)', "body"),
        ("if x is None:", "body"),
        ('pattern = re.compile(os.getenv("NO_SUCH_NAME", "a+"))', "body"),
        ("SEEN.append(x)", "body"),
        ("return pattern.findall(x)", "body"),
    ]
    assert [each.is_leading for each in found.statements] == [True, True, True, True, False, False]
    assert all(each.first_s >= 0 and each.later_s >= 0 for each in found.statements)
    assert loaded.module.SEEN == ["banana"] * 3
    assert sum(each.first_s for each in found.statements) <= found.savings.first_s
    assert found.told[0].endswith("nothing of it may become a context.")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "called\n" * 3)


def test_statements_in_one_line_are_told_apart(loaded):
    assert places(run(loaded, "two(0)")) == [("a = sorted([1])", "context"), ("return a[x]", "body")]


@pytest.mark.parametrize("name", ["block", "found"])
def test_an_app_with_a_context_is_called_undivided(loaded, name):
    found = run(loaded, f"{name}({'0' if name == 'found' else repr('a')})")
    assert found.savings.shared_s > 0
    assert found.savings.divided_s < found.savings.call_s
    assert [each.place for each in found.statements][-2:] == ["context", "body"]
    assert ("undivided" in found.told[0]) == (name == "block")
    assert len([each for each in found.told if "1,000 calls on 4 workers" in each]) == 1


def test_of_a_context_and_a_body_that_are_two_functions_both_are_timed(loaded):
    found = run(loaded, "apart(2, size=4)")
    assert found.statements == ()
    assert found.told[0] == "apart is split already: its context and its body are written as two functions."
    assert loaded.module.SEEN == [4, 2, 2, 2]
    assert found.savings.shared_s > 0
    assert found.savings.divided_s < found.savings.call_s
    failed = run(loaded, "apart(9, size=4)")
    assert failed.savings is None
    assert failed.error == "apart raised IndexError: list index out of range."


def test_arguments_are_made_anew_for_each_call(loaded):
    assert run(loaded, "takes(list(NUMBERS[:1]))").error is None
    assert run(loaded, "takes([each for each in NUMBERS if each > 3])").error is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("two(0)", "--run takes a call of plain, as \"plain(3)\", and 'two(0)' calls two, which is another."),
        ("plain", "and 'plain' is no call."),
        ("plain(", "and 'plain(' is no expression: '(' was never closed."),
        ("gone(1)", "The call that --run gives cannot be made: NameError: name 'gone' is not defined."),
        ("plain(gone)", "The call that --run gives cannot be made: NameError: name 'gone' is not defined."),
        ("plain(1 / 0)", "The call that --run gives cannot be made: ZeroDivisionError: division by zero."),
    ],
)
def test_what_is_no_call_of_it_is_said(loaded, text, told):
    with pytest.raises(CommandError) as raised:
        run(loaded, text, "plain")
    assert str(raised.value).endswith(told)
    assert raised.value.status == 2


def test_a_call_that_raises_is_shown_as_far_as_it_got(loaded, capsys):
    found = run(loaded, "plain(None)")
    assert found.error == "plain raised in line 13 ValueError: none."
    assert [each.first_s is not None for each in found.statements] == [True, True, True, False, False, False]
    assert found.savings is None
    assert show_run(found, as_json=False) == 1
    printed = capsys.readouterr()
    assert "import re" in printed.out
    assert printed.err.endswith("plain raised in line 13 ValueError: none.\n")


def test_a_later_call_may_raise(loaded):
    found = run(loaded, "later(7)")
    assert found.error == "later raised in line 48 KeyError: 7."
    assert [each.first_s is not None for each in found.statements] == [True, True, True]
    assert [each.later_s is not None for each in found.statements] == [True, True, False]


def test_a_call_that_would_end_the_command_does_not(loaded):
    assert run(loaded, "leaves(3)").error == "leaves raised in line 81 SystemExit: 3."


def test_arguments_that_it_does_not_take_are_an_error_of_the_call(loaded):
    found = run(loaded, "plain(1, z=2)")
    assert found.error.endswith("TypeError: plain() got an unexpected keyword argument 'z'.")
    assert {each.first_s for each in found.statements} == {None}


def test_what_would_run_undivided_after_all_is_said(loaded):
    assert run(loaded, "shared(1)").told[-1].startswith("But calls would run undivided: rows is used up or changed")


def test_a_method_is_timed_though_it_cannot_be_split(loaded):
    found = run(loaded, "Held(2).method(1)", "Held.method")
    assert [each.later_s is not None for each in found.statements] == [True, True]
    assert found.told[-1].startswith(
        "But context_app(discover=True) refuses Held.method as it is: it is a method of Held"
    )
    assert "But" not in run(loaded, "Held.static(1)", "Held.static").told[-1]


def test_what_is_not_done_by_the_call_is_refused(loaded):
    with pytest.raises(CommandError, match="command is a bash app: its function only makes the command"):
        run(loaded, "command(1)")
    with pytest.raises(SplitError, match="it is a generator function"):
        run(loaded, "values(1)")
    with pytest.raises(SplitError, match="it is no function of Python code, but type"):
        run(loaded, "Held(1)")
