"""Which of some values an expression may have been made of: what is bound to a variable has theirs.

A part of `parsl_context.discover.uses`, which says what is done with it.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Mapping
from typing import Any

from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.names import Names
from parsl_context.discover.origins import Origin, Origins, computed, deeper, join, joined, untold


class Lineage:
    """What expressions go back to.

    Parameters
    ----------
    names
        What names stand for.
    whole
        Variables that are the values.
    methods
        Values that may have methods of the user's.

    Attributes
    ----------
    variables : dict
        Variables that may be something in values: in which, and how.
    copies : set
        Variables that are new containers of such.
    masked : set
        Values of which something is computed, or taken by a condition, and changed: it is new if they are arrays.
    """

    def __init__(self, names: Names, whole: frozenset[str], methods: Container[str]) -> None:
        self.whole = whole
        self.variables: dict[str, Origins] = {}
        self.copies: set[str] = set()
        self.masked: set[str] = set()
        self._names = names
        self._methods = methods

    def known(self) -> tuple[Mapping[str, Origins], frozenset[str]]:
        """All that is known, as it is now."""
        return {name: dict(origins) for name, origins in self.variables.items()}, frozenset(self.copies)

    def bind(self, name: str, origins: Origins, *, is_copy: bool) -> None:
        """A variable may be something that goes back to values."""
        if not origins:
            return
        join(self.variables.setdefault(name, {}), origins)
        if is_copy:
            self.copies.add(name)
        else:
            self.copies.discard(name)

    def of(self, node: ast.expr | None) -> Origins:
        """The values that what an expression gives may be, or be a part of, and from how deep, at least."""
        match node:
            case None | ast.Constant() | ast.Compare() | ast.JoinedStr() | ast.UnaryOp(op=ast.Not()) | ast.Lambda():
                return {}
            case ast.Name(id=name):
                return {name: Origin(0)} if name in self.whole else dict(self.variables.get(name, {}))
            case ast.Call():
                return self._of_call(node)
            case ast.Subscript(value=ast.Name(id=name), slice=index) if name in self.whole and shapes.is_mask(index):
                self.masked.add(name)
                return {}
            case ast.Subscript(value=value, slice=index):
                is_part = not any(isinstance(each, ast.Slice) for each in ast.walk(index))
                return deeper(self.of(value)) if is_part else self.of(value)
            case ast.Attribute(value=value) | ast.Starred(value=value):
                return deeper(self.of(value))
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
                return deeper(self._joined(shapes.children(node)), -1)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return deeper(self._joined(shapes.elements_of(self.scoped(node))), -1)
            case ast.BinOp() | ast.UnaryOp():
                return computed(self._joined(shapes.children(node)))
        return self._joined(shapes.children(node))

    def _joined(self, parts: Iterable[ast.expr]) -> Origins:
        return joined(map(self.of, parts))

    def _of_call(self, node: ast.Call) -> Origins:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        full = self._names.full_name(function)
        if full is not None and full.startswith("builtins."):
            given = self._joined(shapes.children(node)[1:])
            if name in known.FRESH_BUILTINS:
                return {}
            if name in shapes.COPYING | {"reversed", "filter", "next"}:
                return given
            if name in ("sum", "max", "min") and len(node.args) == 1:
                return deeper(given)
            return deeper(given, -1) if name in ("zip", "enumerate") else untold(given)
        if isinstance(function, ast.Attribute) and full is None:
            if known.gives_new(name) and shapes.root_name(function) not in self._methods:
                return {}
            own = self.of(function.value)
            if name in ("values", "keys"):
                return own
            if name in ("get", "pop", "setdefault"):
                return joined([deeper(own), self._joined(node.args[1:])])
            if name == "items":
                return deeper(own, -1)
            if name == "copy":
                return computed(own)
        found = untold(self._joined(shapes.children(node)))
        is_new = known.gives_new_array(full or "") or (full is None and name in known.COMPUTING_METHODS)
        return computed(found) if is_new else found

    def is_copy(self, node: ast.expr) -> bool:
        """Whether an expression gives a new object, whatever is in it."""
        if isinstance(node, ast.Call) and known.gives_new_array(self._names.full_name(node.func) or ""):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            return name in shapes.COPYING and self._names.full_name(node.func) == f"builtins.{name}"
        return shapes.is_new(node)

    def scoped(self, node: Any) -> Any:
        """A comprehension whose variables have names that no value has."""
        own = {at.id for each in node.generators for at in ast.walk(each.target) if isinstance(at, ast.Name)}
        return shapes.renamed(node, own & self.whole) if own & self.whole else node

    def place_of(self, node: ast.expr, functions: Container[str]) -> Origins | None:
        """The values that something is taken out of, and how many steps into them, at least; None if it is not so."""
        inner = node
        while isinstance(inner, ast.Subscript | ast.Attribute) or shapes.is_taken(inner):
            inner = shapes.taken_from(inner)
        if not isinstance(inner, ast.Name) or inner.id in functions:
            return None
        if inner is node and (inner.id in self.whole or inner.id in self.copies):
            return None
        return self.of(node)
