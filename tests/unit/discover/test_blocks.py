"""Functions with a `with context:` block: what is split, and that both halves do what the whole does."""

import inspect
import linecache
import sys
import traceback

import pytest

from parsl_context import SplitError, context, context_app, split
from parsl_context.content.digests import digest_content
from tests.unit.discover import block_samples
from tests.unit.discover.block_samples import REFUSED, SPLIT


def name_of(value):
    return getattr(value, "__name__", None) if callable(value) else None


def outcome(function, args, kwargs):
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)


def test_there_are_many():
    assert len(SPLIT) >= 50
    assert len(REFUSED) >= 25
    assert len({name_of(function) for function, *_ in (*SPLIT, *REFUSED)}) > 75


@pytest.mark.parametrize(("function", "keys", "names", "calls"), SPLIT, ids=name_of)
def test_a_function_is_split_at_its_block(function, keys, names, calls):
    found = split(function)
    assert (found.keys, found.names) == (keys, names)


@pytest.mark.parametrize(("function", "keys", "names", "calls"), SPLIT, ids=name_of)
def test_both_halves_do_what_the_whole_does(function, keys, names, calls):
    app = context_app(function)
    for args, kwargs in (*calls, *reversed(calls)):
        assert outcome(app.func, args, kwargs) == outcome(function, args, kwargs)


@pytest.mark.parametrize(("function", "says", "line"), REFUSED, ids=name_of)
def test_what_cannot_be_split_is_refused_with_its_place(function, says, line):
    with pytest.raises(SplitError, match=says) as caught:
        context_app(function)
    error = caught.value
    if isinstance(function, type(name_of)):
        assert function.__qualname__ == error.function
        assert error.file == function.__code__.co_filename
        assert error.file in str(error)
        assert f"line {error.line}" in str(error)
    if line is not None:
        decorators = sum(each.lstrip().startswith("@") for each in inspect.getsource(function).splitlines()[:2])
        assert error.line == function.__code__.co_firstlineno + decorators + line - 1


def test_a_block_is_run_once_and_the_rest_with_every_call():
    built = []

    @context_app
    def app(x, name="a"):
        with context:
            built.append(name)
            model = name.upper()
        return model + x

    assert [app.func("1"), app.func("2"), app.func("3", name="b"), app.func("4", "a")] == ["A1", "A2", "B3", "A4"]
    assert built == ["a", "b"]


def test_what_the_block_registers_is_called_at_its_end_the_latest_first(monkeypatch):
    from parsl_context.apps.portable import process_contexts

    ended = []

    @context_app
    def app():
        with context:
            context.cleanup(ended.append, 1)
            context.cleanup(ended.append, 2)
        return list(ended)

    assert app.func() == []
    process_contexts.close()
    assert ended == [2, 1]


def test_a_block_that_fails_cleans_up_at_once():
    ended = []

    @context_app
    def app():
        with context:
            context.cleanup(ended.append, 1)
            raise OSError("no such weights")

    with pytest.raises(OSError, match="no such weights"):
        app.func()
    assert ended == [1]


def test_nothing_is_registered_where_no_context_is_built():
    with pytest.raises(ValueError, match="is for blocks"):
        context.cleanup(print)


def test_a_block_has_the_options_that_it_is_opened_with():
    app = context_app(block_samples.with_options)
    assert (app.block.options.reuse, app.block.options.memory_gb) == ("memory", 0.5)
    assert app.contexts[0].name == "with_options()"


def test_the_context_is_named_after_its_app():
    app = context_app(block_samples.a_key)
    assert app.contexts[0].at({"name": "mini"}).name == "a_key(name='mini')"


def test_tracebacks_show_the_lines_of_the_user():
    app = context_app(block_samples.errors_of_the_body)
    with pytest.raises(ZeroDivisionError) as caught:
        app.func(0)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.line == "return a / x"
    assert linecache.getline(block_samples.__file__, frame.lineno).strip() == "return a / x"
    assert frame.name == "errors_of_the_body"


def test_the_source_of_a_body_is_that_of_its_function():
    app = context_app(block_samples.several)
    assert inspect.getsource(block_samples.several).endswith(inspect.getsource(app.body))
    assert inspect.getsource(app.body).startswith("def several(x):")
    assert app.body.__doc__ == "With a docstring."
    assert inspect.signature(app) == inspect.signature(block_samples.several)


def test_a_tracer_sees_the_lines_of_both_halves():
    """As coverage and debuggers do."""
    lines = set()

    def trace(frame, event, _):
        if frame.f_code.co_filename == block_samples.__file__ and event == "line":
            lines.add(frame.f_lineno)
        return trace

    app = context_app(block_samples.several)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        app.func(1)
    finally:
        sys.settrace(before)
    first = block_samples.several.__code__.co_firstlineno
    assert lines == {first + i for i in range(3, 8)}


def test_an_edited_body_keeps_its_context():
    """Its digest is that of the block alone; lines that moved do not count."""
    made = []
    for last in ("return a + x", "\n    return a - x"):
        text = f"def app(x):\n    with context:\n        a = TABLE\n    {last}\n"
        file = f"<cell {len(made)}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        names = {"context": context, "TABLE": 5, "__name__": "__main__"}
        exec(compile(text, file, "exec"), names)
        made.append(split(names["app"]))
    assert digest_content(made[0].context) == digest_content(made[1].context)
    assert digest_content(made[0].body) != digest_content(made[1].body)


def test_a_function_whose_file_was_edited_since_it_was_loaded_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "edited.py"
    file.write_text(
        "from parsl_context import context\n\n\ndef f(x):\n    with context:\n        a = 1\n    return a + x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import edited  # type: ignore[import-not-found]

    assert split(edited.f).names == ("a",)
    file.write_text(file.read_text().replace("a = 1", "a = 2"))
    linecache.checkcache()
    with pytest.raises(SplitError, match="changed since it was loaded"):
        split(edited.f)


def test_definitions_within_keep_their_names():
    """Tracebacks, pickles and `repr` show them."""

    def whole(x):
        with context:
            table = [lambda: 0]

        def inner():
            class Row:
                pass

            return Row

        return inner.__qualname__, inner().__qualname__, (lambda: 0).__qualname__, table[0].__qualname__

    app = context_app(whole)
    assert app.func(1) == (
        f"{whole.__qualname__}.<locals>.inner",
        f"{whole.__qualname__}.<locals>.inner.<locals>.Row",
        f"{whole.__qualname__}.<locals>.<lambda>",
        f"{whole.__qualname__}.<locals>.<lambda>",
    )
