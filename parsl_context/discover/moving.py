"""Which statements of a function move to its context, if some variables must not: one after the other, from the first.

A part of the automatic split, see `parsl_context.discover.automatic`.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from dataclasses import dataclass, field

from parsl_context.discover import bound_names as bound
from parsl_context.discover import known_names as known
from parsl_context.discover import lively, shapes
from parsl_context.discover.classes import methods_of, user_class
from parsl_context.discover.compound import COMPILERS, Compound, why_not_compound
from parsl_context.discover.halves import Verdict
from parsl_context.discover.inside import why_not_called, why_not_function
from parsl_context.discover.leading import why_not
from parsl_context.discover.names import Names, Unknown, names_of
from parsl_context.discover.passing import Passing, may_draw
from parsl_context.discover.sources import Source, source_of
from parsl_context.discover.uses import misused_parameters

_DEEPEST = 3
CONTEXT, BOTH, BODY = "context", "both", "body"
_CONSTANTS = (int, float, complex, str, bytes, type(None))
_KINDS: dict[type[ast.stmt], str] = {
    ast.Return: "it gives the result",
    ast.If: "it decides with every call",
    ast.Assert: "it checks with every call",
    ast.Expr: "it is there for its effect",
}
_SEEDED_ANYWAY = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Return
_INNER = ast.FunctionDef | ast.Lambda
_IMPORTS = ast.Import | ast.ImportFrom


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
    functions : dict
        Functions that are defined in both halves: what moves may call them.
    scratch : set
        Variables of loops that move, which what stays binds anew before it reads them.
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
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    scratch: set[str] = field(default_factory=set)
    _constants: set[str] = field(default_factory=set)
    _bound_at_top: dict[str, int] = field(init=False)
    _bound_alike: dict[str, int] = field(init=False)  # by imports of the same
    _is_read: bool = False  # a statement that stays has read something that moves
    _is_seeded: bool = False  # one has set what random numbers begin with
    _bound_here: set[str] = field(default_factory=set)  # names that statements which stay have bound

    def __post_init__(self) -> None:
        self.names = names_of(self.source)
        self._bound_at_top = bound.times_bound_at_top(self.source.node)
        self._bound_alike = bound.times_imported_alike(self.source.node)
        passing = Passing()
        end = ""  # why nothing after it moves
        for node in self.body:
            if end:
                self.verdicts.append(Verdict(node, BODY, end, node.lineno))
                continue
            verdict = self._verdict(node)
            self.verdicts.append(verdict)
            moved = self.made_by.keys() | self.functions.keys()
            self._is_read |= verdict.place == BODY and not moved.isdisjoint(shapes.read_in(node))
            if verdict.place == BODY:
                if not passing.lets_pass(node, self.names):
                    end = f"it comes after line {node.lineno}, which runs with every call"
                self._is_seeded = passing.is_seeded
                self._binds_here(node)

    def _binds_here(self, node: ast.stmt) -> None:
        """What a statement that stays has bound is not what moves, from then on."""
        names = bound.times_bound(node).keys()
        self._bound_here |= names
        self.names.free -= names

    def functions_of(self, name: str) -> list[types.FunctionType]:
        """Functions of the user's that may be called if a variable is."""
        return _callables_in(self.made_by[name], self.names)

    def learns(self, name: str) -> ast.AST | None:
        """Where a variable is given gradients, if that can be seen; what cannot is seen once it is made."""
        for node in (part for each in self.made_by.get(name, ()) for part in shapes.walk(each)):
            match node:
                case ast.keyword(arg="requires_grad") | ast.Attribute(attr="requires_grad_" | "requires_grad"):
                    return node
                case ast.Name() | ast.Attribute():
                    full = self.names.full_name(node) or ""
                    is_layer = full.startswith("torch.nn.") and known.draws_weights(full)
                    if is_layer or user_class(node, self.names) is not None:
                        return node
                case _:
                    pass
        return None

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
        if not isinstance(node, _SEEDED_ANYWAY):
            if self._is_seeded and (unknown := may_draw(node, self.names)) is not None:
                return _refused(node, unknown)
            if (function := self._gives_on(node)) is not None:
                return Verdict(node, BODY, f"{function}() may be called later", node.lineno)
        return self._verdict_on_kind(node)

    def _gives_on(self, node: ast.stmt) -> str | None:
        """A function within the function that may become a part of what is made: it is not only called at once."""
        if self.functions.keys().isdisjoint(shapes.read_in(node)):
            return None
        at_once: set[int] = set()
        for call in shapes.all_in(node, ast.Call):
            at_once.add(id(call.func))
            if known.calls_at_once(self.names.full_name(call.func) or ""):
                at_once.update(map(id, shapes.children(call)))
        names = (each for each in shapes.all_in(node, ast.Name) if each.id in self.functions)
        return next((each.id for each in names if id(each) not in at_once), None)

    def _verdict_on_kind(self, node: ast.stmt) -> Verdict:
        match node:
            case ast.Import() | ast.ImportFrom():
                self.names.add_import(node)
                again = [
                    alias for alias in bound.imported(node) if self.bound[alias] > max(1, self._bound_alike[alias])
                ]
                return Verdict(node, BODY if again else BOTH, f"{again[0]} is bound more than once" if again else "")
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                variables = bound.variables(target)
                if variables is None:
                    return self._verdict_on_change(node, target, [target, value])
                return self._verdict_on_binding(node, variables, value, is_unpacked=not isinstance(target, ast.Name))
            case ast.Assign(targets=targets, value=value) if all(map(shapes.is_store, targets)):
                found = [self._verdict_on_change(node, each, [each, value]) for each in targets]
                return next((each for each in found if each.place == BODY), found[0])
            case ast.AugAssign(target=target, value=value):
                return self._verdict_on_change(node, target, [_loaded(target), value])
            case ast.Expr(value=ast.Call(func=function) as call) if self.names.full_name(function) in known.SETTINGS:
                given = (*call.args, *(each.value for each in call.keywords))
                is_constant = all(_is_constant(each) or self.names.full_name(each) is not None for each in given)
                return Verdict(
                    node, BOTH if is_constant else BODY, "" if is_constant else _KINDS[ast.Expr], node.lineno
                )
            case ast.Expr(value=ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=name) as file, *_]) as call) if (
                name in self.names.live
            ):
                return self._verdict_on_change(node, file, [call])
            case ast.Expr(value=ast.Call(func=function, args=[changed, *_]) as call) if (
                self.names.full_name(function) in known.CHANGING_FIRST
            ):
                return self._verdict_on_change(node, changed, [call])
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method) as call):
                return self._verdict_on_change(node, method, [call])
            case ast.FunctionDef(decorator_list=[]):
                return self._verdict_on_function(node)
            case ast.For() | ast.While() | ast.With() | ast.If() | ast.Try() | ast.FunctionDef():
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
            if name in self._constants | self._bound_here or (name in self.made_by and self._is_read):
                return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
        if _is_constant(value) and all(self.bound[name] == 1 for name in variables):
            self.names.free.update(variables)
            self._constants.update(variables)
            return Verdict(node, BOTH)
        kind = None if is_unpacked or self._is_read else lively.kind_of(value, self.names)
        if kind is not None:
            self._move(node, variables)
            self.names.live[variables[0]] = kind
            self.names.files.update(variables)
            return Verdict(node, CONTEXT)
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
        lively.note(variables, value, self.names)
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
        lively.note_all([node], self.names)
        return Verdict(node, CONTEXT)

    def fixed(self) -> set[str]:
        """Variables that are nothing that could be changed, as far as their making tells."""
        return {
            name
            for name, nodes in self.made_by.items()
            if all(isinstance(each, ast.Assign) and is_fixed(each, self.names) for each in nodes)
        }

    def arrays(self) -> set[str]:
        """Variables that are arrays, as far as their making tells."""
        return {name for name, nodes in self.made_by.items() if _is_array(nodes[0], self.names)}

    def _verdict_on_function(self, node: ast.FunctionDef) -> Verdict:
        """Whether a function may be defined in both halves: it only computes, from what moves and what it is given."""
        captured = _captured(self.source, node)
        if self.bound[node.name] > 1 or captured is None or any(self.bound[name] != 1 for name in captured):
            return Verdict(node, BODY, "it is a function", node.lineno)
        if not captured <= self.names.free or not captured.isdisjoint(self.names.live):
            return Verdict(node, BODY, "it is a function", node.lineno)
        if why_not_called(node, self.names) is not None:
            return Verdict(node, BODY, "it is a function", node.lineno)
        self.functions[node.name] = node
        self.names.free.add(node.name)
        return Verdict(node, BOTH)

    def _verdict_on_compound(self, node: Compound) -> Verdict:
        """Whether a statement with a body of its own moves, as a whole."""
        inside = bound.times_bound(node)
        scratch = _variables_of_loops(node)
        for name in inside:
            is_bound_elsewhere = self.bound[name] > inside[name] + self._bound_at_top[name]
            if is_bound_elsewhere and name in scratch and self._is_bound_before_read(name, node):
                self.scratch.add(name)
            elif is_bound_elsewhere or name in self._constants | self._bound_here:
                return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
        if (unknown := why_not_compound(node, self.names, self.made_by)) is not None:
            reason = unknown.reason
            if isinstance(node, ast.If):
                reason = _KINDS[ast.If]
            return Verdict(node, BODY, reason, getattr(unknown.node, "lineno", node.lineno))
        if self._is_read and self._may_change(node):
            return Verdict(node, BODY, "it may change what a statement above reads, which stays", node.lineno)
        touched = [*inside, *(name for name in bound.changed_in(node) if name in self.made_by and name not in inside)]
        for name in touched:
            if name in self.staying:
                return self._stays(node, name)
            if name in self.made_by and self._is_read:
                return Verdict(node, BODY, f"{name} is read before by a statement that stays", node.lineno)
        self._move(node, [name for name in touched if name not in self.scratch])
        lively.note_all([node], self.names)
        return Verdict(node, CONTEXT)

    def _is_bound_before_read(self, name: str, node: ast.stmt) -> bool:
        """Whether what comes after a loop never sees what it has left in its variable."""
        return bound.is_bound_before_read(name, self.body[self.body.index(node) + 1 :])

    def _move(self, node: ast.stmt, variables: Sequence[str]) -> None:
        self.names.free.update(variables)
        for name in variables:
            self.made_by.setdefault(name, []).append(node)

    def _may_change(self, value: ast.AST) -> bool:
        """Whether making a value, or a statement, may change what has moved."""
        for call in shapes.all_in(value, ast.Call):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            moved = not self.made_by.keys().isdisjoint(shapes.read_in(call))
            if moved and (known.is_changing(name) or _functions_in([call.func], self.names)):
                return True
            if isinstance(call.func, ast.Name) and name in self.functions:
                return True
        return False

    def _stays(self, node: ast.stmt, name: str) -> Verdict:
        unknown = self.staying[name]
        return Verdict(node, BODY, f"{name} {unknown.reason}", getattr(unknown.node, "lineno", node.lineno))


