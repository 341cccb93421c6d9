"""Shapes of expressions, as far as they tell whether what is given is new, taken out of something, or written to."""

from __future__ import annotations

import ast
import copy
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence

from parsl_context.discover import known_names as known

_LEAVES = ast.expr_context | ast.operator | ast.boolop | ast.unaryop
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


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """What a node is made of, as `ast.iter_child_nodes` gives it, in half the time."""
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            for each in value:
                if isinstance(each, ast.AST):
                    yield each
        elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
            yield value


@functools.lru_cache(maxsize=4096)
def walk(node: ast.AST) -> Sequence[ast.AST]:
    """As `ast.walk`, once for each node, without what says how others are used."""
    found = [node]
    for each in found:
        found.extend(parts(each))
    return found


@functools.lru_cache(maxsize=8192)
def children(node: ast.AST | None) -> Sequence[ast.expr]:
    """The expressions that one is made of."""
    found: list[ast.expr] = []
    for each in parts(node) if node is not None else ():
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


def either(node: ast.expr) -> list[ast.expr]:
    """What an expression may give, if it decides which of some it gives."""
    match node:
        case ast.IfExp(body=first, orelse=second):
            return [*either(first), *either(second)]
        case ast.BoolOp(values=values):
            return [one for each in values for one in either(each)]
        case ast.NamedExpr(value=value):
            return either(value)
    return [node]


def root_name(node: ast.expr) -> str:
    """The variable that a chain of attributes, items and calls begins with; empty if it begins with none."""
    found = root(node)
    return found.id if isinstance(found, ast.Name) else ""


@functools.lru_cache(maxsize=4096)
def read_in(node: ast.AST) -> frozenset[str]:
    """Names in some code."""
    if isinstance(node, ast.Name):
        return frozenset((node.id,))
    return frozenset().union(*map(read_in, parts(node)))


@functools.lru_cache(maxsize=4096)
def dotted_in(node: ast.AST) -> tuple[ast.Name | ast.Attribute, ...]:
    """Names and attributes in some code."""
    return tuple(each for each in walk(node) if isinstance(each, ast.Name | ast.Attribute))


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


def masks_in(body: Sequence[ast.stmt], times_bound: Mapping[str, int]) -> frozenset[str]:
    """Variables that are bound once, to a condition for each item of an array."""
    found: set[str] = set()
    for each in body:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if times_bound[name] == 1:
                function = value.func if isinstance(value, ast.Call) else None
                if is_mask(value) or (isinstance(function, ast.Attribute) and function.attr in known.MASKING):
                    found.add(name)
            case _:
                pass
    return frozenset(found)


class _Renaming(ast.NodeTransformer):
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:  # the name that ast calls
        return ast.copy_location(ast.Name(id=self._new(node.id), ctx=node.ctx), node)

    def _new(self, name: str) -> str:
        return f"{name} (inner)" if name in self._names else name


def renamed(node: ast.expr, names: set[str]) -> ast.expr:
    """A comprehension whose variables have names that nothing else has."""
    assert isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
    first = node.generators[0].iter
    made: ast.expr = _Renaming(names).visit(copy.deepcopy(node))
    made.generators[0].iter = first  # type: ignore[attr-defined]  # which is not within its scope
    return made


class _RenamingAll(_Renaming):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.copy_location(ast.arg(arg=self._new(node.arg)), node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = node.name and self._new(node.name)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._new(node.name)
        return self.generic_visit(node)


@functools.lru_cache(maxsize=256)
def with_names_of_its_own(node: ast.FunctionDef, names: frozenset[str]) -> list[ast.stmt]:
    """What a function runs, with variables whose names nothing else has.

    Names that are bound in other ways than these are left as they are: those of imports, classes and patterns.
    """
    renaming = _RenamingAll(set(names - _bound_otherwise(node)))
    return [renaming.visit(copy.deepcopy(each)) for each in node.body]


def _bound_otherwise(node: ast.FunctionDef) -> set[str]:
    found: set[str] = set()
    for each in walk(node):
        match each:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {(alias.asname or alias.name).partition(".")[0] for alias in names}
            case ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                found.add(name)
            case _:
                pass
    return found


def loads_weights(node: ast.stmt) -> bool:
    """Whether a statement gives a network all its weights."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(), attr="load_state_dict"), keywords=keywords)):
            return all(each.arg != "strict" for each in keywords)
    return False


def elements_of(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> list[ast.expr]:
    """What a comprehension puts together."""
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
