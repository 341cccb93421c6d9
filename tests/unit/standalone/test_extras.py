"""Apps whose context is found, and apps whose calls run together, as one function."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from parsl_context import ConfigurationError, context, context_app
from parsl_context.standalone.function import TOLD
from tests.unit.discover.test_automatic import SAMPLES, name_of, said

FACTORS = {"a": 2}
BUILT: list[str] = []


def run(cell: Any, text: str) -> Any:
    return cell(textwrap.dedent(text))


# --- contexts that were found


@context_app(discover=True)
def looked_up(x: int, *, scale: int = 1) -> tuple[int, int]:
    """Look it up."""
    import math

    if x < 0:
        raise ValueError("no such square")
    table = [value * FACTORS["a"] for value in range(100)]
    root = math.isqrt(16)
    return table[x] * scale, id(table) if root == 4 else 0


def test_what_was_found_is_made_once_and_the_rest_runs_with_every_call() -> None:
    function = looked_up.as_globus_function()
    (first, table), (second, same), (third, again) = function(3), function(4, scale=10), function(x=5)
    assert (first, second, third) == (6, 80, 10)
    assert table == same == again
    with pytest.raises(ValueError, match="no such square"):
        function(-1)
    assert function.__doc__ == "Look it up."


def test_as_compiled_code_it_is_the_same() -> None:
    function = looked_up.as_globus_function(codec="bytecode")
    assert function(3)[0] == 6
    assert function(4)[1] == function(5)[1]


def test_a_global_that_has_changed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    function = looked_up.as_globus_function()
    assert function(3)[0] == 6
    monkeypatch.setitem(FACTORS, "a", 5)
    assert function(3)[0] == 15


def test_variables_that_must_not_be_shared_are_made_by_each_call(caplog: pytest.LogCaptureFixture) -> None:
    @context_app(discover=True)
    def spelt(x: int) -> tuple[int, str]:
        rows = re.finditer("a", "aaa")
        return x, str(rows.__class__)

    function = spelt.as_globus_function()
    assert [function(x) for x in (1, 2)] == [(x, "<class 'callable_iterator'>") for x in (1, 2)]
    [record] = caplog.records
    assert "run undivided: rows is used up" in record.getMessage()


def test_files_that_a_context_reads_are_looked_at_with_every_call(cell: Any, tmp_path: Path) -> None:
    names = run(
        cell,
        f"""
        from pathlib import Path
        from parsl_context import context_app

        @context_app(discover=True)
        def read(x):
            table = {{word: len(word) for word in Path({str(tmp_path / "words.txt")!r}).read_text().split()}}
            return sum(table.values()) + x
        """,
    )
    function = names.read.as_globus_function()
    for words, length in (("one", 4), ("three", 6)):
        (tmp_path / "words.txt").write_text(words)
        assert function(1) == length, "it is another context when the file is another one"
    (tmp_path / "words.txt").unlink()
    with pytest.raises(FileNotFoundError):
        function(1)


def test_equal_programs_have_equal_digests_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            from parsl_context import context_app

            @context_app(discover=True)
            def counted(text):
                table = {word: len(word) for word in ("a", "bb", "ccc")}
                other = dict(zip("abc", (1, 2, 3)))
                names = sorted(other)
                return table.get(text), table.keys(), table.values(), other.get(text), names.index(text)

            print(counted.as_globus_function().digest)
            """
        )
    )
    told = {
        subprocess.run(
            [sys.executable, "job.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_calls_that_are_checked_are_refused_with_advice() -> None:
    checked = context_app(discover=True, check=3)(looked_up.split.function)
    with pytest.raises(ConfigurationError, match=r"compared \(check=\).*Leave check= out"):
        checked.as_globus_function()


SPLIT = [(function, calls) for function, _, says, calls in SAMPLES if says is None]


@pytest.mark.parametrize(("function", "calls"), SPLIT[::4], ids=name_of)  # a third of a second each
def test_as_one_function_it_does_what_it_does_undivided(function: Any, calls: Any) -> None:
    made = context_app(discover=True)(function).as_globus_function()
    for args in (*calls, *calls):
        assert said(made, args) == said(function, args)


# --- calls that run together


@context
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@context_app(context=numbers(), batch=3)
def added(values: list[int], xs: list[int], offsets: list[int] | int = 0) -> list[Any]:
    """Add them."""
    return [
        ValueError("odd") if x == 13 else (sum(values) + x + offset, len(xs))
        for x, offset in zip(xs, offsets, strict=True)  # type: ignore[arg-type]
    ]


def chunk_of(app: Any, calls: list[tuple[Any, ...]], *rest: Any, **kwargs: Any) -> Any:
    """What an executor of ours makes of a chunk of `map`."""
    from parsl_context.globus.outcomes import unsealed

    function = app.as_globus_function()
    told = {TOLD: {"chunk": "results"}}
    return unsealed(function(calls, *rest, **kwargs, **told), function.definitions)


def test_one_call_is_a_batch_of_one() -> None:
    function = added.as_globus_function()
    assert function(1) == (4, 1)
    assert function(1, offsets=5) == (9, 1)
    with pytest.raises(ValueError, match="odd"):
        function(13)


def test_a_chunk_reaches_the_body_in_batches() -> None:
    assert chunk_of(added, [(x,) for x in range(4)]) == [(3, 3), (4, 3), (5, 3), (6, 1)]


def test_each_call_of_a_batch_has_its_own_outcome() -> None:
    first, second, third = chunk_of(added, [(1,), (13,), (2,)], True)
    assert (first, third) == ((4, 3), (5, 3))
    assert isinstance(second.exception(), ValueError)


def test_calls_share_the_context_of_their_key(cell: Any) -> None:
    names = run(
        cell,
        """
        from parsl_context import context, context_app

        @context
        def numbers(count):
            return list(range(count))

        @context_app(context=numbers.by("count"), batch="auto")
        def scaled(values, xs, count):
            return [(len(values) * x, count) for x in xs]
        """,
    )
    assert names.scaled.as_globus_function()(2, count=5) == (10, 5)
    assert chunk_of(names.scaled, [(1,), (2,)], count=4) == [(4, 4), (8, 4)]


def test_a_body_that_gives_too_few_results_is_told_so() -> None:
    lazy = context_app(context=numbers(), batch=2)(lambda values, xs: values[:1])
    with pytest.raises(TypeError, match="1 results for 2 calls"):
        chunk_of(lazy, [(1,), (2,)])


def test_calls_are_tried_one_by_one_where_that_was_wanted() -> None:
    picky = context_app(context=numbers(), batch=3, batch_retry=True)(lambda values, xs: [1 // x for x in xs])
    first, second = chunk_of(picky, [(1,), (0,)], True)
    assert first == 1
    assert isinstance(second.exception(), ZeroDivisionError)
