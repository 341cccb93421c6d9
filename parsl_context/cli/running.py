"""`parsl-context discover FILE:APP --run "f(3)"`: calls a function here, and tells what a context saves."""

from __future__ import annotations

import ast
import contextlib
import json
import statistics
import sys
import time
import traceback
import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from parsl.app.bash import BashApp
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from parsl_context.apps.app import ContextApp
from parsl_context.apps.portable import process_contexts
from parsl_context.cli.errors import CommandError
from parsl_context.cli.loading import Loaded
from parsl_context.cli.savings import Savings, TimedStatement, leading, savings_of, sentences, summed, timed
from parsl_context.cli.showing import progress
from parsl_context.cli.splitting import described, tried, verdicts_on
from parsl_context.discover.automatic import split_by_itself
from parsl_context.discover.blocks import check_gives_at_once
from parsl_context.discover.halves import Verdict
from parsl_context.discover.sources import Source, all_arguments
from parsl_context.discover.timing import TimedFunction, Timing
from parsl_context.errors import SplitError, sentence

_CALLS = 3  # the first pays for imports; of two others, one may be disturbed


@dataclass(frozen=True)
class Measured:
    """What came of some calls.

    Attributes
    ----------
    statements : tuple of TimedStatement
        Of the function; empty if context and body are two.
    savings : Savings or None
        What a context saves; None if a call raised an error.
    told : tuple of str
        The same in sentences.
    error : str or None
        What a call raised, and where.
    """

    statements: tuple[TimedStatement, ...]
    savings: Savings | None
    told: tuple[str, ...]
    error: str | None = None