def _refused(node: ast.stmt, unknown: Unknown) -> Verdict:
    return Verdict(node, BODY, unknown.reason, getattr(unknown.node, "lineno", node.lineno))


def _given_on(value: ast.expr, names: Names) -> str | None:
    """A function of the user's that is not called but given on, and does not leave what it is given as it is."""
    called = {id(each.func) for each in shapes.all_in(value, ast.Call)}
    for each, function in _functions_in([value], names):
        if id(each) not in called and misused_parameters(function, 1):
            return function.__name__
    return None


def _compiled(value: ast.expr, names: Names) -> types.FunctionType | None:
    """The function of the user's that is compiled: ``numba.njit(function)``."""
    match value:
        case ast.Call(func=function, args=[given]) if (names.full_name(function) or "").startswith(COMPILERS):
            found = names.user_function(given)
            return found if found is not None and why_not_function(value, found, names) is None else None
    return None


def _functions_in(nodes: Sequence[ast.AST], names: Names) -> list[tuple[ast.expr, types.FunctionType]]:
    """Functions of the user's that are named in some code, and where."""
    parts = (each for node in nodes for each in shapes.dotted_in(node))
    return [(each, function) for each in parts if (function := names.user_function(each)) is not None]


def _callables_in(nodes: Sequence[ast.AST], names: Names, depth: int = 0) -> list[types.FunctionType]:
    """Functions of the user's that may be a part of what some code gives: that it names, but does not call.

    One that it calls may give others, or one that is defined within it.
    """
    if not (named := _functions_in(nodes, names)):
        return []
    called = {id(each.func) for node in nodes for each in shapes.all_in(node, ast.Call)}
    found = []
    for each, function in named:
        if id(each) not in called or depth >= _DEEPEST:
            found.append(function)
            continue
        source = source_of(function)
        inside, parts = names_of(source), [part for line in source.node.body for part in shapes.walk(line)]
        for part in parts:
            if isinstance(part, _IMPORTS):
                inside.add_import(part)
        if any(isinstance(part, _INNER) for part in parts):
            found.append(function)
        found += _callables_in(source.node.body, inside, depth + 1)
    return found


