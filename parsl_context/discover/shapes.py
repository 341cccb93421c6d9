"""Shapes of expressions, as far as they tell whether what is given is new, taken out of something, or written to."""

from __future__ import annotations

import ast
import copy
import functools
import sys
from collections.abc import Sequence

COPYING = frozenset({"list", "dict", "set", "sorted", "tuple", "frozenset"})  # built-ins: a new object, the same items


def is_new(node: ast.expr) -> bool:
    """Whether an expression gives a new object, whatever is in it."""
    match node:
        case ast.BinOp() | ast.UnaryOp() | ast.List() | ast.Dict() | ast.Set() | ast.Tuple():
            return True
        case ast.ListComp() | ast.SetComp() | ast.DictComp():
            return True
        case ast.Call(func=ast.Attribute(attr="copy" | "deepcopy" | "clone")):
            return True
    return False


def inputs_of_ufunc(full: str | None) -> int | None:
    """How many arguments a function of NumPy reads, if it writes to those that follow."""
    package, _, name = (full or "").partition(".")
    found = getattr(sys.modules.get(package), name, None)
    inputs = getattr(found, "nin", None)
    return inputs if type(found).__name__ == "ufunc" else None


def is_store(target: ast.expr) -> bool:
    """Whether a target is a place in an object, rather than names."""
    return not isinstance(target, ast.Name | ast.Tuple | ast.List)


def is_taken(node: ast.expr) -> bool:
    """Whether a call takes something out of a container, or gives another with the same items."""
    match node:
        case ast.Call(func=ast.Attribute(attr="get" | "pop" | "setdefault" | "values" | "items" | "popitem" | "copy")):
            return True
        case ast.Call(func=ast.Name(id=name), args=[_]):
            return name in COPYING
    return False


def taken_from(node: ast.expr) -> ast.expr:
    """What an item, an attribute or what `is_taken` was taken from."""
    match node:
        case ast.Call(func=ast.Attribute(value=inner)) | ast.Call(func=ast.Name(), args=[inner]):
            return inner
        case ast.Subscript(value=inner) | ast.Attribute(value=inner):
            return inner
    return node


@functools.lru_cache(maxsize=8192)
def children(node: ast.AST | None) -> Sequence[ast.expr]:
    """The expressions that one is made of."""
    found: list[ast.expr] = []
    for each in ast.iter_child_nodes(node) if node is not None else ():
        if isinstance(each, ast.expr):
            found.append(each)
        elif isinstance(each, ast.keyword | ast.comprehension | ast.FormattedValue):
            found += children(each)
    return found


def root(node: ast.expr) -> ast.expr:
    """What a chain of attributes, items and calls begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node


def root_name(node: ast.expr) -> str:
    """The variable that a chain of attributes, items and calls begins with; empty if it begins with none."""
    found = root(node)
    return found.id if isinstance(found, ast.Name) else ""


@functools.lru_cache(maxsize=4096)
def read_in(node: ast.AST) -> frozenset[str]:
    """Names in some code."""
    return frozenset(each.id for each in dotted_in(node) if isinstance(each, ast.Name))


@functools.lru_cache(maxsize=4096)
def dotted_in(node: ast.AST) -> tuple[ast.Name | ast.Attribute, ...]:
    """Names and attributes in some code."""
    return tuple(each for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute))


def is_mask(index: ast.expr) -> bool:
    """Whether an index is a condition: an array gives a new one of what it holds for."""
    match index:
        case ast.Compare(ops=[ast.Eq() | ast.NotEq() | ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()]):
            return True
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
            return is_mask(left) and is_mask(right)
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            return is_mask(inner)
    return False


class _Renaming(ast.NodeTransformer):
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:  # the name that ast calls
        if node.id not in self._names:
            return node
        return ast.copy_location(ast.Name(id=f"{node.id} (inner)", ctx=node.ctx), node)


def renamed(node: ast.expr, names: set[str]) -> ast.expr:
    """A comprehension whose variables have names that nothing else has."""
    assert isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
    first = node.generators[0].iter
    made: ast.expr = _Renaming(names).visit(copy.deepcopy(node))
    made.generators[0].iter = first  # type: ignore[attr-defined]  # which is not within its scope
    return made


def loads_weights(node: ast.stmt) -> bool:
    """Whether a statement gives a network all its weights."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(), attr="load_state_dict"), keywords=keywords)):
            return all(each.arg != "strict" for each in keywords)
    return False


def elements_of(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> list[ast.expr]:
    """What a comprehension puts together."""
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