class Call:
    """A call that is given as a text, to be made again and again.

    Parameters
    ----------
    text
        As it would be written in the file.
    loaded
        The file.
    value
        What must be called.
    place
        Its name.

    Raises
    ------
    CommandError
        If the text is no call of it.
    """

    def __init__(self, text: str, loaded: Loaded, value: Any, place: str) -> None:
        example = f'--run takes a call of {place}, as "{place}(3)"'
        try:
            expression = ast.parse(text.strip(), "--run", "eval").body
        except SyntaxError as error:
            raise CommandError(f"{example}, and {text!r} is no expression: {sentence(error.msg)}", 2) from None
        if not isinstance(expression, ast.Call):
            raise CommandError(f"{example}, and {text!r} is no call.", 2)
        self._names = vars(loaded.module)
        called: Any = self._evaluate(expression.func)
        first: tuple[Any, ...] = ()
        if isinstance(called, types.MethodType) and called.__func__ is value:
            first = (called.__self__,)
            called = value
        if called is not value:
            raise CommandError(f"{example}, and {text!r} calls {ast.unparse(expression.func)}, which is another.", 2)
        self._first = first
        taking = ast.Name("__arguments__", ast.Load())
        self._arguments = ast.Call(func=taking, args=expression.args, keywords=expression.keywords)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, made anew: a call may change what it is given."""
        args, kwargs = self._evaluate(self._arguments)
        return (*self._first, *args), kwargs

    def _evaluate(self, node: ast.expr) -> Any:
        tree = ast.fix_missing_locations(ast.Expression(node))
        names = {**self._names, "__arguments__": lambda *args, **kwargs: (args, kwargs)}
        try:
            return eval(compile(tree, "--run", "eval", dont_inherit=True), names)
        except Exception as error:
            told = sentence(f"{type(error).__name__}: {error}")
            raise CommandError(f"The call that --run gives cannot be made: {told}", 2) from None


def measure(value: Any, call: Call) -> Measured:
    """Call an app or a function some times, and see what a context saves or would save.

    Raises
    ------
    CommandError
        If what it does is not done by its call.
    SplitError
        If its source cannot be read.
    """
    if isinstance(value, BashApp):
        told = "is a bash app: its function only makes the command, which would not be run."
        raise CommandError(f"{value.__name__} {told}", 2)
    if isinstance(value, ContextApp) and value.split is None:
        with contextlib.redirect_stdout(sys.stderr):
            return _measure_apart(value, call)
    source, verdicts = verdicts_on(value)
    check_gives_at_once(source)
    with contextlib.redirect_stdout(sys.stderr):  # what it prints is not what the command prints
        timings = _times(source, verdicts, call)
        has_block = isinstance(value, ContextApp) and value.split is not None and value.split.marker is not None
        return _measured(source, verdicts, timings, has_block=has_block)


def _times(source: Source, verdicts: Sequence[Verdict], call: Call) -> list[Timing]:
    """Call it until it raises, or often enough."""
    function = TimedFunction(source, [each.node for each in verdicts])
    timings: list[Timing] = []
    while len(timings) < _CALLS and not (timings and timings[-1].error is not None):
        args, kwargs = call.arguments()
        with progress(f"call {len(timings) + 1} of {_CALLS}"):
            timings.append(function.call(args, kwargs))
    return timings


def _measured(source: Source, verdicts: Sequence[Verdict], timings: Sequence[Timing], *, has_block: bool) -> Measured:
    parameters = {each.arg for each in all_arguments(source.node.args)}
    is_leading = leading([each.node for each in verdicts], parameters)
    statements = tuple(timed(described(source, verdicts), is_leading, timings))
    if (error := timings[-1].error) is not None:
        return Measured(statements, None, (), _told(error, source))
    savings = summed(statements, timings)
    told = [*sentences(savings, statements, is_split=has_block)]
    if not has_block and savings.shared_s > 0 and (reason := _why_undivided(source)) is not None:
        told.append(reason)
    return Measured(statements, savings, tuple(told))


def _why_undivided(source: Source) -> str | None:
    """Why nothing is saved after all."""
    try:
        found = split_by_itself(source.function)
    except SplitError as error:
        return f"But context_app(discover=True) refuses {error.function} as it is: {error.reason}"
    with progress("building the context once"):
        trial = tried(found.context, found)
    if trial.failure is not None:
        return f"But the context cannot be built by itself, and calls would run undivided: {sentence(trial.failure)}"
    return None if trial.refusal is None else f"But calls would run undivided: {trial.refusal}."


def _measure_apart(app: ContextApp, call: Call) -> Measured:
    """Times of an app whose context and body are two functions."""
    args, kwargs = call.arguments()
    bodies: list[float] = []
    try:
        settled, _, _ = app.func.settled(args, kwargs)
        start_s = time.perf_counter()
        with progress("building its context"), process_contexts.using(settled.known):
            build_s = time.perf_counter() - start_s
            while len(bodies) < _CALLS:
                args, kwargs = call.arguments()
                start_s = time.perf_counter()
                app.func(*args, **kwargs)
                bodies.append(time.perf_counter() - start_s)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, CommandError):
            raise
        return Measured((), None, (), f"{app.__name__} raised {_line_of(error)}")
    savings = savings_of(build_s + bodies[0], build_s + statistics.median(bodies[1:]), build_s)
    name = app.__name__
    first = f"{name} is split already: its context and its body are written as two functions."
    return Measured((), savings, (first, *sentences(savings, is_split=True)))


def show_run(found: Measured, *, as_json: bool) -> int:
    """Print what was measured. Gives the exit status."""
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        if found.statements:
            console = Console()
            console.print(_table(found.statements, console.width))
        for each in found.told:
            Console().print(each, markup=False, highlight=False)
    if found.error is not None:
        print(found.error, file=sys.stderr)
    return 0 if found.error is None else 1


def _table(statements: Sequence[TimedStatement], width: int) -> Table:
    table = Table(title="Seconds of each statement", title_justify="left", title_style="bold")
    for column in ("line", "statement", "goes to", "first", "later", "why it stays"):
        is_number = column in ("line", "first", "later")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number or column == "goes to")
    for each in statements:
        first, *others = each.text.splitlines()
        shown = Syntax("", "python", background_color="default").highlight(f"{first} …" if others else first)
        shown.rstrip()
        shown.truncate(max(width // 2 - 10, 20), overflow="ellipsis")
        table.add_row(str(each.line), shown, each.place, _cell(each.first_s), _cell(each.later_s), each.reason)
    return table


def _cell(time_s: float | None) -> str:
    return "" if time_s is None else f"{time_s:.4f}"


def _told(error: BaseException, source: Source) -> str:
    """An error in one line, and where in the function it was raised."""
    file = source.function.__code__.co_filename
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    place = f" in line {lines[-1]}" if lines else ""
    return f"{source.function.__name__} raised{place} {_line_of(error)}"


def _line_of(error: BaseException) -> str:
    (text, *_) = str(error).splitlines() or [""]
    return sentence(f"{type(error).__name__}: {text}" if text else type(error).__name__)
