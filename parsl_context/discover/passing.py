"""What may be stepped over: statements that stay in the body, and after which others may move all the same.

A part of the automatic split, see `parsl_context.discover.automatic`. What comes after such a statement is made before
it, so it must leave as they are the files, settings and globals that others may be made of. It may look at the outside
world (the clock, the environment), draw random numbers, and change what is the call's own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from parsl_context.discover import bound_names as bound
from parsl_context.discover import known_effects as effects
from parsl_context.discover import shapes
from parsl_context.discover.inside import why_not_entered, why_not_inside
from parsl_context.discover.leading import why_not
from parsl_context.discover.names import Names, Unknown


class Passing:
    """Says which statements that stay may be stepped over, one after the other.

    Attributes
    ----------
    is_seeded : bool
        Whether one of them has set what random numbers begin with.
    """

    def __init__(self) -> None:
        self.is_seeded = False
        self._plain: set[str] = set()  # functions that are defined in the function, and compute
        self._strange: set[str] = set()  # those that may do more
        self._made: set[str] = set()  # variables that are made of what is known, as what moves is
        self._classes: set[type] = set()

    def lets_pass(self, node: ast.stmt, names: Names) -> bool:
        """Whether what comes after a statement that stays may move."""
        inside = names.within(
            free=names.free | names.own,
            tables=set(names.tables or ()),
            drawn=[],
            classes=self._classes | names.classes,
            drops=[],
            files=set(names.files),
            known=names.free | self._plain | self._made,
            strange=set(self._strange),
            seeds=[],
        )
        lets = self._lets_pass(node, inside)
        self.is_seeded |= bool(inside.seeds)
        self._classes |= inside.classes
        variables = bound.times_bound(node).keys()
        is_known = isinstance(node, ast.Assign) and shapes.read_in(node.value) & names.own <= names.free | self._made
        self._made = self._made | variables if is_known else self._made - variables
        return lets

    def _lets_pass(self, node: ast.stmt, names: Names) -> bool:
        match node:
            case ast.Import() | ast.ImportFrom():
                names.add_import(node)
                return True
            case ast.Pass() | ast.Break() | ast.Continue() | ast.Return(value=None):
                return True
            case ast.FunctionDef():
                return self._defines(node, names)
            case ast.If(test=test, body=body, orelse=other) | ast.While(test=test, body=body, orelse=other):
                return why_not(test, names) is None and self._all((*body, *other), names)
            case ast.For(target=target, iter=values, body=body, orelse=other) if bound.variables(target) is not None:
                return why_not(values, names, is_used_up=True) is None and self._all((*body, *other), names)
            case ast.With(items=[item], body=body):
                return why_not_entered(item, names) is None and self._all(body, names)
            case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=final):
                caught = [part for each in handlers for part in each.body]
                return self._all((*body, *caught, *other, *final), names)
            case ast.Raise(exc=ast.Call(args=given)):
                return all(why_not(each, names) is None for each in given)
            case ast.Raise(exc=ast.Name() | None, cause=None):
                return True
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)) if not _is_for_effect(method, names):
                return False
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.Expr() | ast.Assert() | ast.Return():
                return why_not_inside(node, names) is None
        return False

    def _all(self, body: Iterable[ast.stmt], names: Names) -> bool:
        return all(self._lets_pass(each, names) for each in body)

    def _defines(self, node: ast.FunctionDef, names: Names) -> bool:
        """Whether a function may be defined. What it does counts where it is named."""
        given = node.args
        defaults = [*given.defaults, *filter(None, given.kw_defaults)]
        own = frozenset(bound.times_bound_in(node))
        inside = names.within(free=names.free | own, own=names.own | own, known=(names.known or set()) - own)
        is_plain = self._all(node.body, inside)
        (self._plain if is_plain else self._strange).add(node.name)
        return not node.decorator_list and all(why_not(each, names) is None for each in defaults)


def _is_for_effect(method: ast.Attribute, names: Names) -> bool:
    """Whether a method whose result nobody takes changes the call's own alone, or is a function of a library."""
    return names.full_name(method) is not None or effects.is_for_effect(method.attr)


def may_draw(node: ast.stmt, names: Names) -> Unknown | None:
    """Why a statement may draw random numbers, but for those of a generator that it makes itself."""
    for each in shapes.walk(node):
        if isinstance(each, ast.Call):
            method = each.func.attr if isinstance(each.func, ast.Attribute) else ""
            if not effects.draws_nothing(names.full_name(each.func), method):
                return Unknown("it may draw random numbers, and what these begin with is set above", each)
    return None
