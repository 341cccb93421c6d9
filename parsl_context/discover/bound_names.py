"""Which names statements bind, and how often."""

from __future__ import annotations

import ast
import collections
import functools
from collections.abc import Sequence

from parsl_context.discover import shapes

_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_BINDING = ast.stmt | ast.ExceptHandler | ast.pattern | ast.Name
_ASSIGNING = ast.Assign | ast.AnnAssign | ast.AugAssign
_IMPORT_KINDS = frozenset({ast.Import, ast.ImportFrom})
_IMPORTS = ast.Import | ast.ImportFrom
DECLARING = ast.Nonlocal | ast.Global
_SEQUENCES = ast.Tuple | ast.List
_NOT_ENTERED = ast.expr | _SCOPES


def times_bound(node: ast.stmt) -> dict[str, int]:
    """How often each name is bound by a statement in its own scope, or declared to be of another scope.

    For the function that is looked at, that is its own name aside: parameters and what its statements bind.
    """
    found: dict[str, int] = collections.defaultdict(int)
    for name in _bound_by(node):
        found[name] += 1
    return found


def times_bound_in(function: ast.FunctionDef) -> dict[str, int]:
    """How often each name is bound within a function, as a parameter or by its statements."""
    found: dict[str, int] = collections.defaultdict(int)
    given = function.args
    for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if each is not None:
            found[each.arg] += 1
    for statement in function.body:
        for name in _bound_by(statement):
            found[name] += 1
    return found


@functools.lru_cache(maxsize=4096)
def _bound_by(node: ast.AST) -> tuple[str, ...]:
    """Names that some code binds, as often as it does."""
    found: list[str] = []
    _add_bound(node, found)
    return tuple(found)


def _add_bound(node: ast.AST, found: list[str]) -> None:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            found.append(node.id)
        return
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            found.append(name)
        case ast.Import() | ast.ImportFrom():
            found += imported(node)
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            found += (*names, *names)  # it is never the function's alone
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            found.append(name)
        case ast.MatchMapping(rest=str(name)):
            found.append(name)
    if isinstance(node, _SCOPES):
        _add_bound_from_within(node, found)
    elif isinstance(node, _COMPREHENSIONS):
        for each in shapes.walk(node):
            if isinstance(each, ast.NamedExpr):
                _add_bound(each.target, found)
    else:
        for child in shapes.parts(node):
            _add_bound(child, found)


def _add_bound_from_within(node: ast.AST, found: list[str]) -> None:
    """Names around a scope that it binds: those that it declares, and what its defaults and decorators bind."""
    for each in shapes.walk(node):
        if isinstance(each, DECLARING):
            found += (*each.names, *each.names)
        elif isinstance(each, ast.NamedExpr):
            _add_bound(each.target, found)  # if that is within, it errs to the safe side


def read_outside(node: ast.AST) -> frozenset[str] | None:
    """Names around some code that it reads; None if only the compiler can tell, as it has scopes of its own kinds."""
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            return frozenset((name,))
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            first = node.generators[0].iter
            targets = (at for each in node.generators for at in shapes.walk(each.target) if isinstance(at, ast.Name))
            own = frozenset(at.id for at in targets if not isinstance(at.ctx, ast.Load))
            inner = [each for each in shapes.parts(node) if each is not node.generators[0]]
            inner += [each for each in shapes.parts(node.generators[0]) if each is not first]
            outer: Sequence[ast.AST] = [first]
        case ast.Lambda(args=given, body=body):
            own = frozenset(each.arg for each in shapes.walk(given) if isinstance(each, ast.arg))
            inner, outer = [body], [*given.defaults, *filter(None, given.kw_defaults)]
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.NamedExpr():
            return None
        case _:
            inner, outer, own = [], shapes.parts(node), frozenset()
    found: set[str] = set()
    for parts, hidden in ((inner, own), (outer, frozenset[str]())):
        for each in parts:
            if (read := read_outside(each)) is None:
                return None
            found |= read - hidden
    return frozenset(found)


def bound_within_scopes(statement: ast.stmt) -> set[str]:
    """Names that functions, classes and comprehensions in a statement bind or declare, and their own."""
    found: set[str] = set()
    scopes = (_SCOPES | _COMPREHENSIONS,)
    for scope in (node for node in shapes.walk(statement) if isinstance(node, scopes)):
        for node in shapes.walk(scope):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, _BINDING):
                found.update(_bound_by(node))
    return found


