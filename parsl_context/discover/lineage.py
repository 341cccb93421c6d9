"""Which of some values an expression may have been made of: what is bound to a variable has theirs.

A part of `parsl_context.discover.uses`, which says what is done with it.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Container, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.names import Names
from parsl_context.discover.origins import (
    Origin,
    Origins,
    as_keys,
    computed,
    deeper,
    from_builtin,
    join,
    joined,
    untold,
)

_ITERATING = frozenset(f"builtins.{name}" for name in (*known.ITERATORS, "iter"))
_PLACES = ast.Subscript | ast.Attribute


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
    shared : set
        Those of them that may be such a thing now, rather than a new container of such.
    masked : set
        Values of which something is computed, or taken by a condition, and changed: it is new if they are arrays.
    """

    def __init__(self, names: Names, whole: frozenset[str], methods: Container[str]) -> None:
        self.whole = whole
        self.variables: dict[str, Origins] = {}
        self.shared: set[str] = set()
        self.masked: set[str] = set()
        self.masks: frozenset[str] = frozenset()  # variables that are conditions, for each item of an array
        self.version = 0  # changes with what is known, whatever the order of statements
        self._ever_shared: set[str] = set()
        self._since: list[set[str]] = []  # variables that were shared at any time since something began
        self._names = names
        self._methods = methods

    def bind(self, name: str, origins: Origins, *, is_copy: bool) -> None:
        """A variable may be something that goes back to values."""
        if not origins:
            return
        self.version += join(self.variables.setdefault(name, {}), origins)
        if is_copy:
            self.shared.discard(name)
            return
        self.version += name not in self._ever_shared
        self.shared.add(name)
        self._ever_shared.add(name)
        for seen in self._since:
            seen.add(name)

    def knows(self, names: AbstractSet[str]) -> bool:
        """Whether any of some names goes back to a value."""
        return not self.whole.isdisjoint(names) or not self.variables.keys().isdisjoint(names)

    def is_copied(self, name: str) -> bool:
        """Whether a variable goes back to values, and is a new container now, whatever has run before."""
        return name in self.variables and name not in self.shared

    @contextlib.contextmanager
    def branches(self) -> Iterator[Callable[[], None]]:
        """Within, one of two parts runs: what is given is to be called between them."""
        before, ends = set(self.shared), set[str]()

        def turn() -> None:
            ends.update(self.shared)
            self.shared = before

        yield turn
        self.shared = self.shared | ends

    @contextlib.contextmanager
    def anywhere(self) -> Iterator[None]:
        """Within is what may run in part, or more than once."""
        seen = set(self.shared)
        self._since.append(seen)
        yield
        self._since.pop()
        self.shared = self.shared | seen

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        """Within is what may run when all is bound."""
        self.shared = self.shared | self._ever_shared
        yield

    def of(self, node: ast.expr | None) -> Origins:
        """The values that what an expression gives may be, or be a part of, and from how deep, at least."""
        if isinstance(node, ast.Name):
            return {node.id: Origin(0)} if node.id in self.whole else dict(self.variables.get(node.id, {}))
        if node is None or not self.knows(shapes.read_in(node)):
            return {}
        match node:
            case ast.Constant() | ast.Compare() | ast.JoinedStr() | ast.UnaryOp(op=ast.Not()) | ast.Lambda():
                return {}
            case ast.Call():
                return self._of_call(node)
            case ast.Subscript(value=ast.Name(id=name), slice=index) if name in self.whole and (
                shapes.is_mask(index) or (isinstance(index, ast.Name) and index.id in self.masks)
            ):
                self.masked.add(name)
                return {}
            case ast.Subscript(value=value, slice=index):
                is_part = not shapes.all_in(index, ast.Slice)
                return deeper(self.of(value)) if is_part else self.of(value)
            case ast.Attribute(value=value) | ast.Starred(value=value):
                return deeper(self.of(value))
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
                return deeper(self._joined(shapes.children(node)), -1)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                scoped = self.scoped(node)
                for each in scoped.generators:
                    for target, origins in self.turns(each.target, each.iter):
                        self._bind_target(target, origins)
                return deeper(self._joined(shapes.elements_of(scoped)), -1)
            case ast.BinOp() | ast.UnaryOp():
                return computed(self._joined(shapes.children(node)))
        return self._joined(shapes.children(node))

    def turns(self, target: ast.expr, values: ast.expr) -> list[tuple[ast.expr, Origins]]:
        """What is bound in each turn of a loop over some values: targets, and what they go back to."""
        match values, target:
            case ast.Call(func=ast.Attribute(value=table, attr="items"), args=[]), ast.Tuple(elts=[key, value]):
                if self._names.full_name(table) is None and shapes.root_name(table) not in self._methods:
                    own = self.of(table)
                    return [(key, as_keys(own)), (value, deeper(own))]
            case ast.Call(func=ast.Name(id="enumerate") as function, args=[inner, *_]), ast.Tuple(elts=[index, value]):
                if self._names.full_name(function) == "builtins.enumerate" and not isinstance(inner, ast.Starred):
                    return [(index, {}), (value, deeper(self.of(inner)))]
            case ast.Call(func=ast.Name(id="zip") as function, args=given), ast.Tuple(elts=parts):
                is_plain = not any(isinstance(each, ast.Starred) for each in (*given, *parts))
                if is_plain and len(given) == len(parts) and self._names.full_name(function) == "builtins.zip":
                    return [(part, deeper(self.of(each))) for part, each in zip(parts, given, strict=True)]
        return [(target, deeper(self.of(values)))]

    def _bind_target(self, target: ast.expr, origins: Origins) -> None:
        match target:
            case ast.Name(id=name):
                self.bind(name, origins, is_copy=False)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for each in elements:
                    self._bind_target(each, deeper(origins))
            case ast.Starred(value=inner):
                self._bind_target(inner, origins)
            case _:
                pass

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
            return deeper(given, -1) if name in ("zip", "enumerate") else from_builtin(given)
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
            if name == "fit" and self._is_made_by_library(function.value):
                return own  # an estimator copies what it needs, or leaves it as it is
        found = untold(self._joined(shapes.children(node)))
        is_new = known.gives_new_array(full or "") or (full is None and name in known.COMPUTING_METHODS)
        return computed(found) if is_new else found

    def _is_made_by_library(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and (self._names.full_name(node.func) or "").startswith("sklearn.")

    def is_copy(self, node: ast.expr) -> bool:
        """Whether an expression gives a new object, whatever is in it."""
        full = (self._names.full_name(node.func) or "") if isinstance(node, ast.Call) else ""
        if known.gives_new_array(full) or full.startswith("itertools.") or full in _ITERATING:
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            return name in shapes.COPYING and self._names.full_name(node.func) == f"builtins.{name}"
        return shapes.is_new(node)

    def scoped(self, node: Any) -> Any:
        """A comprehension whose variables have names that no value has."""
        own = shapes.variables_of(node) & self.whole
        return shapes.renamed(node, own) if own else node

    def place_of(self, node: ast.expr, functions: Container[str]) -> Origins | None:
        """The values that something is taken out of, and how many steps into them, at least; None if it is not so."""
        inner = node
        while isinstance(inner, _PLACES) or shapes.is_taken(inner):
            inner = shapes.taken_from(inner)
        if not isinstance(inner, ast.Name) or inner.id in functions:
            return None
        if inner is node and (inner.id in self.whole or self.is_copied(inner.id)):
            return None
        return self.of(node)
