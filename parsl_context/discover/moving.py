"""Which statements of a function move to its context, if some variables must not: one after the other, from the first.

A part of the automatic split, see `parsl_context.discover.automatic`.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from parsl_context.discover import bound_names as bound
from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.classes import methods_of, user_class
from parsl_context.discover.compound import COMPILERS, why_not_compound
from parsl_context.discover.halves import Verdict
from parsl_context.discover.leading import is_plain_error, why_not, why_not_function
from parsl_context.discover.names import Names, Unknown, names_of
from parsl_context.discover.sources import Source
from parsl_context.discover.uses import misused_parameters

CONTEXT, BOTH, BODY = "context", "both", "body"
_CONSTANTS = (int, float, complex, str, bytes, type(None))
_KINDS: dict[type[ast.stmt], str] = {
    ast.Return: "it gives the result",
    ast.If: "it decides with every call",
    ast.Assert: "it checks with every call",
    ast.Expr: "it is there for its effect",
}


@dataclass
class Moving:
    """What moves.

    Attributes
    ----------
    source : Source
        The function.
    body : sequence of ast.stmt
        Its statements, docstring aside.
    bound : mapping
        How often each name is bound in it.
    staying : mapping
        Variables that must not move, and why.
    names : Names
        What names stand for after the leading statements.
    verdicts : list of Verdict
        Where each statement goes.
    made_by : dict
        The statements that make and change each variable that moves.
    drawn : dict
        Variables that must not move because their weights are random.
    compiled : dict
        Variables that are functions of the user's, compiled.
    """

    source: Source
    body: Sequence[ast.stmt]
    bound: dict[str, int]
    staying: dict[str, Unknown]
    names: Names = field(init=False)
    verdicts: list[Verdict] = field(default_factory=list)
    made_by: dict[str, list[ast.stmt]] = field(default_factory=dict)
    drawn: dict[str, Unknown] = field(default_factory=dict)
    compiled: dict[str, types.FunctionType] = field(default_factory=dict)
    _constants: set[str] = field(default_factory=set)
    _bound_at_top: dict[str, int] = field(init=False)
    _is_read: bool = False  # a statement that stays has read something that moves

    def __post_init__(self) -> None:
        self.names = names_of(self.source)
        self._bound_at_top = bound.times_bound_at_top(self.body)
        end = ""  # why nothing after it moves
        for node in self.body:
            if end:
                self.verdicts.append(Verdict(node, BODY, end, node.lineno))
                continue
            verdict = self._verdict(node)
            self.verdicts.append(verdict)
            self._is_read |= verdict.place == BODY and not self.made_by.keys().isdisjoint(shapes.read_in(node))
            if verdict.place == BODY and not _lets_pass(node, self.names):
                end = f"it comes after line {node.lineno}, which runs with every call"

    def functions_of(self, name: str) -> list[types.FunctionType]:
        """Functions of the user's that a variable was made of."""
        return _functions_in(self.made_by[name], self.names)

    def methods_of(self, name: str) -> list[types.FunctionType]:
        """Methods that a variable may have if it is an object of the user's."""
        nodes = self.made_by[name]
        if not self.names.classes:
            return []
        parts = [each for node in nodes for each in shapes.dotted_in(node)]
        kinds = [kind for each in parts if (kind := user_class(each, self.names)) is not None]
        if any(_functions_in(nodes, self.names)):  # which may make objects, too
            kinds += self.names.classes
        return [method for kind in kinds for method in methods_of(kind)]

    def _verdict(self, node: ast.stmt) -> Verdict:
        match node:
            case ast.Import() | ast.ImportFrom():
                self.names.add_import(node)
                again = [alias for alias in bound.imported(node) if self.bound[alias] > 1]
                return Verdict(node, BODY if again else BOTH, f"{again[0]} is bound more than once" if again else "")
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                variables = bound.variables(target)
                if variables is None:
                    return self._verdict_on_change(node, target, [target, value])
                return self._verdict_on_binding(node, variables, value, is_unpacked=not isinstance(target, ast.Name))
            case ast.AugAssign(target=target, value=value):
                return self._verdict_on_change(node, target, [_loaded(target), value])
            case ast.Expr(value=ast.Call(func=function) as call) if self.names.full_name(function) in known.SETTINGS:
                is_constant = all(map(_is_constant, (*call.args, *(each.value for each in call.keywords))))
                return Verdict(
                    node, BOTH if is_constant else BODY, "" if is_constant else _KINDS[ast.Expr], node.lineno
                )
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method) as call):
                return self._verdict_on_change(node, method, [call])
            case ast.For() | ast.With() | ast.If() | ast.FunctionDef():
                return self._verdict_on_compound(node)
        return Verdict(node, BODY, _KINDS.get(type(node), "it is no assignment"), node.lineno)

    def _verdict_on_binding(
        self, node: ast.stmt, variables: Sequence[str], value: ast.expr, *, is_unpacked: bool
    ) -> Verdict:
        """Whether a statement moves that binds names."""
        for name in variables:
            if self.bound[name] > self._bound_at_top[name]:
                return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
            if name in self.staying:
                return self._stays(node, name)
            if name in self._constants or (name in self.made_by and self._is_read):
                return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
        if _is_constant(value) and all(self.bound[name] == 1 for name in variables):
            self.names.free.update(variables)
            self._constants.update(variables)
            return Verdict(node, BOTH)
        count = len(self.names.drawn)
        if (unknown := why_not(value, self.names, is_used_up=is_unpacked)) is not None:
            return _refused(node, unknown)
        if len(self.names.drawn) > count or not self.drawn.keys().isdisjoint(shapes.read_in(value)):
            self.drawn.update(
                (name, Unknown("begins with weights that are drawn at random", node)) for name in variables
            )
        compiled = _compiled(value, self.names)
        if compiled is not None:
            self.compiled[variables[0]] = compiled
        elif (function := _given_on(value, self.names)) is not None:
            return Verdict(
                node, BODY, f"{function} may be called later, and change or keep what it is given", node.lineno
            )
        if self._is_read and self._may_change(value):
            return Verdict(node, BODY, "it may change what a statement above reads, which stays", node.lineno)
        self._move(node, variables)
        return Verdict(node, CONTEXT)

    def _verdict_on_change(self, node: ast.stmt, target: ast.expr, parts: Sequence[ast.expr]) -> Verdict:
        """Whether a statement moves that changes what has moved: it does so before any call sees it."""
        root = shapes.root_name(target)
        if root not in self.made_by:
            return Verdict(node, BODY, _KINDS.get(type(node), "it stores into an object"), node.lineno)
        if root in self.staying:
            return self._stays(node, root)
        if self._is_read:
            return Verdict(node, BODY, f"{root} is read before by a statement that stays", node.lineno)
        for each in parts:
            if (unknown := why_not(each, self.names)) is not None:
                return _refused(node, unknown)
        if shapes.loads_weights(node):
            self.drawn.pop(root, None)
        self.made_by[root].append(node)
        return Verdict(node, CONTEXT)

    def _verdict_on_compound(self, node: ast.For | ast.With | ast.If | ast.FunctionDef) -> Verdict:
        """Whether a statement with a body of its own moves, as a whole."""
        inside = bound.times_bound(node)
        for name in inside:
            is_bound_elsewhere = self.bound[name] > inside[name] + self._bound_at_top[name]
            if is_bound_elsewhere or name in self._constants:
                return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
        if (unknown := why_not_compound(node, self.names, self.made_by)) is not None:
            reason = unknown.reason
            if isinstance(node, ast.If):
                reason = _KINDS[ast.If]
            return Verdict(node, BODY, reason, getattr(unknown.node, "lineno", node.lineno))
        touched = [*inside, *(name for name in bound.changed_in(node) if name in self.made_by and name not in inside)]
        for name in touched:
            if name in self.staying:
                return self._stays(node, name)
            if name in self.made_by and self._is_read:
                return Verdict(node, BODY, f"{name} is read before by a statement that stays", node.lineno)
        self._move(node, touched)
        return Verdict(node, CONTEXT)

    def _move(self, node: ast.stmt, variables: Sequence[str]) -> None:
        self.names.free.update(variables)
        for name in variables:
            self.made_by.setdefault(name, []).append(node)

    def _may_change(self, value: ast.expr) -> bool:
        """Whether making a value may change what has moved."""
        for call in (each for each in ast.walk(value) if isinstance(each, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            moved = not self.made_by.keys().isdisjoint(shapes.read_in(call))
            if moved and (known.is_changing(name) or _functions_in([call.func], self.names)):
                return True
        return False

    def _stays(self, node: ast.stmt, name: str) -> Verdict:
        unknown = self.staying[name]
        return Verdict(node, BODY, f"{name} {unknown.reason}", getattr(unknown.node, "lineno", node.lineno))


def _refused(node: ast.stmt, unknown: Unknown) -> Verdict:
    return Verdict(node, BODY, unknown.reason, getattr(unknown.node, "lineno", node.lineno))


def _given_on(value: ast.expr, names: Names) -> str | None:
    """A function of the user's that is not called but given on, and does not leave what it is given as it is."""
    called = {id(each.func) for each in ast.walk(value) if isinstance(each, ast.Call)}
    given_on = (each for each in shapes.dotted_in(value) if id(each) not in called)
    for function in filter(None, map(names.user_function, given_on)):
        if misused_parameters(function, 1):
            return function.__name__
    return None


def _compiled(value: ast.expr, names: Names) -> types.FunctionType | None:
    """The function of the user's that is compiled: ``numba.njit(function)``."""
    match value:
        case ast.Call(func=function, args=[given]) if (names.full_name(function) or "").startswith(COMPILERS):
            found = names.user_function(given)
            return found if found is not None and why_not_function(value, found, names) is None else None
    return None


def _functions_in(nodes: Sequence[ast.AST], names: Names) -> list[types.FunctionType]:
    """Functions of the user's that are named in some code."""
    parts = (each for node in nodes for each in shapes.dotted_in(node))
    return [each for each in map(names.user_function, parts) if each is not None]


def _is_constant(value: ast.expr) -> bool:
    if isinstance(value, ast.Tuple):
        return all(map(_is_constant, value.elts))
    return isinstance(value, ast.Constant) and isinstance(value.value, _CONSTANTS)


def _loaded(target: ast.expr) -> ast.expr:
    """What a target stands for before it is changed."""
    return ast.Name(id=target.id, ctx=ast.Load()) if isinstance(target, ast.Name) else target


# --- what may be stepped over


def _lets_pass(node: ast.stmt, names: Names) -> bool:
    """Whether what comes after a statement that stays may move.

    So it is with imports, guards, what was moved if it could be, and what is printed. A guard asks for parameters and
    raises or returns; it calls nothing that is not known.
    """
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Pass():
            return True
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            # A value that is only misused later on, or bound twice: making it disturbs nothing.
            unknown = why_not(value, _all_free(names, value))
            return bound.variables(target) is not None and (unknown is None or unknown.is_harmless)
        case ast.Expr(value=ast.Call(func=ast.Name(id="print") as function) as call):
            # What comes after it is made without being seen, and if that fails, calls run undivided.
            is_plain = names.full_name(function) == "builtins.print" and not call.keywords
            return is_plain and all(why_not(each, names) is None for each in call.args)
        case ast.Expr(value=ast.Call() as call):
            return why_not(call, _all_free(names, call)) is None
        case ast.FunctionDef(args=given, decorator_list=decorators):
            return not (decorators or given.defaults or any(given.kw_defaults))
        case ast.If(test=test, body=body, orelse=other):
            inside = _with_parameters(names)
            return why_not(test, inside) is None and all(_is_of_guard(each, inside) for each in (*body, *other))
        case ast.Assert(test=test):
            return why_not(test, _with_parameters(names)) is None
    return False


def _is_of_guard(node: ast.stmt, names: Names) -> bool:
    match node:
        case ast.Raise(exc=ast.expr() as error):
            return is_plain_error(error, names)
        case ast.Return(value=value):
            return value is None or why_not(value, names) is None
        case ast.Pass():
            return True
        case ast.If(test=test, body=body, orelse=other):
            return why_not(test, names) is None and all(_is_of_guard(each, names) for each in (*body, *other))
    return False


def _with_parameters(names: Names) -> Names:
    free = names.free | names.parameters
    return replace(names, free=free)


def _all_free(names: Names, value: ast.expr) -> Names:
    """Names for what was to move but for its variables, which are known by now."""
    free = names.free | (shapes.read_in(value) & names.own - names.parameters)
    return replace(names, free=free, tables=set(names.tables or ()), drawn=[], classes=set())