@functools.lru_cache(maxsize=64)
def times_bound_at_top(function: ast.FunctionDef) -> dict[str, int]:
    """How often names are bound by plain assignments, imports and definitions among the statements of a function."""
    found: dict[str, int] = collections.defaultdict(int)
    for node in function.body:
        names: Sequence[str] = ()
        if isinstance(node, _ASSIGNING):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in variables(target) or ()]
        elif isinstance(node, _IMPORTS):
            names = imported(node)
        for name in names:
            found[name] += 1
    return found


@functools.lru_cache(maxsize=64)
def times_imported_alike(function: ast.FunctionDef) -> dict[str, int]:
    """How often names are bound by imports, if these bind them all to the same: ``import a.b`` and ``import a.c``."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    times: dict[str, int] = collections.defaultdict(int)
    left: list[ast.AST] = [each for each in function.body if shapes.has_any(each, _IMPORT_KINDS)]
    for node in left:
        if not isinstance(node, _NOT_ENTERED):
            left += shapes.parts(node)
        if not isinstance(node, _IMPORTS):
            continue
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            prefix = f"{'.' * node.level}{node.module}." if isinstance(node, ast.ImportFrom) else ""
            found[name].add(prefix + (alias.name if alias.asname or prefix else name))
            times[name] += 1
    return collections.defaultdict(int, {name: times[name] for name, modules in found.items() if len(modules) == 1})


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Names that an import binds."""
    return [alias.asname or alias.name.partition(".")[0] for alias in node.names]


def variables(target: ast.expr) -> list[str] | None:
    """The names of a target; None if it is none."""
    elements: Sequence[ast.expr] = target.elts if isinstance(target, _SEQUENCES) else [target]
    elements = [each.value if isinstance(each, ast.Starred) else each for each in elements]
    found = [each.id for each in elements if isinstance(each, ast.Name)]
    return found if len(found) == len(elements) else None


def changed_in(node: ast.stmt) -> set[str]:
    """Names of objects that statements within one store into, or call methods of for their effect."""
    found = set()
    for each in shapes.walk(node):
        match each:
            case ast.Assign(targets=targets):
                found |= {shapes.root_name(target) for target in targets if shapes.is_store(target)}
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                found.add(shapes.root_name(target))
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                found.add(shapes.root_name(method))
            case _:
                pass
    return found - {""}


def is_bound_before_read(name: str, body: Sequence[ast.stmt]) -> bool:
    """Whether statements that follow one another bind a variable before they read it, whatever was in it before."""
    return _reaches(name, body) is not True


def _reaches(name: str, body: Sequence[ast.stmt]) -> bool | None:
    """Whether what was in a variable may be read; None if it is bound for sure before."""
    for each in body:
        if name not in _bound_by(each) and name not in shapes.read_in(each):
            continue
        match each:
            case ast.Assign(targets=[target], value=value) if name in (variables(target) or ()):
                return True if name in shapes.read_in(value) else None
            case ast.For(target=target, iter=values, body=inner, orelse=other):
                is_its = name in (variables(target) or ())
                if name in shapes.read_in(values) or _reaches(name, other):
                    return True
                if not is_its and _reaches(name, inner):
                    return True
            case ast.With(items=items, body=inner):
                if any(name in shapes.read_in(item.context_expr) for item in items):
                    return True
                if any(isinstance(item.optional_vars, ast.Name) and item.optional_vars.id == name for item in items):
                    return None
                if (found := _reaches(name, inner)) is not False:
                    return found
            case ast.If(test=test, body=inner, orelse=other):
                if name in shapes.read_in(test) or _reaches(name, inner) or _reaches(name, other):
                    return True
            case ast.Return(value=ast.expr() as value) | ast.Assign(value=value) | ast.Expr(value=value):
                if name in shapes.read_in(each) and not _is_of_comprehensions(name, each):
                    return True
            case _:
                return True
    return False


def _is_of_comprehensions(name: str, node: ast.AST) -> bool:
    """Whether a name in some code is one of comprehensions there, or of lambdas, alone."""
    if isinstance(node, ast.Name):
        return node.id != name
    if isinstance(node, ast.Lambda) and name in {each.arg for each in shapes.walk(node) if isinstance(each, ast.arg)}:
        return True
    if isinstance(node, _COMPREHENSIONS):
        targets = [each.target for each in node.generators]
        if any(isinstance(at, ast.Name) and at.id == name for each in targets for at in shapes.walk(each)):
            return _is_of_comprehensions(name, node.generators[0].iter)
    return all(_is_of_comprehensions(name, each) for each in shapes.parts(node))
