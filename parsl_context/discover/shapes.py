"""Shapes of expressions, as far as they tell whether what is given is new, taken out of something, or written to."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

from parsl_context.discover import known_names as known

_LEAVES = ast.expr_context | ast.operator | ast.boolop | ast.unaryop
# Fields that hold no nodes, or none but leaves.
_PLAIN_FIELDS = frozenset({"id", "attr", "ctx", "op", "arg", "asname", "level", "module", "conversion", "is_async"})
_PLAIN_FIELDS |= {"kind", "simple", "type_comment", "rest", "kwd_attrs"}
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {ast.Constant: ()}
_NOTHING: frozenset[str] = frozenset()
COPYING = frozenset({"list", "dict", "set", "sorted", "tuple", "frozenset"})  # built-ins: a new object, the same items
CHAINED = ast.Attribute | ast.Subscript | ast.Call | ast.Starred
_HOLDERS = ast.keyword | ast.comprehension | ast.FormattedValue
_VARIABLES = ast.Name | ast.Tuple | ast.List
_DOTTED = ast.Name | ast.Attribute
_ENDS = frozenset({ast.Name, ast.Constant})
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_NAMED: dict[type[ast.AST], str] = {ast.arg: "arg", ast.ExceptHandler: "name", ast.FunctionDef: "name"}
_Node = TypeVar("_Node", bound=ast.AST)


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
    return not isinstance(target, _VARIABLES)


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


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """Fields of a kind of node that may hold nodes."""
    if (found := _FIELDS.get(kind)) is None:
        found = _FIELDS[kind] = tuple(name for name in kind._fields if name not in _PLAIN_FIELDS)
    return found


@functools.lru_cache(maxsize=8192)
def parts(node: ast.AST) -> Sequence[ast.AST]:
    """What a node is made of, as `ast.iter_child_nodes` gives it, without what says how others are used."""
    found: list[ast.AST] = []
    for name in _fields(type(node)):
        value = getattr(node, name, None)
        if type(value) is list:
            found += [each for each in value if isinstance(each, ast.AST)]
        elif value is not None and isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
            found.append(value)
    return found


@functools.lru_cache(maxsize=4096)
def walk(node: ast.AST) -> Sequence[ast.AST]:
    """As `ast.walk`, once for each node, without what says how others are used."""
    found = [node]
    for each in found:
        if type(each) not in _ENDS:
            found += parts(each)
    return found


@functools.lru_cache(maxsize=4096)
def kinds_in(node: ast.AST) -> Mapping[type[ast.AST], Sequence[ast.AST]]:
    """What is in some code, by its kind."""
    found: dict[type[ast.AST], list[ast.AST]] = {}
    for each in walk(node):
        kind = type(each)
        if kind in found:
            found[kind].append(each)
        else:
            found[kind] = [each]
    return found


def all_in(node: ast.AST, kind: type[_Node]) -> Sequence[_Node]:
    """All of a kind in some code."""
    return kinds_in(node).get(kind, ())  # type: ignore[return-value]  # by its kind


def has_any(node: ast.AST, kinds: frozenset[type[ast.AST]]) -> bool:
    """Whether anything of some kinds is in some code."""
    return not kinds.isdisjoint(kinds_in(node))


@functools.lru_cache(maxsize=8192)
def children(node: ast.AST | None) -> Sequence[ast.expr]:
    """The expressions that one is made of."""
    found: list[ast.expr] = []
    for each in parts(node) if node is not None else ():
        if isinstance(each, ast.expr):
            found.append(each)
        elif isinstance(each, _HOLDERS):
            found += children(each)
    return found


def root(node: ast.expr) -> ast.expr:
    """What a chain of attributes, items and calls begins with."""
    while isinstance(node, CHAINED):
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


@functools.lru_cache(maxsize=8192)
def read_in(node: ast.AST) -> frozenset[str]:
    """Names in some code."""
    if isinstance(node, ast.Name):
        return frozenset((node.id,))
    inner = [each for each in parts(node) if not isinstance(each, ast.Constant)]
    if len(inner) == 1:
        return read_in(inner[0])
    return _NOTHING.union(*map(read_in, inner))


@functools.lru_cache(maxsize=4096)
def dotted_in(node: ast.AST) -> Sequence[ast.Name | ast.Attribute]:
    """Names and attributes in some code."""
    return [each for each in walk(node) if isinstance(each, _DOTTED)]


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


@functools.lru_cache(maxsize=1024)
def renamed(node: ast.expr, names: frozenset[str]) -> ast.expr:
    """A comprehension whose variables have names that nothing else has."""
    assert isinstance(node, _COMPREHENSIONS)
    made = _copied(node, names, is_all=False)
    made.generators[0].iter = node.generators[0].iter  # which is not within its scope
    return made


@functools.lru_cache(maxsize=1024)
def variables_of(node: ast.expr) -> frozenset[str]:
    """The variables of a comprehension."""
    assert isinstance(node, _COMPREHENSIONS)
    return _NOTHING.union(*(read_in(each.target) for each in node.generators))


@functools.lru_cache(maxsize=256)
def with_names_of_its_own(node: ast.FunctionDef, names: frozenset[str]) -> list[ast.stmt]:
    """What a function runs, with variables whose names nothing else has.

    Names that are bound in other ways than these are left as they are: those of imports, classes and patterns.
    """
    names -= _bound_otherwise(node)
    return [_copied(each, names, is_all=True) for each in node.body]


def _copied(node: _Node, names: frozenset[str], *, is_all: bool) -> _Node:
    """A copy in which some variables have names that nothing else has.

    Parameters
    ----------
    is_all
        Whether it is about all that binds names: parameters, functions, errors that are caught.
    """
    kind = type(node)
    made = kind.__new__(kind)
    for field, value in vars(node).items():
        if field == "annotation" and is_all and kind is ast.arg:
            continue
        if isinstance(value, list):
            value = [_copied(each, names, is_all=is_all) if isinstance(each, ast.AST) else each for each in value]
        elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
            value = _copied(value, names, is_all=is_all)
        setattr(made, field, value)
    name = "id" if isinstance(node, ast.Name) else _NAMED.get(kind) if is_all else None
    if name is not None and (old := getattr(node, name)) in names:
        setattr(made, name, f"{old} (inner)")
    return made


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
