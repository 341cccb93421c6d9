"""What needs no second look: a statement in a loop while nothing more has come to be known of the names in it.

A part of `parsl_context.discover.uses`, which looks at what may run more than once until nothing more comes to be
known.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import NamedTuple

from parsl_context.discover import shapes
from parsl_context.discover.lineage import Lineage

_DEFINITIONS = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef})
_COMPREHENSIONS: tuple[type[ast.expr], ...] = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class _Look(NamedTuple):
    """A look at a statement: what it depended on, and what it did to what is shared."""

    stamp: int
    shared: set[str]
    about: object
    shared_after: set[str]
    shared_within: set[str]
    is_wide: bool


class Rounds:
    """Looks at statements, and does not repeat a look that would give the same.

    A look adds to what is known, and a second one adds nothing if all that it depends on is as it was: what is known of
    the names in the statement. It changes only which of these are shared.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.looks = 0  # that were not spared
        self._lineage = lineage
        self._last: dict[ast.stmt, _Look] = {}

    def look(self, node: ast.stmt, about: object, look: Callable[[ast.stmt], None]) -> None:
        """Look at a statement, unless it was looked at with the same known.

        Parameters
        ----------
        about
            What the look depends on beyond the lineage of the names in the statement.
        """
        lineage = self._lineage
        if not lineage.whole.isdisjoint(_own_of_parts(node)) or shapes.has_any(node, _DEFINITIONS):
            self.looks += 1
            look(node)  # it is about names that are not in its text
            return
        names = shapes.read_in(node)
        stamp, shared = lineage.stamp(names), lineage.shared & names
        last = self._last.get(node)
        if last is not None and (last.stamp, last.shared, last.about) == (stamp, shared, about):
            lineage.repeat(names, last.shared_after, last.shared_within, is_wide=last.is_wide)
            return
        self.looks += 1
        times_widened = lineage.times_widened
        within = lineage.record()
        look(node)
        lineage.end_record()
        is_wide = lineage.times_widened > times_widened
        self._last[node] = _Look(stamp, shared, about, lineage.shared & names, within, is_wide)


@functools.lru_cache(maxsize=4096)
def _own_of_parts(node: ast.stmt) -> frozenset[str]:
    """Variables of comprehensions in a statement."""
    parts = [each for kind in _COMPREHENSIONS for each in shapes.all_in(node, kind)]
    return frozenset().union(*map(shapes.variables_of, parts))
