"""Which parts of the values are given out: returned or stored, or used to compute what is.

A part of `parsl_context.discover.uses`, which says what is done with the values themselves.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from parsl_context.discover import shapes
from parsl_context.discover.lineage import Lineage
from parsl_context.discover.origins import Origins

_COMPUTING = ast.BinOp | ast.UnaryOp


class GivenOut:
    """Takes note of what is given out.

    Parameters
    ----------
    lineage
        What expressions give goes back to which values.
    blame
        Takes note that values are misused: which, how and where.

    Attributes
    ----------
    out : dict
        Values of which an item or an attribute is returned or stored, with how many steps into them that is, at least.
    on : dict
        The same, of what is computed from them: that is new if they are arrays.
    arrays : set
        Values that are arrays, as far as that is known.
    """

    def __init__(self, lineage: Lineage, blame: Callable[[Iterable[str], str, ast.AST], None]) -> None:
        self.out: dict[str, int] = {}
        self.on: dict[str, int] = {}
        self.arrays: set[str] = set()
        self._views: set[str] = set()  # variables that are parts of arrays and share their memory
        self._lineage = lineage
        self._blame = blame

    def bind(self, name: str, value: ast.expr) -> None:
        """A variable is bound to what an expression gives."""
        if self._is_view(value):
            self._views.add(name)

    @staticmethod
    def note(told: dict[str, int], origins: Origins) -> None:
        """Take note of what something goes back to, with how many steps into it, at least."""
        for name, origin in origins.items():
            if origin.key_at is not None:
                continue
            told[name] = min(max(origin.steps, 1), told.get(name, max(origin.steps, 1)))

    def note_all(self, node: ast.expr) -> None:
        """An expression is returned or stored, with all that is in it if it makes a container."""
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                pass
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                scoped = self._lineage.scoped(node)
                self._lineage.of(scoped)  # binds its variables
                parts = shapes.elements_of(scoped)
            case ast.Dict():
                parts = list(shapes.children(node))
            case _:
                self._note_one(node)
                return
        for each in parts:  # a new container has nothing else in it
            self.note_all(each)

    def _note_one(self, node: ast.expr) -> None:
        is_whole = isinstance(node, ast.Name) and node.id in self._lineage.whole
        if not is_whole and not isinstance(node, _COMPUTING):
            origins = self._lineage.of(node)
            if self._is_view(node):
                self._blame(origins, "is given out, as a view of the array", node)
            self.note(self.out, {name: origin for name, origin in origins.items() if origin.is_view})
            self.note(self.on, {name: origin for name, origin in origins.items() if not origin.is_view})

    def _is_view(self, node: ast.expr) -> bool:
        """Whether an expression gives a part of an array that shares its memory."""
        match node:
            case ast.Name(id=name):
                return name in self._views
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                is_part = bool(shapes.all_in(index, ast.Slice))
                return is_part and name in self.arrays | self._views
        return False