def is_fixed(node: ast.Assign, names: Names) -> bool:
    """Whether a variable is bound to what nobody can change, as far as the text tells."""
    match node:
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=function)):
            full = names.full_name(function) or ""
            return known.gives_fixed(full)
        case ast.Assign(targets=[ast.Name()], value=ast.JoinedStr()):
            return True
    return False


def _is_array(node: ast.stmt, names: Names) -> bool:
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call) or len(node.targets) > 1:
        return False
    full = names.full_name(node.value.func) or ""
    return full.startswith("numpy.") and full != "numpy.load" and isinstance(node.targets[0], ast.Name)


def _captured(source: Source, node: ast.FunctionDef) -> set[str] | None:
    """Variables around a function that it uses; None if they cannot be told."""
    found = [
        each
        for each in source.function.__code__.co_consts
        if isinstance(each, types.CodeType) and each.co_name == node.name
    ]
    return set(found[0].co_freevars) - {node.name} if len(found) == 1 else None


def _variables_of_loops(node: ast.stmt) -> set[str]:
    """Names that are bound within a statement by its loops and their bodies."""
    loops: list[ast.stmt] = [*shapes.all_in(node, ast.For), *shapes.all_in(node, ast.While)]
    return {name for each in loops for name in bound.times_bound(each)}


def _is_constant(value: ast.expr) -> bool:
    if isinstance(value, ast.Tuple):
        return all(map(_is_constant, value.elts))
    return isinstance(value, ast.Constant) and isinstance(value.value, _CONSTANTS)


def _loaded(target: ast.expr) -> ast.expr:
    """What a target stands for before it is changed."""
    return ast.Name(id=target.id, ctx=ast.Load()) if isinstance(target, ast.Name) else target
