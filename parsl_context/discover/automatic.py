"""The automatic split: leading work of a function that does not depend on its call becomes its context.

    def infer(x):
        import torch                                both: the context imports it too
        if x is None:                               body: a guard, runs with every call
            raise ValueError("no input")
        model = torch.load("w.pt").eval()           context
        y = model(preprocess(x))                    body: from here on all runs with every call
        return y.argmax()

Precision comes before recall: a statement moves only if it gives the same whenever it runs
(`parsl_context.discover.leading`), and if the body leaves what it made as it is (`parsl_context.discover.uses`). A
value that is not left so is made in the body, where what it was made of is looked at in turn. Each statement gets a
reason.
"""

from __future__ import annotations

import ast
import collections
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.blocks import check_gives_at_once, check_kind, plain_function
from parsl_context.discover.halves import (
    Split,
    Verdict,
    all_arguments,
    body_half,
    context_half,
    located,
    parsed,
    part,
)
from parsl_context.discover.leading import Names, Unknown, is_plain_error, names_of, why_not
from parsl_context.discover.scopes import scope_of
from parsl_context.discover.sources import Source, source_of
from parsl_context.discover.uses import Uses, misused_parameters

CONTEXT, BOTH, BODY = "context", "both", "body"
_CONSTANTS = (int, float, complex, str, bytes, type(None))


@dataclass
class _Moving:
    """What moves as far as is known."""

    verdicts: list[Verdict] = field(default_factory=list)
    made_by: dict[str, list[ast.stmt]] = field(default_factory=dict)  # of each variable that moves
    constants: set[str] = field(default_factory=set)
    bound_at_top: dict[str, int] = field(default_factory=dict)  # how often, by statements of the function itself
    names: Names | None = None  # what they stand for after the leading statements
    is_read: bool = False  # a statement that stays has read something that moves


def split_by_itself(function: Any) -> Split:
    """Split a function at what does not depend on its call.

    Raises
    ------
    SplitError
        If nothing of it may move, with the reason of each statement; or if it is none that could be split.
    """
    function = plain_function(function)
    source = source_of(function)
    check_kind(source)
    check_gives_at_once(source)
    verdicts, given_out = _analysed(source)
    moved = [each.node for each in verdicts if each.place == CONTEXT]
    rest = [each.node for each in verdicts if each.place != CONTEXT]
    in_body = scope_of(source, part(source.node, source.node.args, rest or [ast.Pass()]))
    names = sorted({name for each in moved for name in _bound_by(each)} & in_body.used)
    private = [name for name in names_of(source).own if source.class_name is not None and _is_private(name)]
    if private:
        raise source.refusal(f"its variable {min(private)} has a private name. Give it another.")
    if not names:
        raise source.refusal(_why_nothing(verdicts))
    last = max(i for i, each in enumerate(verdicts) if each.place == CONTEXT)
    first = [_for_context(each) for each in verdicts[: last + 1] if each.place != BODY]
    sure = frozenset(names)
    context = context_half(source, first, (), names, sure)
    kept = [each.arg for each in all_arguments(source.node.args)]
    body = body_half(source, (), rest or [ast.Pass()], rest[0] if rest else source.node, kept, names, sure)
    return Split(function, context, body, (), tuple(names), None, tuple(verdicts), given_out)


def _is_private(name: str) -> bool:
    """Whether a variable in a class has another name in compiled code than in its source."""
    return re.match(r"_[^_].*__\w*[^_]$|__\w*[^_]$", name) is not None


def _bound_by(node: ast.stmt) -> set[str]:
    """Variables that a statement that moves binds; not those of comprehensions in it."""
    match node:
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            return set(_variables(target) or ())
    return set()


def _for_context(verdict: Verdict) -> ast.stmt:
    """A statement as the context runs it. An import that fails there fails in the body, too, which says so."""
    node = verdict.node
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return node
    made = parsed("try:\n    pass\nexcept Exception:\n    pass")[0]
    assert isinstance(made, ast.Try)
    located(made, node)
    made.body = [node]
    return made


def _why_nothing(verdicts: Sequence[Verdict]) -> str:
    reasons = [f"line {each.node.lineno}: {each.reason}" for each in verdicts if each.place == BODY][:5]
    return f"nothing of it may become a context. {'; '.join(reasons) or 'It has no statements'}."


def verdicts_of(source: Source) -> list[Verdict]:
    """Where each statement of a function goes, docstring aside."""
    return _analysed(source)[0]


