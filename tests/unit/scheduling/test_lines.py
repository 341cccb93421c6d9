"""Lines and their holders: who knows of whom, and that what they keep for it stays small."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

from parsl_context.scheduling.lines import CHOICES, Holder, Lane, Line, Pair
from parsl_context.wire.messages import Digest

MANY = 500


@dataclass(eq=False)
class Waiting:
    """A call."""

    priority: float = 0.0
    waits: bool = True


AnyLine = Line[Waiting]
AnyHolder = Holder[Pair]


def make_lines(count: int) -> list[AnyLine]:
    return [Line(Lane((Digest(f"c{i}"),), False)) for i in range(count)]


def lines_of(pairs: list[Pair]) -> list[Line[Any]]:
    return [pair.line for pair in pairs]


def test_a_line_with_calls_is_found_behind_any_number_that_have_none_left() -> None:
    lines, holder = make_lines(3 * CHOICES), AnyHolder()
    calls = [Waiting() for _ in lines]
    for line, call in zip(lines, calls, strict=True):
        line.admit(holder)
        line.append(call)
    for line, call in zip(lines[:-1], calls[:-1], strict=True):
        line.forget(call)
    assert lines_of(holder.waiting_lines()) == [lines[-1]]


def test_a_line_that_was_served_comes_last_next_time() -> None:
    lines, holder = make_lines(CHOICES + 1), AnyHolder()
    for line in lines:
        line.admit(holder)
        line.append(Waiting())
    assert lines_of(holder.waiting_lines()) == lines[:CHOICES]
    lines[0].pair(holder).was_served = True
    assert lines_of(holder.waiting_lines()) == lines[1:]


def test_a_line_aside_is_looked_at_once_it_is_brought_back() -> None:
    (line,), holder = make_lines(1), AnyHolder()
    line.admit(holder)
    line.append(Waiting())
    line.pair(holder).set_aside()
    assert holder.waiting_lines() == []
    line.pair(holder).bring_back()
    assert lines_of(holder.waiting_lines()) == [line]


def test_a_line_aside_that_gets_calls_meanwhile_is_looked_at_once_it_is_brought_back() -> None:
    (line,), holder = make_lines(1), AnyHolder()
    line.admit(holder)
    line.pair(holder).set_aside()
    line.append(Waiting())
    line.pair(holder).bring_back()
    assert lines_of(holder.waiting_lines()) == [line]


def test_a_pause_ends_though_the_line_was_brought_back_before() -> None:
    (line,), holder = make_lines(1), AnyHolder()
    line.admit(holder)
    pair = line.pair(holder)
    pair.pause()
    assert line.find_idle(lambda pair: True) is None
    pair.bring_back()
    holder.resume(1)
    assert line.find_idle(lambda pair: True) is pair


def test_a_line_asks_a_busy_holder_once_until_that_is_promoted() -> None:
    (line,), holder = make_lines(1), AnyHolder()
    line.admit(holder)
    asked: list[Pair] = []
    for _ in range(3):
        assert line.find_idle(lambda pair: bool(asked.append(pair))) is None  # type: ignore[func-returns-value]
    assert asked == [line.pair(holder)]
    holder.promote()
    assert line.find_idle(lambda pair: True) is line.pair(holder)


def test_a_line_that_comes_and_goes_leaves_nothing_behind() -> None:
    lines, holder = make_lines(2), AnyHolder()
    lines[1].append(Waiting())
    for _ in range(MANY):
        for line in lines:
            line.admit(holder)
            assert line.find_idle(lambda pair: False) is None
            line.dismiss(holder)
    assert len(holder.ring) <= len(lines)
    assert len(holder.demoted) <= len(lines)
    assert len(lines[0].unaware) <= 1
    for line in lines:
        line.admit(holder)
    assert lines_of(holder.waiting_lines()) == [lines[1]]


def test_holders_that_come_and_go_leave_nothing_behind() -> None:
    lines = make_lines(2)
    lines[1].append(Waiting())
    for _ in range(MANY):
        holder = AnyHolder()
        for line in lines:
            line.admit(holder)
        holder.leave()
    for line in lines:
        assert not line.pairs
        assert not line.idle
        assert len(line.unaware) < 50


def test_lines_that_come_and_go_leave_nothing_behind() -> None:
    holder = AnyHolder()
    for line in make_lines(MANY):
        line.append(Waiting())
        line.admit(holder)
        line.part(holder)
    assert not holder.pairs
    assert len(holder.ring) < 50


def test_what_was_dropped_from_a_list_comes_back_to_it() -> None:
    (line,) = make_lines(1)
    first = AnyHolder()
    line.admit(first)
    line.dismiss(first)
    for _ in range(MANY):  # until the pair with the first is dropped
        holder = AnyHolder()
        line.admit(holder)
        holder.leave()
    line.admit(first)
    line.append(Waiting())
    assert lines_of(first.waiting_lines()) == [line]


class Watched(Line[Waiting]):
    """One whose end can be seen."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("has_calls", [False, True])
def test_a_line_that_is_no_more_needs_no_collector(has_calls: bool) -> None:
    """Some contexts after each other would leave megabytes until the next full collection."""
    line, holder = Watched(Lane((Digest("c"),), False)), AnyHolder()
    seen = weakref.ref(line)
    line.admit(holder)
    if has_calls:
        line.append(Waiting())
        line.take()
        holder.waiting_lines()
    assert line.unaware
    gc.disable()
    try:
        line.part(holder)
        del line
        assert seen() is None
    finally:
        gc.enable()
