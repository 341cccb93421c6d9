"""Whether a body leaves as they are the values that move to the context.

The second half of the automatic split, see `parsl_context.discover.automatic`. A value is *kept whole* if it is only
called, asked by methods that are not known to change it, computed with, or given to code of libraries; what is taken
out of it (an item, an attribute, the result of a method) may go anywhere, but must not be changed either. What calls do
is looked at in `parsl_context.discover.calls`.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.bound_names import DECLARING, times_bound_in
from parsl_context.discover.calls import DATA, GIVEN, HELD, KEPT, NAMED, NO_CODE, READ, WALKED, Calls, UsersCode
from parsl_context.discover.given_out import GivenOut
from parsl_context.discover.lineage import Lineage
from parsl_context.discover.names import Names, Unknown, names_of
from parsl_context.discover.origins import Origin, Origins, deeper, joined, told, untold
from parsl_context.discover.sources import source_of
from parsl_context.discover.users_objects import UsersObjects
from parsl_context.errors import SplitError
from parsl_context.retain.terms import ASKED_OF_MODULES, CHANGING_MODULES, GIVING_MODULE

_PLAIN_DECORATORS = ("numba.", "jax.jit", "torch.no_grad", "torch.inference_mode")
_GIVES_LATER = frozenset({ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFunctionDef})
# What may see names that are bound below it, or beside it.
_RUNS_LATER = frozenset({ast.FunctionDef, ast.Lambda, ast.GeneratorExp, ast.NamedExpr})
_NOT_PLAIN = _GIVES_LATER | {ast.Nonlocal, ast.Global}
_ROOTS = ast.Name | ast.Call
_MEMBERSHIP = ast.In | ast.NotIn


class Uses:
    """Looks through statements for what changes, keeps or uses up some values.

    Parameters
    ----------
    names
        What names stand for.
    whole
        Variables that are the values.
    code
        Code of the user's that these bring along.
    within
        Functions, and their parameters, that are looked into.

    Attributes
    ----------
    lineage : Lineage
        What expressions give goes back to which values.
    calls : Calls
        What calls do.
    found : dict
        The first misuse of each, by the variable that it goes back to.
    given : GivenOut
        Parts of the values that are returned or stored.
    objects : UsersObjects
        Variables that may be objects of the user's.
    is_called : bool
        Whether what it looks through is a function that is called by what others look through.
    methods_of_it : frozenset or None
        Names of the methods of the only value, if they are known.
    """

    def __init__(
        self,
        names: Names,
        whole: frozenset[str],
        code: UsersCode = NO_CODE,
        within: frozenset[tuple[object, str]] = frozenset(),
    ) -> None:
        self.names = names
        self.whole = whole
        self.lineage = Lineage(names, whole, code.methods)
        self.calls = Calls(self, code, within)
        self.found: dict[str, Unknown] = {}
        self.given = GivenOut(self.lineage, self.blame)
        self.objects = UsersObjects(names, self.lineage, self.calls)
        self.is_called = False
        self.returned: set[str] = set()  # values that are, or parts of which are: no call has made these
        self.methods_of_it: frozenset[str] | None = None

    def look(self, body: Sequence[ast.stmt]) -> dict[str, Unknown]:
        """The first misuse of each value."""
        if any(shapes.has_any(each, _RUNS_LATER) for each in body):
            self._again_and_again(lambda: self._all(body))  # it may be called when all is bound
        else:
            self._all(body)
        return self.found

    def begin(self, parameter: str, *, is_whole: bool) -> None:
        """Begin with a parameter that is a value, or something within one."""
        if is_whole:
            self.whole = self.lineage.whole = self.whole | {parameter}
        else:
            self.lineage.bind(parameter, {parameter: Origin(1)}, is_copy=False)

    def of_function(self, names: Names, whole: frozenset[str], within: frozenset[tuple[object, str]]) -> Uses:
        """What looks through a function that is called."""
        made = Uses(names, whole, within=within)
        made.is_called = True
        return made

    def take_over(self, inside: Uses, parameter: str, origins: Origins) -> None:
        """What a function that is called does to parts of what it is given."""
        base = 0 if parameter in inside.whole else 1
        for noted, others in (
            (self.given.out, inside.given.out),
            (self.given.on, inside.given.on),
            (self.calls.handed, inside.calls.handed),
        ):
            if parameter not in others:
                continue
            parts = deeper(origins, others[parameter] - base)
            if noted is self.given.out:  # what is stored of something new is new
                self.given.note(self.given.out, {name: each for name, each in parts.items() if each.is_view})
                self.given.note(self.given.on, {name: each for name, each in parts.items() if not each.is_view})
            else:
                self.given.note(noted, parts)
        gives = {GIVING_MODULE} if parameter in inside.returned else set()
        self.calls.ask(origins, inside.calls.asked.get(parameter, set()) | gives)
        if parameter in inside.calls.differentiated:
            self.calls.differentiated.update(origins)

    def all_misused(self) -> dict[str, Unknown]:
        """The values that are misused, or of which parts are stored or given on: whoever calls this does not see it."""
        parts = {**self.given.out, **self.given.on, **self.calls.handed, **dict.fromkeys(self.calls.differentiated, 1)}
        parts |= {name: 1 for name, asked in self.calls.asked.items() if asked & CHANGING_MODULES}
        kept = {name: Unknown("is stored or given on in parts", ast.Pass(lineno=0)) for name in parts}
        return {**kept, **self.found}

    def misused_in(self, function: types.FunctionType) -> dict[str, Unknown]:
        """What a function that is called does to its parameters."""
        return misused_parameters(function, self.names.depth + 1)

    # --- statements

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self._bind_all(targets, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind_all([target], value)
            case ast.AugAssign(target=target, value=value):
                self.change(target, "is changed in place", deep=False)
                self.use(value, GIVEN)
                if not isinstance(target, ast.Name) or target.id not in self.whole:
                    self._bind(target, self.lineage.of(value), is_copy=True)
                if shapes.is_store(target):  # a list that is in another object gets the items
                    self.given.note(self.given.on, deeper(self.lineage.of(value)))
            case ast.Return(value=ast.expr() as value):
                self.use(value, NAMED if self.is_called else KEPT)  # what calls it sees what becomes of that
                self.returned |= told(self.lineage.of(value))
            case ast.Expr(value=value):
                self.use(value, READ)
                self.calls.look_at_effect(value)
            case ast.For(target=target, iter=values, body=body, orelse=other):
                self.use(values, WALKED)
                self._again_and_again(lambda: self._turn(target, values, body))
                self._all(other)
            case ast.While(test=test, body=body, orelse=other):
                turn = [ast.Expr(test), *body]
                self._again_and_again(lambda: self._all(turn))
                self._all(other)
            case ast.If(test=test, body=body, orelse=other):
                self.use(test, READ)
                with self.lineage.branches() as branch:
                    self._all(body)
                    branch()
                    self._all(other)
            case ast.With(items=items, body=body):
                for item in items:
                    self._entered(item)
                with self.lineage.anywhere():  # what is entered may catch errors
                    self._all(body)
            case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=final):
                with self.lineage.anywhere():
                    self._all(body)
                for handler in handlers:
                    with self.lineage.anywhere():
                        self._all(handler.body)
                with self.lineage.anywhere():
                    self._all(other)
                self._all(final)
            case ast.Delete(targets=targets):
                for target in targets:
                    self.change(target, "is deleted", deep=False)
            case ast.Raise():
                for part in (node.exc, node.cause):
                    if part is not None:
                        self.use(part, GIVEN)
            case ast.Assert(test=test, msg=message):
                self.use(test, READ)
                if message is not None:
                    self.use(message, GIVEN)
            case ast.FunctionDef():
                self._define(node)
            case ast.Import() | ast.ImportFrom():
                self.names.add_import(node)
            case ast.Pass() | ast.Break() | ast.Continue() | ast.AnnAssign():
                pass
            case _:
                self.inside(node, "is used in a statement that is not looked into")

    def _define(self, node: ast.FunctionDef) -> None:
        """A function within the body: what it does with the values, and with what it is given, is seen as well."""
        is_plain = all(self._leaves_as_it_is(each) for each in node.decorator_list)
        has_more = shapes.has_any(node, _NOT_PLAIN)
        if not is_plain or has_more:
            self.inside(node, "is used in a function, which may be called later")
            return
        self.calls.functions[node.name] = node
        for each in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.use(each, KEPT)
        body = shapes.with_names_of_its_own(node, frozenset(times_bound_in(node)))
        before, self.returned = self.returned, set()
        with self.lineage.later():
            self._all(body)
        self.calls.ask(dict.fromkeys(self.returned, Origin(0)), {GIVING_MODULE})
        self.returned |= before
        parts = (part for each in body for part in shapes.all_in(each, ast.Name))
        captured = untold(joined(map(self.lineage.of, parts)))
        self.lineage.bind(node.name, captured, is_copy=False)

    def _leaves_as_it_is(self, decorator: ast.expr) -> bool:
        full = self.names.full_name(decorator.func if isinstance(decorator, ast.Call) else decorator) or ""
        return full.startswith(_PLAIN_DECORATORS)

    def _turn(self, target: ast.expr, values: ast.expr, body: Sequence[ast.stmt]) -> None:
        """One turn of a loop."""
        for part, origins in self.lineage.turns(target, values):
            self._bind(part, origins)
        self.objects.note([target], values, is_taken=True)
        self._all(body)

    def _again_and_again(self, look: Callable[[], None]) -> None:
        """Look through what may run more than once, until nothing more comes to be known."""
        while True:
            before = self._known()
            with self.lineage.anywhere():  # what was shared before may be so still, so it grows
                look()
            if before == self._known():
                return

    def _known(self) -> tuple[int, ...]:
        return self.lineage.version, len(self.lineage.shared), *self.objects.known()

    def _all(self, body: Iterable[ast.stmt]) -> None:
        for each in body:
            self._statement(each)

    def _entered(self, item: ast.withitem) -> None:
        self.change(item.context_expr, "is entered by `with`", deep=False)
        self.use(item.context_expr, READ)
        if item.optional_vars is not None:
            self._bind(item.optional_vars, self.lineage.of(item.context_expr))
            self.objects.note([item.optional_vars], item.context_expr)

    # --- names that are bound

    def _bind_all(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        self.use(value, KEPT if any(map(shapes.is_store, targets)) else NAMED)
        self.objects.note(targets, value)
        for target in targets:
            if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
                for one, part in zip(target.elts, value.elts, strict=True):
                    self._bind(one, self.lineage.of(part), is_copy=self.lineage.is_copy(part))
            else:
                self._bind(target, self.lineage.of(value), is_copy=self.lineage.is_copy(value))
                if isinstance(target, ast.Name):
                    self.given.bind(target.id, value)

    def _bind(self, target: ast.expr, origins: Origins, *, is_copy: bool = False) -> None:
        match target:
            case ast.Name(id=name):
                if name in self.whole:
                    if origins.keys() - {name}:
                        self.blame({name}, "is bound anew", target)
                else:
                    self.lineage.bind(name, origins, is_copy=is_copy)
            case ast.Starred(value=inner):
                self._bind(inner, origins, is_copy=is_copy)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for each in elements:
                    self._bind(each, deeper(origins))
            case _:
                self.change(target, "is changed", deep=False)
                for part in ast.iter_child_nodes(target):
                    if isinstance(part, ast.expr):
                        self.use(part, READ)

    # --- expressions

    def use(self, node: ast.expr, how: str) -> None:
        """An expression is used: see what that does to values, and what is done within."""
        if isinstance(node, ast.Constant) or not self._concerns(node):
            return
        if how == KEPT:
            self.given.note_all(node)
        if isinstance(node, ast.Name):
            self._use_name(node, how)
        else:
            self._use_parts(node, how)

    def _concerns(self, node: ast.expr) -> bool:
        """Whether anything in an expression may go back to a value; most expressions of a function do not."""
        names = shapes.read_in(node)
        return self.lineage.knows(names) or not names.isdisjoint(self.calls.functions)

    def _use_name(self, node: ast.Name, how: str) -> None:
        name = node.id
        if how not in (KEPT, HELD, NAMED):
            return
        if name in self.whole:
            self.blame({name}, "is returned, stored, or given another name", node)
        elif name in self.calls.functions:
            of = self.lineage.variables.get(name, ())
            self.blame(of, f"is used by {name}(), which is returned or stored", node)

    def _use_parts(self, node: ast.expr, how: str) -> None:
        match node:
            case ast.Call():
                self.calls.look(node)
            case ast.Attribute(value=value, attr=attr):
                if how != DATA and not self.is_data(node) and known.is_changing(attr) and not attr.endswith("_"):
                    self.change(value, f"may be changed by .{attr}, which may be called later", deep=True)
                self.calls.ask(self.lineage.of(value), {attr} & ASKED_OF_MODULES)
                self.use(value, READ)
            case ast.Subscript(value=value, slice=index):
                self.use(value, DATA)
                self.use(index, DATA)
            case ast.BoolOp(values=values):
                for each in values:
                    self.use(each, how)
            case ast.IfExp(test=test, body=first, orelse=second):
                self.use(test, READ)
                self.use(first, how)
                self.use(second, how)
            case ast.Compare(left=left, ops=operators, comparators=others):
                uses_up = any(isinstance(each, _MEMBERSHIP) for each in operators)
                self.use(left, DATA)
                for each in others:
                    self.use(each, WALKED if uses_up else DATA)
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                for each in elements:
                    self.use(each, HELD)
            case ast.Dict(keys=keys, values=values):
                for part in (*keys, *values):
                    if part is not None:
                        self.use(part, HELD)
            case ast.Starred(value=value):
                self.use(value, WALKED)
            case ast.NamedExpr(target=target, value=value):
                self.use(value, KEPT)
                self._bind(target, self.lineage.of(value))
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                self.comprehension(node)
            case ast.GeneratorExp():
                self.inside(node, "is used in a generator, which may run later")
            case ast.Lambda():
                self.inside(node, "is used in a lambda, which may be called later")
            case ast.Yield() | ast.YieldFrom() | ast.Await():
                self.inside(node, "is yielded")
            case ast.BinOp(op=ast.BitOr() | ast.LShift() | ast.RShift()):  # as some write what is called one by one
                self.use(node.left, READ)
                self.use(node.right, READ)
            case ast.BinOp() | ast.UnaryOp() | ast.JoinedStr() | ast.Slice():
                for part in shapes.children(node):
                    self.use(part, DATA)
            case _:
                for part in shapes.children(node):
                    self.use(part, READ)

    def later(self, node: ast.expr, how: str) -> None:
        """An expression is used when all is bound."""
        with self.lineage.later():
            self.use(node, how)

    def comprehension(self, node: Any) -> None:
        """A comprehension is run at once."""
        node = self.lineage.scoped(node)
        for each in node.generators:
            self.use(each.iter, WALKED)
            for target, origins in self.lineage.turns(each.target, each.iter):
                self._bind(target, origins)
            self.objects.note([each.target], each.iter, is_taken=True)
            for test in each.ifs:
                self.use(test, READ)
        for part in shapes.elements_of(node):
            self.use(part, HELD)

    # --- misuse

    def change(self, node: ast.expr, reason: str, *, deep: bool) -> None:
        """An object is changed: the one that an expression gives, or (a target) the one that it is in."""
        if not self.lineage.knows(shapes.read_in(node)):
            return
        inner, steps = node, 0
        while isinstance(inner, shapes.CHAINED):
            if isinstance(inner, ast.Call) and not isinstance(inner.func, ast.Attribute):
                break  # what a function gives may be what it was given
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
            steps += 1
        if isinstance(inner, ast.Name) and self.lineage.is_copied(inner.id) and steps <= (0 if deep else 1):
            return  # a new container may change; what is in it may not
        if self.lineage.is_copy(node):
            return
        origins = self.lineage.of(inner if isinstance(inner, _ROOTS) else node)
        changed = {name for name, origin in origins.items() if origin.is_view or deep}
        self.lineage.masked.update(origins.keys() - changed)
        self.blame(changed, reason, node)

    def inside(self, node: ast.AST, reason: str) -> None:
        """Everything in it is out of sight."""
        for each in shapes.walk(node):
            if isinstance(each, ast.Name):
                self.blame(self.lineage.of(each), reason, each)
            elif isinstance(each, DECLARING):
                self.blame(set(each.names) & self.whole, "is declared to be of another scope", each)

    def is_data(self, node: ast.Attribute) -> bool:
        """Whether an attribute is none of the methods of the value, which are known."""
        known_methods = self.methods_of_it
        is_of_it = isinstance(node.value, ast.Name) and node.value.id in self.whole
        return known_methods is not None and is_of_it and node.attr not in known_methods

    def blame(self, origins: Iterable[str], reason: str, node: ast.AST) -> None:
        """Values are misused."""
        for name in origins:
            self.found.setdefault(name, Unknown(reason, node))


def misused_parameters(function: types.FunctionType, depth: int = 0) -> dict[str, Unknown]:
    """Parameters that a function of the user's changes, keeps or gives back, and how."""
    try:
        source = source_of(function)
    except SplitError as error:
        return {"": Unknown(error.reason, ast.Pass())}
    given = source.node.args
    parameters = {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    parameters |= {each.arg for each in (given.vararg, given.kwarg) if each is not None}
    uses = Uses(names_of(source, depth), frozenset(parameters))
    uses.is_called = True
    uses.look(source.node.body)
    return uses.all_misused()