def _analysed(source: Source) -> tuple[list[Verdict], dict[str, int]]:
    """Where each statement goes; and what moves of which the body gives out parts, and from how deep."""
    body = source.node.body
    body = body[1:] if ast.get_docstring(source.node, clean=False) is not None else body
    staying: dict[str, Unknown] = {}  # variables that must not move
    bound = _times_bound(source.node)
    while True:
        moving = _leading(source, body, bound, staying)
        rest = [each.node for each in moving.verdicts if each.place != CONTEXT]
        names = names_of(source)
        whole = frozenset(moving.made_by)
        walkable = frozenset(name for name in whole if all(_is_walkable(made) for made in moving.made_by[name]))
        callables = {name: _functions_in(moving.made_by[name], moving.names or names) for name in whole}
        uses = Uses(names, whole, walkable, callables=callables)
        misused = uses.look(rest)
        if not misused:
            return moving.verdicts, uses.given_out
        # What these were made of is looked at again, now that they are made in the body.
        staying.update(misused)


def _leading(source: Source, body: Sequence[ast.stmt], bound: dict[str, int], staying: dict[str, Unknown]) -> _Moving:
    """What moves, if these variables do not."""
    names = names_of(source)
    moving = _Moving(bound_at_top=_bound_at_top(body), names=names)
    end: str = ""  # why nothing after it moves
    for node in body:
        if end:
            moving.verdicts.append(Verdict(node, BODY, end, node.lineno))
            continue
        verdict = _verdict(node, names, bound, staying, moving)
        moving.verdicts.append(verdict)
        moving.is_read |= verdict.place == BODY and not moving.made_by.keys().isdisjoint(_read_in(node))
        if verdict.place == BODY and not _lets_pass(node, names):
            end = f"it comes after line {node.lineno}, which runs with every call"
    return moving


def _verdict(
    node: ast.stmt, names: Names, bound: dict[str, int], staying: dict[str, Unknown], moving: _Moving
) -> Verdict:
    match node:
        case ast.Import() | ast.ImportFrom():
            names.add_import(node)
            again = [alias for alias in _imported(node) if bound[alias] > 1]
            return Verdict(node, BODY if again else BOTH, f"{again[0]} is bound more than once" if again else "")
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            variables = _variables(target)
            if variables is None:
                return _verdict_on_change(node, target, [target, value], names, staying, moving)
            return _verdict_on_binding(node, variables, value, names, bound, staying, moving)
        case ast.AugAssign(target=target, value=value):
            return _verdict_on_change(node, target, [_loaded(target), value], names, staying, moving)
        case ast.Expr(value=ast.Call(func=ast.Attribute() as method) as call):
            return _verdict_on_change(node, method, [call], names, staying, moving)
    return Verdict(node, BODY, _KINDS.get(type(node), "it is no assignment"), node.lineno)


def _verdict_on_binding(
    node: ast.stmt,
    variables: Sequence[str],
    value: ast.expr,
    names: Names,
    bound: dict[str, int],
    staying: dict[str, Unknown],
    moving: _Moving,
) -> Verdict:
    """Whether a statement moves that binds names."""
    for name in variables:
        if bound[name] > moving.bound_at_top[name]:
            return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
        if name in staying:
            return _stays(node, name, staying)
        if name in moving.constants or (name in moving.made_by and moving.is_read):
            return Verdict(node, BODY, f"{name} is bound more than once", node.lineno)
    if _is_constant(value) and all(bound[name] == 1 for name in variables):
        names.free.update(variables)
        moving.constants.update(variables)
        return Verdict(node, BOTH)
    if (unknown := why_not(value, names)) is not None:
        return Verdict(node, BODY, unknown.reason, getattr(unknown.node, "lineno", node.lineno))
    if (function := _given_on(value, names)) is not None:
        return Verdict(node, BODY, f"{function} may be called later, and change or keep what it is given", node.lineno)
    if moving.is_read and _may_change(value, names, moving):
        return Verdict(node, BODY, "it may change what a statement above reads, which stays", node.lineno)
    names.free.update(variables)
    for name in variables:
        moving.made_by.setdefault(name, []).append(node)
    return Verdict(node, CONTEXT)


def _verdict_on_change(
    node: ast.stmt,
    target: ast.expr,
    parts: Sequence[ast.expr],
    names: Names,
    staying: dict[str, Unknown],
    moving: _Moving,
) -> Verdict:
    """Whether a statement moves that changes what has moved: it does so before any call sees it."""
    root = _root(target)
    if root not in moving.made_by:
        return Verdict(node, BODY, _KINDS.get(type(node), "it stores into an object"), node.lineno)
    if root in staying:
        return _stays(node, root, staying)
    if moving.is_read:
        return Verdict(node, BODY, f"{root} is read before by a statement that stays", node.lineno)
    for each in parts:
        if (unknown := why_not(each, names)) is not None:
            return Verdict(node, BODY, unknown.reason, getattr(unknown.node, "lineno", node.lineno))
    moving.made_by[root].append(node)
    return Verdict(node, CONTEXT)


