"""What a context saves, from the times of statements and where these go. Nothing is run or printed here."""

from __future__ import annotations

import ast
import math
import statistics
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from parsl_context.cli.splitting import Statement
from parsl_context.discover.timing import Timing

CALLS, WORKERS = 1000, 4  # of the example; any would do
_NAMED = 3  # statements that stay; the costliest
_WORTH_NAMING = 0.01  # of a call


@dataclass(frozen=True)
class TimedStatement(Statement):
    """A statement of a function, where it goes, and how long it takes.

    Attributes
    ----------
    is_leading : bool
        Whether it precedes the first use of an argument, guards aside.
    first_s : float or None
        In the first call; None if it was not reached. [s]
    later_s : float or None
        In later calls, their median. [s]
    """

    is_leading: bool = False
    first_s: float | None = None
    later_s: float | None = None


@dataclass(frozen=True)
class Savings:
    """What a context saves.

    A worker's first call pays for imports and for the context either way, so ``n`` calls on ``w`` workers take about
    ``first_s + (ceil(n / w) - 1) * later``, where ``later`` is `call_s` or `divided_s`. Transfers and waiting are not
    counted.

    Attributes
    ----------
    first_s : float
        The first call of a process. [s]
    call_s : float
        A later call, undivided. [s]
    shared_s : float
        What of it the context does once. [s]
    divided_s : float
        A later call with a context. [s]
    calls, workers : int
        Of an example.
    many_s, many_divided_s : float
        How long these calls take, undivided and with a context. [s]
    staying_s : float
        What of a call stays although it precedes the first use of an argument. [s]
    """

    first_s: float
    call_s: float
    shared_s: float
    divided_s: float
    calls: int
    workers: int
    many_s: float
    many_divided_s: float
    staying_s: float = 0.0


def savings_of(
    first_s: float,
    call_s: float,
    shared_s: float,
    staying_s: float = 0.0,
    *,
    calls: int = CALLS,
    workers: int = WORKERS,
) -> Savings:
    """What a context saves that does some of a call."""
    divided_s = max(call_s - shared_s, 0.0)
    later_calls = math.ceil(calls / workers) - 1
    return Savings(
        first_s=first_s,
        call_s=call_s,
        shared_s=shared_s,
        divided_s=divided_s,
        calls=calls,
        workers=workers,
        many_s=first_s + later_calls * call_s,
        many_divided_s=first_s + later_calls * divided_s,
        staying_s=staying_s,
    )


def timed(
    statements: Sequence[Statement], is_leading: Sequence[bool], timings: Sequence[Timing]
) -> list[TimedStatement]:
    """Statements with their times in the first call, and in those after it."""
    first, *later = timings
    return [
        TimedStatement(
            *(each.line, each.text, each.place, each.reason),
            is_leading=leading,
            first_s=first.seconds[number],
            later_s=_median([timing.seconds[number] for timing in later]),
        )
        for number, (each, leading) in enumerate(zip(statements, is_leading, strict=True))
    ]


def summed(statements: Sequence[TimedStatement], timings: Sequence[Timing]) -> Savings:
    """What a context saves of a function, whose statements took so long in a first and in later calls."""
    first, *later = timings
    return savings_of(
        first.total_s,
        statistics.median(timing.total_s for timing in later),
        sum(each.later_s or 0.0 for each in statements if each.place == "context"),
        sum(each.later_s or 0.0 for each in _staying(statements)),
    )


def leading(nodes: Sequence[ast.stmt], parameters: AbstractSet[str]) -> list[bool]:
    """Which statements precede the first that uses a parameter, or gives the result; guards do neither."""
    made = []
    is_leading = True
    for node in nodes:
        reads = any(isinstance(each, ast.Name) and each.id in parameters for each in ast.walk(node))
        is_leading = is_leading and not isinstance(node, ast.Return) and (not reads or _is_guard(node))
        made.append(is_leading)
    return made


def sentences(found: Savings, statements: Sequence[TimedStatement] = (), *, is_split: bool = False) -> Iterator[str]:
    """What people want to know of it.

    Parameters
    ----------
    is_split
        Whether there is a context already.
    """
    call = f"A call takes {seconds_text(found.call_s)}"
    if is_split:
        took = f"{seconds_text(found.shared_s)} of it ({_share(found.shared_s, found)})"
        yield f"{call} undivided; {took} is its context: later calls take {seconds_text(found.divided_s)}."
    elif found.shared_s > 0:
        took = f"{seconds_text(found.shared_s)} of it ({_share(found.shared_s, found)})"
        yield (
            f"{call}; {took} is set-up that may be shared: with a context, later calls take "
            f"{seconds_text(found.divided_s)}."
        )
    else:
        yield f"{call}; nothing of it may become a context."
    if found.shared_s > 0:
        yield (
            f"{found.calls:,} calls on {found.workers} workers: about {seconds_text(found.many_divided_s)} in place of "
            f"{seconds_text(found.many_s)}."
        )
    if costly := [each for each in _staying(statements) if (each.later_s or 0) >= _WORTH_NAMING * found.call_s]:
        costly = sorted(costly, key=lambda each: -(each.later_s or 0))[:_NAMED]
        because = "; ".join(f"line {each.line} ({seconds_text(each.later_s or 0)}): {each.reason}" for each in costly)
        more = " more" if found.shared_s > 0 else ""
        yield (
            f"{seconds_text(found.staying_s)}{more} ({_share(found.staying_s, found)}) stays, though it precedes the "
            f"first use of an argument: {because}."
        )


def seconds_text(time_s: float) -> str:
    """A time as people read it."""
    if time_s < 0.000_999_5:
        return f"{time_s * 1e6:.0f} µs"
    if time_s < 0.0995:
        return f"{time_s * 1e3:.1f} ms"
    return f"{time_s:.2f} s" if time_s < 99.95 else f"{time_s:,.0f} s"


def _staying(statements: Sequence[TimedStatement]) -> Iterator[TimedStatement]:
    return (each for each in statements if each.is_leading and each.place == "body")


def _share(part_s: float, found: Savings) -> str:
    return f"{part_s / found.call_s if found.call_s else 0:.0%}"


def _median(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return statistics.median(known) if known else None


def _is_guard(node: ast.stmt) -> bool:
    match node:
        case ast.Assert():
            return True
        case ast.If(body=body, orelse=other):
            return all(
                isinstance(each, ast.Raise | ast.Return | ast.Pass) or _is_guard(each) for each in (*body, *other)
            )
    return False
