"""Which variables may be objects of classes of the user's, or containers of such: what their names say counts less.

A part of `parsl_context.discover.uses`, which says what is done with them.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from parsl_context.discover import shapes
from parsl_context.discover.calls import Calls
from parsl_context.discover.classes import user_class, users_bases
from parsl_context.discover.lineage import Lineage
from parsl_context.discover.names import Names


class UsersObjects:
    """Takes note of variables that may be objects of the user's.

    Parameters
    ----------
    names
        What names stand for.
    lineage
        What goes back to the values: these are known, and no such objects.
    calls
        What knows the functions that are defined within the one that is looked at.

    Attributes
    ----------
    strange : set
        Variables that may be objects of the user's, made by what is not a library's.
    holders : set
        Variables that may be containers of such objects.
    kinds : dict
        Classes of the user's of which variables may be objects.
    """

    def __init__(self, names: Names, lineage: Lineage, calls: Calls) -> None:
        self.strange: set[str] = set()
        self.holders: set[str] = set()
        self.kinds: dict[str, set[type]] = {}
        self._names = names
        self._lineage = lineage
        self._calls = calls

    def known(self) -> tuple[int, int, int]:
        """How much is known: it only grows."""
        return len(self.strange), len(self.holders), sum(map(len, self.kinds.values()))

    def note(self, targets: Sequence[ast.expr], value: ast.expr, *, is_taken: bool = False) -> None:
        """Take note of variables that may be objects of the user's, or hold such, and of their classes if known.

        Parameters
        ----------
        is_taken
            Whether what is in the value is bound, one after the other.
        """
        made = set().union(*map(shapes.read_in, targets))
        is_taken |= not all(isinstance(each, ast.Name) for each in targets)
        kind = user_class(value.func, self._names) if isinstance(value, ast.Call) else None
        if kind is not None and not is_taken:
            for name in made:
                self.kinds.setdefault(name, set()).add(kind)
            return
        parts = shapes.either(value)
        if any(self._may_be_users(each) or (is_taken and self._holds_users(each)) for each in parts):
            self.strange |= made
        if any(map(self._holds_users, parts)):
            self.holders |= made

    def is_of_base(self, method: ast.Attribute) -> bool:
        """Whether a method is that of a library's class which the class of an object that is made here is based on."""
        if not isinstance(method.value, ast.Name) or method.value.id in self.strange | self._names.parameters:
            return False
        kinds = self.kinds.get(method.value.id, ())
        return bool(kinds) and not any(method.attr in vars(base) for kind in kinds for base in users_bases(kind))

    def is_users(self, node: ast.expr) -> bool:
        """Whether an object may be the user's: a global, an argument, or made by what is not a library's."""
        root = shapes.root(node)
        if not isinstance(root, ast.Name) or root.id in self._lineage.whole or root.id in self._lineage.variables:
            return False
        if root.id not in self._names.own or root.id in self._names.imports:
            return self._names.full_name(root) is None
        if root.id in self.holders and node is not root:
            return True
        return root.id in self._names.parameters or root.id in self.strange or root.id in self.kinds

    def _may_be_users(self, node: ast.expr) -> bool:
        """Whether an expression may give an object of the user's."""
        root = shapes.root(node)
        if isinstance(node, ast.Call) and isinstance(root, ast.Name) and root.id in self._calls.functions:
            return True
        return (root is not node or isinstance(node, ast.Name)) and self.is_users(node)

    def _holds_users(self, node: ast.expr) -> bool:
        """Whether an expression may give a container of objects of the user's."""
        match node:
            case ast.Name(id=name):
                return name in self.holders
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
                parts = shapes.children(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                parts = shapes.elements_of(node)
            case ast.Starred(value=inner):
                return self._holds_users(inner)
            case ast.Call(func=ast.Name() as function, args=args):
                is_plain = (self._names.full_name(function) or "").startswith("builtins.")
                return is_plain and any(map(self._holds_users, args))
            case _:
                return False
        return any(self._may_be_users(each) or self._holds_users(each) for each in parts)