def _may_change(value: ast.expr, names: Names, moving: _Moving) -> bool:
    """Whether making a value may change what has moved."""
    for call in (each for each in ast.walk(value) if isinstance(each, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        moved = not moving.made_by.keys().isdisjoint(_read_in(call))
        if moved and (known.is_changing(name) or _functions_in([call.func], names)):
            return True
    return False


def _given_on(value: ast.expr, names: Names) -> str | None:
    """A function of the user's that is not called but given on, and does not leave what it is given as it is."""
    called = {id(each.func) for each in ast.walk(value) if isinstance(each, ast.Call)}
    given_on = (
        each for each in ast.walk(value) if isinstance(each, ast.Name | ast.Attribute) and id(each) not in called
    )
    for function in filter(None, map(names.user_function, given_on)):
        if misused_parameters(function, 1):
            return function.__name__
    return None


def _functions_in(nodes: Sequence[ast.AST], names: Names) -> list[types.FunctionType]:
    """Functions of the user's that are named in some code."""
    parts = (each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute))
    return [each for each in map(names.user_function, parts) if each is not None]


def _is_constant(value: ast.expr) -> bool:
    if isinstance(value, ast.Tuple):
        return all(map(_is_constant, value.elts))
    return isinstance(value, ast.Constant) and isinstance(value.value, _CONSTANTS)


def _loaded(target: ast.expr) -> ast.expr:
    """What a target stands for before it is changed."""
    return ast.Name(id=target.id, ctx=ast.Load()) if isinstance(target, ast.Name) else target


_KINDS: dict[type[ast.stmt], str] = {
    ast.Return: "it gives the result",
    ast.If: "it decides with every call",
    ast.Assert: "it checks with every call",
    ast.Expr: "it is there for its effect",
}


def _stays(node: ast.stmt, name: str, staying: dict[str, Unknown]) -> Verdict:
    unknown = staying[name]
    return Verdict(node, BODY, f"{name} {unknown.reason}", getattr(unknown.node, "lineno", node.lineno))


def _lets_pass(node: ast.stmt, names: Names) -> bool:
    """Whether what comes after a statement that stays may move: imports, guards, and what was moved if it could be.

    A guard asks for parameters and raises or returns; it calls nothing that is not known.
    """
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Pass():
            return True
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            # A value that is only misused later on, or bound twice: making it disturbs nothing.
            return _variables(target) is not None and why_not(value, _all_free(names, value)) is None
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
    return Names(names.source, names.imports, free, names.own, names.depth)


def _all_free(names: Names, value: ast.expr) -> Names:
    """Names for what was to move but for its variables, which are known by now."""
    return Names(names.source, names.imports, names.free | (_read_in(value) & names.own - names.parameters), names.own)


# --- small things


def _times_bound(node: ast.FunctionDef) -> dict[str, int]:
    """How often each name is bound in a function, or declared to be another's."""
    found: dict[str, int] = collections.defaultdict(int)
    for each in ast.walk(node):
        if isinstance(each, ast.Name):  # by far the most
            found[each.id] += not isinstance(each.ctx, ast.Load)
            continue
        match each:
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] += 1
            case ast.Import() | ast.ImportFrom():
                for name in _imported(each):
                    found[name] += 1
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                for name in names:
                    found[name] += 2
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found[name] += 1
            case ast.MatchMapping(rest=str(name)):
                found[name] += 1
            case _:
                pass
    return found


def _bound_at_top(body: Sequence[ast.stmt]) -> dict[str, int]:
    """How often names are bound by plain assignments among some statements."""
    found: dict[str, int] = collections.defaultdict(int)
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in _variables(target) or ():
                    found[name] += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name in _imported(node):
                found[name] += 1
    return found


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name.partition(".")[0] for alias in node.names]


def _variables(target: ast.expr) -> list[str] | None:
    """The names of a target; None if it is none."""
    elements: Sequence[ast.expr] = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    found = [each.id for each in elements if isinstance(each, ast.Name)]
    return found if len(found) == len(elements) else None


def _root(node: ast.expr) -> str:
    found = shapes.root(node)
    return found.id if isinstance(found, ast.Name) else ""


def _read_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _is_walkable(made: ast.stmt) -> bool:
    """Whether what a statement makes can be iterated over again and again, for sure."""
    value: Any = getattr(made, "value", None)
    if isinstance(made, ast.Expr | ast.AugAssign) or (
        isinstance(made, ast.Assign) and _variables(made.targets[0]) is None
    ):
        return True  # it makes nothing new
    match value:
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.ListComp() | ast.SetComp() | ast.DictComp():
            return isinstance(made, ast.Assign | ast.AnnAssign) and not isinstance(_target(made), ast.Tuple | ast.List)
        case ast.Call(func=ast.Name(id=name)):
            return name in known.CONSUMERS | {"range", "frozenset"}
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in ("split", "splitlines", "rsplit", "keys", "items", "values")
        case ast.Constant() | ast.JoinedStr():
            return True
    return False


def _target(made: ast.Assign | ast.AnnAssign) -> ast.expr:
    return made.targets[0] if isinstance(made, ast.Assign) else made.target
