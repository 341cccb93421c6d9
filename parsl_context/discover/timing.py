"""How long each statement of a function takes, in calls that are otherwise as ever.

    def infer(x):                       def infer(x, *, __mark__=mark):
        model = load()                      __mark__(0)
        return model(x)             →       model = load()
                                            __mark__(1)
                                            return model(x)

A mark ends what was marked before it; the end of the call, however it comes, ends the last one.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_context.discover.halves import located, parsed, part
from parsl_context.discover.sources import Source

_MARK = "__mark__"


@dataclass(frozen=True)
class Timing:
    """One call.

    Attributes
    ----------
    seconds : tuple of float or None
        How long each statement took; None for those that were not reached. [s]
    total_s : float
        How long the call took. [s]
    error : BaseException or None
        What it raised.
    """

    seconds: tuple[float | None, ...]
    total_s: float
    error: BaseException | None = None


class TimedFunction:
    """A function whose statements are timed.

    Parameters
    ----------
    source
        The function.
    statements
        What is timed: statements of its own, or of a ``with`` statement that is one of these.
    clock
        Gives the time. [s]
    """

    def __init__(
        self, source: Source, statements: Sequence[ast.stmt], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._count = len(statements)
        self._marks: list[tuple[int, float]] = []
        numbers = {id(each): number for number, each in enumerate(statements)}
        given = source.node.args
        arguments = ast.arguments(
            posonlyargs=given.posonlyargs,
            args=given.args,
            vararg=given.vararg,
            kwonlyargs=[*given.kwonlyargs, ast.arg(_MARK)],
            kw_defaults=[None for _ in (*given.kwonlyargs, _MARK)],
            kwarg=given.kwarg,
            defaults=[],
        )
        self._function = source.function_of(
            part(source.node, arguments, _marked(source.node.body, numbers)),
            source.function.__defaults__ or (),
            {**(source.function.__kwdefaults__ or {}), _MARK: self._mark},
        )

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Timing:
        """Call it. What it raises is noted, an interruption from the keyboard as well."""
        self._marks = []
        error: BaseException | None = None
        start_s = self._clock()
        try:
            self._function(*args, **kwargs)
        except (Exception, SystemExit, KeyboardInterrupt) as raised:
            error = raised
        end_s = self._clock()
        seconds: list[float | None] = [None] * self._count
        ends = [begin_s for _, begin_s in self._marks[1:]]
        for (number, begin_s), until_s in zip(self._marks, [*ends, end_s], strict=False):
            seconds[number] = until_s - begin_s
        return Timing(tuple(seconds), end_s - start_s, error)

    def _mark(self, number: int) -> None:
        self._marks.append((number, self._clock()))


def _marked(body: Sequence[ast.stmt], numbers: Mapping[int, int]) -> list[ast.stmt]:
    """Statements with a mark before each that has a number."""
    made: list[ast.stmt] = []
    for each in body:
        if id(each) in numbers:
            (mark,) = parsed(f"{_MARK}({numbers[id(each)]})")
            made += [located(mark, each), each]
        elif isinstance(each, ast.With):
            block = ast.With(items=each.items, body=_marked(each.body, numbers))
            made.append(ast.copy_location(block, each))
        else:
            made.append(each)
    return made
