"""What a self-contained function is made of, and what cannot be one."""

from __future__ import annotations

import inspect
import pickle
import textwrap
import threading
from typing import Any

import pytest

from parsl_context import ConfigurationError, ContextSerializationError, context, context_app
from parsl_context.errors import CarriedCodeError
from parsl_context.standalone.function import TOLD, runtime_name, runtime_text

LARGE = bytes(range(256)) * 1
LOCK = threading.Lock()


@context
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@context_app(context=numbers())
def total(numbers: list[int], x: int = 1) -> int:
    """Sum them."""
    return sum(numbers) * x


def test_the_stub_is_short_and_the_runtime_has_nothing_of_ours() -> None:
    source = total.as_globus_function().source
    assert len(source.splitlines()) < 40
    assert not [line for line in runtime_text().splitlines() if line.startswith(("import parsl", "from parsl"))]
    assert runtime_name() in source


def test_it_is_a_plain_function_to_those_who_look() -> None:
    function = total.as_globus_function()
    assert (function.__name__, function.__doc__) == ("total", "Sum them.")
    assert inspect.getsource(function) == function.source  # type: ignore[arg-type]
    assert total.as_globus_function() is function
    assert type(pickle.loads(pickle.dumps(function, 4))) is type(test_it_is_a_plain_function_to_those_who_look)


def test_a_process_compiles_it_once_however_often_it_arrives() -> None:
    packed = pickle.dumps(total.as_globus_function(), 4)
    assert pickle.loads(packed)(2) == 6
    assert pickle.loads(packed) is pickle.loads(packed)


def test_equal_apps_make_equal_functions() -> None:
    again = context_app(context=numbers())(total.body)
    other = context_app(context=numbers(4))(total.body)
    made, same, changed = (app.as_globus_function() for app in (total, again, other))
    assert (made.digest, made.affinity) == (same.digest, same.affinity)
    assert made.affinity != changed.affinity


def run(cell: Any, text: str) -> Any:
    return cell(textwrap.dedent(text))


def test_it_can_be_called_here(cell: Any) -> None:
    names = run(
        cell,
        """
        from parsl_context import context, context_app

        class Model:
            def __init__(self, size):
                self.size = size

        @context
        def load(size):
            return Model(size)

        grown = lambda x: x + 1

        @context_app(context=load(3))
        def use(model, x):
            return model.size * grown(x), isinstance(model, Model)
        """,
    )
    assert names.use.as_globus_function()(2) == (9, True)


def test_a_function_that_is_too_large_says_what_is_large_in_it() -> None:
    import os

    heavy = context_app(context=context(lambda data: len(data))(os.urandom(9_000_000)))(lambda size, x: size)
    with pytest.raises(
        CarriedCodeError, match=r"at most 10 MB for a task\. Largest: arguments of context .* \(9\.0 MB\)"
    ):
        heavy.as_globus_function()


def test_a_value_that_cannot_travel_is_named() -> None:
    locked = context_app(context=context(lambda lock: lock)([LOCK]))(total.body)
    with pytest.raises(ContextSerializationError, match=r"cannot pickle '_thread\.lock' object"):
        locked.as_globus_function()


def test_the_body_may_be_a_lambda() -> None:
    made = context_app(context=numbers())(lambda values, x: sum(values) * x)
    assert made.as_globus_function()(2) == 6


def test_code_without_text_is_refused_with_a_way_out() -> None:
    made: dict[str, Any] = {}
    exec("def body(values, x):\n    return x\n", made)
    with pytest.raises(CarriedCodeError, match="cannot travel as source"):
        context_app(context=numbers())(made["body"]).as_globus_function()


def test_compiled_code_is_an_option() -> None:
    def around(factor: int) -> Any:
        made: dict[str, Any] = {"factor": factor}
        exec("def body(values, x, y=2):\n    return len(values) * x * y * factor\n", made)
        return context_app(context=numbers())(made["body"])

    assert around(7).as_globus_function(codec="bytecode")(2) == 84
    assert total.as_globus_function(codec="bytecode")(2) == 6
    with pytest.raises(ConfigurationError, match="'source', 'bytecode'"):
        total.as_globus_function(codec="json")


def test_an_executor_of_ours_gets_outcomes_that_name_the_classes_of_the_script(cell: Any) -> None:
    from parsl_context.globus.outcomes import unsealed

    names = run(
        cell,
        """
        from parsl_context import context, context_app

        class Answer:
            pass

        class Odd(ValueError):
            pass

        @context_app(context=context(lambda: 1))
        def use(one, x):
            if x < 0:
                raise Odd(x)
            return Answer()
        """,
    )
    function = names.use.as_globus_function()
    sealed = function(1, **{TOLD: {}})
    assert type(unsealed(sealed, function.definitions)) is names.Answer
    with pytest.raises(names.Odd, match="-1") as raised:
        unsealed(function(-1, **{TOLD: {}}), function.definitions)
    assert "raise Odd(x)" in str(raised.value.__cause__)
    chunk = unsealed(function([(1,), (-1,)], True, **{TOLD: {"chunk": "results"}}), function.definitions)
    assert type(chunk[1].exception()) is names.Odd
    assert unsealed([1], {}) == [1], "what could not be sealed comes as it is"
