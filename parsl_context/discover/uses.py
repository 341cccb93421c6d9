"""Whether a body leaves as they are the values that move to the context.

The second half of the automatic split, see `parsl_context.discover.automatic`. A value is *kept whole* if it is only
called, asked by methods that are not known to change it, computed with, or given to code of libraries; what is taken
out of it (an item, an attribute, the result of a method) may go anywhere, but must not be changed either.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.bound_names import times_bound_in
from parsl_context.discover.lineage import Lineage
from parsl_context.discover.names import Names, Unknown, names_of
from parsl_context.discover.origins import Origin, Origins, deeper, joined, untold
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError

_READ, _GIVEN, _KEPT, _HELD, _NAMED, _WALKED = "read", "given", "kept", "held", "named", "walked"
# Built-in functions that neither change nor keep what they are given, and do not iterate over it.
_READING = (known.FRESH_BUILTINS | {"print", "hasattr", "type", "callable", "hash", "id"}) - {"all", "any"}
_SORTING = frozenset({"builtins.sorted", "builtins.min", "builtins.max"})
_PLAIN_DECORATORS = ("numba.", "jax.jit", "torch.no_grad", "torch.inference_mode")
_GIVES_LATER = ast.Yield | ast.YieldFrom | ast.Await | ast.AsyncFunctionDef
_DEEPEST = 3


@dataclass
class Uses:
    """Looks through statements for what changes, keeps or uses up some values.

    Attributes
    ----------
    names : Names
        What names stand for.
    whole : frozenset
        Variables that are the values.
    lineage : Lineage
        What expressions give goes back to which values.
    found : dict
        The first misuse of each, by the variable that it goes back to.
    callables : mapping
        Of the values: functions of the user's that they were made of.
    functions : dict
        Functions that are defined within this one, by name.
    compiled : mapping
        Of the values: functions of the user's, compiled.
    methods : mapping
        Of the values: methods that they may have of the user's.
    given_out : dict
        Values of which an item or an attribute is returned or stored, with how many steps into them that is, at least.
    given_on : dict
        The same, of what is computed from them: that is new if they are arrays.
    handed : dict
        As `given_out`, of what is given to code that is not known: nobody must be able to change that at all.
    asked : dict
        Methods that are called on values, by the names of these.
    """

    names: Names
    whole: frozenset[str]
    lineage: Lineage = field(init=False)
    found: dict[str, Unknown] = field(default_factory=dict)
    given_out: dict[str, int] = field(default_factory=dict)
    callables: Mapping[str, Sequence[types.FunctionType]] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    compiled: Mapping[str, types.FunctionType] = field(default_factory=dict)
    methods: Mapping[str, Sequence[types.FunctionType]] = field(default_factory=dict)
    given_on: dict[str, int] = field(default_factory=dict)
    handed: dict[str, int] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)
    strange: set[str] = field(default_factory=set)  # variables that were made by what is not a library's
    within: frozenset[tuple[object, str]] = frozenset()  # functions, and parameters, that are looked into

    def __post_init__(self) -> None:
        self.lineage = Lineage(self.names, self.whole, self.methods)

    def look(self, body: Sequence[ast.stmt]) -> dict[str, Unknown]:
        """The first misuse of each value."""
        while True:
            before = self.lineage.known(), set(self.strange)
            self.found = {}
            for each in body:
                self._statement(each)
            if before == (self.lineage.known(), self.strange):
                return self.found

    def begin(self, parameter: str, *, is_whole: bool) -> None:
        """Begin with a parameter that is a value, or something within one."""
        if is_whole:
            self.whole = self.lineage.whole = self.whole | {parameter}
        else:
            self.lineage.variables[parameter] = {parameter: Origin(1)}

    # --- statements

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self._bind_all(targets, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind_all([target], value)
            case ast.AugAssign(target=target, value=value):
                self._change(target, "is changed in place", deep=False)
                self._use(value, _GIVEN)
                if not isinstance(target, ast.Name) or target.id not in self.whole:
                    self._bind(target, self.lineage.of(value), is_copy=True)
            case ast.Return(value=ast.expr() as value):
                self._use(value, _KEPT)
            case ast.Expr(value=value):
                self._use(value, _READ)
            case ast.For(target=target, iter=values, body=body, orelse=other):
                self._use(values, _WALKED)
                self._bind(target, deeper(self.lineage.of(values)))
                self._all([*body, *other])
            case ast.If(test=test, body=body, orelse=other) | ast.While(test=test, body=body, orelse=other):
                self._use(test, _READ)
                self._all([*body, *other])
            case ast.With(items=items, body=body):
                for item in items:
                    self._entered(item)
                self._all(body)
            case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=final):
                self._all([*body, *(each for handler in handlers for each in handler.body), *other, *final])
            case ast.Delete(targets=targets):
                for target in targets:
                    self._change(target, "is deleted", deep=False)
            case ast.Raise():
                for part in (node.exc, node.cause):
                    if part is not None:
                        self._use(part, _GIVEN)
            case ast.Assert(test=test, msg=message):
                self._use(test, _READ)
                if message is not None:
                    self._use(message, _GIVEN)
            case ast.FunctionDef():
                self._define(node)
            case ast.Import() | ast.ImportFrom():
                self.names.add_import(node)
            case ast.Pass() | ast.Break() | ast.Continue() | ast.AnnAssign():
                pass
            case _:
                self._inside(node, "is used in a statement that is not looked into")

    def _define(self, node: ast.FunctionDef) -> None:
        """A function within the body: what it does with the values, and with what it is given, is seen as well."""
        own = set(times_bound_in(node))
        is_plain = all(self._leaves_as_it_is(each) for each in node.decorator_list)
        has_more = any(isinstance(each, ast.Nonlocal | ast.Global | _GIVES_LATER) for each in ast.walk(node))
        if not is_plain or has_more or not own.isdisjoint(self.whole | self.lineage.variables.keys() - {node.name}):
            self._inside(node, "is used in a function, which may be called later")
            return
        self.functions[node.name] = node
        for each in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self._use(each, _KEPT)
        self._all(node.body)
        parts = (part for each in node.body for part in ast.walk(each) if isinstance(part, ast.Name))
        captured = untold(joined(map(self.lineage.of, parts)))
        self.lineage.bind(node.name, captured, is_copy=False)

    def _leaves_as_it_is(self, decorator: ast.expr) -> bool:
        full = self.names.full_name(decorator.func if isinstance(decorator, ast.Call) else decorator) or ""
        return full.startswith(_PLAIN_DECORATORS)

    def _all(self, body: Iterable[ast.stmt]) -> None:
        for each in body:
            self._statement(each)

    def _entered(self, item: ast.withitem) -> None:
        self._change(item.context_expr, "is entered by `with`", deep=False)
        self._use(item.context_expr, _READ)
        if item.optional_vars is not None:
            self._bind(item.optional_vars, self.lineage.of(item.context_expr))

    # --- names that are bound

    def _bind_all(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        self._use(value, _KEPT if any(map(shapes.is_store, targets)) else _NAMED)
        if isinstance(value, ast.Call) and self.names.full_name(value.func) is None and self._is_users(value.func):
            self.strange.update(each.id for each in targets if isinstance(each, ast.Name))
        for target in targets:
            if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
                for one, part in zip(target.elts, value.elts, strict=True):
                    self._bind(one, self.lineage.of(part), is_copy=self.lineage.is_copy(part))
            else:
                self._bind(target, self.lineage.of(value), is_copy=self.lineage.is_copy(value))

    def _bind(self, target: ast.expr, origins: Origins, *, is_copy: bool = False) -> None:
        match target:
            case ast.Name(id=name):
                if name in self.whole:
                    if origins.keys() - {name}:
                        self._blame({name, *origins}, "is bound anew", target)
                else:
                    self.lineage.bind(name, origins, is_copy=is_copy)
            case ast.Starred(value=inner):
                self._bind(inner, origins, is_copy=is_copy)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for each in elements:
                    self._bind(each, deeper(origins))
            case _:
                self._change(target, "is changed", deep=False)
                for part in ast.iter_child_nodes(target):
                    if isinstance(part, ast.expr):
                        self._use(part, _READ)

    # --- expressions

    def _use(self, node: ast.expr, how: str) -> None:
        if how == _KEPT:
            self._note_given_out(node)
        match node:
            case ast.Name(id=name) if name in self.whole:
                if how in (_KEPT, _HELD, _NAMED):
                    self._blame({name}, "is returned, stored, or given another name", node)
            case ast.Name(id=name) if name in self.functions and how in (_KEPT, _HELD, _NAMED):
                self._blame(
                    self.lineage.variables.get(name, ()), f"is used by {name}(), which is returned or stored", node
                )
            case ast.Call():
                self._call(node)
            case ast.Attribute(value=value, attr=attr):
                if known.is_changing(attr) and not attr.endswith("_"):  # scikit-learn's results end so
                    self._change(value, f"may be changed by .{attr}, which may be called later", deep=True)
                self._use(value, _READ)
            case ast.Subscript(value=value, slice=index):
                self._use(value, _READ)
                self._use(index, _READ)
            case ast.BoolOp(values=values):
                for each in values:
                    self._use(each, how)
            case ast.IfExp(test=test, body=first, orelse=second):
                self._use(test, _READ)
                self._use(first, how)
                self._use(second, how)
            case ast.Compare(left=left, ops=operators, comparators=others):
                uses_up = any(isinstance(each, ast.In | ast.NotIn) for each in operators)
                self._use(left, _READ)
                for each in others:
                    self._use(each, _WALKED if uses_up else _READ)
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                for each in elements:
                    self._use(each, _HELD)
            case ast.Dict(keys=keys, values=values):
                for part in (*keys, *values):
                    if part is not None:
                        self._use(part, _HELD)
            case ast.Starred(value=value):
                self._use(value, _WALKED)
            case ast.NamedExpr(target=target, value=value):
                self._use(value, _KEPT)
                self._bind(target, self.lineage.of(value))
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                self._comprehension(node)
            case ast.GeneratorExp():
                self._inside(node, "is used in a generator, which may run later")
            case ast.Lambda():
                self._inside(node, "is used in a lambda, which may be called later")
            case ast.Yield() | ast.YieldFrom() | ast.Await():
                self._inside(node, "is yielded")
            case _:
                for part in shapes.children(node):
                    self._use(part, _READ)

    def _note_given_out(self, node: ast.expr) -> None:
        is_whole = isinstance(node, ast.Name) and node.id in self.whole
        if not is_whole and not isinstance(node, ast.BinOp | ast.UnaryOp):
            for name, origin in self.lineage.of(node).items():
                told = self.given_out if origin.is_view else self.given_on
                told[name] = min(max(origin.steps, 1), told.get(name, max(origin.steps, 1)))

    def _comprehension(self, node: Any) -> None:
        node = self.lineage.scoped(node)
        for each in node.generators:
            self._use(each.iter, _WALKED)
            self._bind(each.target, deeper(self.lineage.of(each.iter)))
            for test in each.ifs:
                self._use(test, _READ)
        for part in shapes.elements_of(node):
            self._use(part, _HELD)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        given = [*node.args, *(each.value for each in node.keywords)]
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        full = self.names.full_name(function)
        changes = known.is_changing(name) or (full is not None and name == "at")  # as numpy.add.at
        changes &= full is None or full.removeprefix("builtins.") not in known.PLAIN_BUILTINS
        changes &= not self._is_looked_into(function)
        if isinstance(function, ast.Attribute) and full is None:
            if isinstance(function.value, ast.Name):
                self.asked.setdefault(function.value.id, set()).add(name)
            if changes:
                self._change(function.value, f"is changed by .{name}()", deep=True)
            self._use(function.value, _READ)
        elif not isinstance(function, ast.Name | ast.Attribute):
            self._use(function, _READ)
        for keyword in node.keywords:
            if keyword.arg == "inplace" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                changed = function.value if isinstance(function, ast.Attribute) else function
                self._change(changed, "is changed in place", deep=True)
            if keyword.arg == "out":
                self._change(keyword.value, "is written to by out=", deep=False)
            if known.allows_changes(keyword.arg or "", getattr(keyword.value, "value", None)):
                for each in node.args:
                    self._change(each, f"is given to {name}() with {keyword.arg}=, which may change it", deep=False)
        inputs = shapes.inputs_of_ufunc(full)
        for each in [] if inputs is None else node.args[inputs:]:
            self._change(each, f"is written to by {name}()", deep=False)
        self._given_with_functions(given, is_sorting=self._is_sorting(function, full))
        if any(self._is_changing_function(each) for each in given):
            for each in given:
                self._change(each, "is given on with a function that changes things", deep=False)
        for i, each in enumerate(given if changes else ()):
            if i and known.changes_first_only(name):
                continue
            if isinstance(function, ast.Attribute) and full is None:
                self._use(each, _KEPT if known.is_keeping(name) else _GIVEN)
            else:
                self._change(each, f"is given to {name}(), which may change it", deep=False)
        reader = self._reader(function, full)
        for i, each in enumerate(given):
            reader(each, i, node)

    def _reader(self, function: ast.expr, full: str | None) -> Callable[[ast.expr, int, ast.Call], None]:
        """How a callee treats its arguments."""
        if full is not None and full.startswith("builtins."):
            name = full.removeprefix("builtins.")
            if name in _READING:
                return lambda each, i, node: self._use(each, _READ)
            if name in known.PLAIN_BUILTINS | known.ITERATORS:
                return self._consumed
            if known.EXCEPTIONS.match(name):
                return lambda each, i, node: self._use(each, _GIVEN)
            return lambda each, i, node: self._inside(each, f"is given to {name}()")
        if (users := self.names.user_function(function)) is not None:
            return lambda each, i, node: self._to_function(each, i, node, users)
        if full is not None:
            return self._to_library
        if isinstance(function, ast.Name) and (local := self.functions.get(function.id)) is not None:
            return lambda each, i, node: self._to_local(each, i, node, local)
        if isinstance(function, ast.Name) and (compiled := self.compiled.get(function.id)) is not None:
            return lambda each, i, node: self._to_function(each, i, node, compiled)
        if isinstance(function, ast.Attribute) and (methods := self.methods.get(shapes.root_name(function))):
            return lambda each, i, node: self._to_any(each, methods)
        if isinstance(function, ast.Name) and (made_of := self._called_by(function.id)):
            return lambda each, i, node: self._to_any(each, made_of)
        is_value = isinstance(function, ast.Name) and function.id in self.whole
        if is_value or (isinstance(function, ast.Attribute) and not self._is_users(function.value)):
            return self._to_library
        return lambda each, i, node: self._to_unknown(each, f"is given to {ast.unparse(function)}, which is not known")

    def _called_by(self, name: str) -> Sequence[types.FunctionType]:
        """What may be called if a value is."""
        return [*self.callables.get(name, ()), *self.methods.get(name, ())]

    def _is_looked_into(self, function: ast.expr) -> bool:
        """Whether it is seen what a function does; then its name says nothing."""
        is_local = isinstance(function, ast.Name) and (function.id in self.functions or function.id in self.compiled)
        return is_local or self.names.user_function(function) is not None

    def _to_unknown(self, each: ast.expr, reason: str) -> None:
        """A part of a value may be given to anybody, if nobody can change it: that is seen once it is made."""
        place = self.lineage.place_of(each, self.functions)
        if place is None:
            self._inside(each, reason)
            return
        self._use(each, _GIVEN)
        for name, origin in place.items():
            self.handed[name] = min(max(origin.steps, 1), self.handed.get(name, max(origin.steps, 1)))

    def _is_users(self, node: ast.expr) -> bool:
        """Whether an object may be the user's: a global, an argument, or made by what is not a library's."""
        root = shapes.root(node)
        if not isinstance(root, ast.Name) or root.id in self.whole or root.id in self.lineage.variables:
            return False
        if root.id not in self.names.own or root.id in self.names.imports:
            return self.names.full_name(root) is None
        return root.id in self.names.parameters or root.id in self.strange

    def _consumed(self, each: ast.expr, index: int, node: ast.Call) -> None:
        if isinstance(each, ast.GeneratorExp):
            self._comprehension(each)
        elif isinstance(each, ast.Lambda):
            self._use(each.body, _READ)
        else:
            self._use(each, _WALKED)

    def _to_library(self, each: ast.expr, index: int, node: ast.Call) -> None:
        if isinstance(each, ast.Lambda):
            self._use(each.body, _GIVEN)
        elif isinstance(each, ast.GeneratorExp) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            self._comprehension(each)
        else:
            self._use(each, _GIVEN)

    def _is_sorting(self, function: ast.expr, full: str | None) -> bool:
        """Whether what functions give is compared, and thrown away."""
        return full in _SORTING or (full is None and isinstance(function, ast.Attribute) and function.attr == "sort")

    def _given_with_functions(self, given: Sequence[ast.expr], *, is_sorting: bool) -> None:
        """Whoever gets a function of the user's may call it with what it gets besides."""
        for each in given:
            others = [other for other in given if other is not each and self.lineage.of(other)]
            if isinstance(each, ast.Lambda) and others:
                parameters = {one.arg for one in (*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs)}
                inside = Uses(self.names, frozenset(parameters), within=self.within)
                parts = each.body.elts if is_sorting and isinstance(each.body, ast.Tuple) else [each.body]
                if inside.look([ast.Expr(part) for part in parts]):
                    for other in others:
                        self._blame(
                            self.lineage.of(other), "is given on with a lambda that may change or keep it", other
                        )
            elif (users := self.names.user_function(each)) is not None:
                for other in others:
                    self._to_any(other, [users])
            elif isinstance(each, ast.Name) and (local := self.functions.get(each.id)) is not None:
                for other in others:
                    if self._misuses_any(local):
                        self._blame(self.lineage.of(other), f"is given on with {each.id}()", other)

    def _is_changing_function(self, node: ast.expr) -> bool:
        """Whether it is a function that changes what it is given, not called but given on."""
        if not isinstance(node, ast.Name | ast.Attribute) or (isinstance(node, ast.Name) and node.id in self.names.own):
            return False
        full = self.names.full_name(node)
        return full is not None and known.is_changing(full.rpartition(".")[2])

    def _to_any(self, each: ast.expr, functions: Sequence[types.FunctionType]) -> None:
        """Something made of functions of the user's is called: whichever gets the argument must leave it as it is."""
        self._use(each, _GIVEN)
        origins = self.lineage.of(each)
        for function in functions if origins else ():
            if self.names.depth >= _DEEPEST or misused_parameters(function, self.names.depth + 1):
                self._blame(origins, f"is given to {function.__name__}(), which may change or keep it", each)

    def _to_function(self, each: ast.expr, index: int, node: ast.Call, function: types.FunctionType) -> None:
        """A function of the user's, which is looked into."""
        self._use(each, _GIVEN)
        origins = self.lineage.of(each)
        if origins and self.names.depth >= _DEEPEST:
            self._blame(origins, f"is given to {function.__name__}(), which is not looked into", each)
        elif origins:
            try:
                source = source_of(function)
            except SplitError:
                self._blame(origins, f"is given to {function.__name__}(), whose source cannot be read", each)
                return
            inside = Uses(names_of(source, self.names.depth + 1), frozenset(), within=self.within)
            self._follow(each, _Callee(function, source.node, _parameter(source.node, index, node), inside))

    def _to_local(self, each: ast.expr, index: int, node: ast.Call, function: ast.FunctionDef) -> None:
        """A function within the body is given something."""
        self._use(each, _GIVEN)
        if self.lineage.of(each):
            self._follow(each, _Callee(function, function, _parameter(function, index, node), self._within(function)))

    def _within(self, function: ast.FunctionDef) -> Uses:
        """What looks through a function within the body. It calls itself as one that is not known."""
        inside = Uses(self.names, frozenset(), within=self.within)
        inside.functions = {name: each for name, each in self.functions.items() if each is not function}
        return inside

    def _follow(self, each: ast.expr, callee: _Callee) -> None:
        """See what a callee does with what it is given."""
        what, origins = f"{callee.definition.name}()", self.lineage.of(each)
        if callee.parameter is None:
            self._blame(origins, f"is given to {what} among others", each)
            return
        if (callee.key, callee.parameter) in self.within:
            return  # it calls itself: whatever it does is seen already
        inside = callee.inside
        inside.within |= {(callee.key, callee.parameter)}
        inside.begin(callee.parameter, is_whole=isinstance(each, ast.Name) and each.id in self.whole)
        if isinstance(each, ast.Name) and each.id in self.lineage.copies:
            inside.lineage.copies.add(callee.parameter)
        for unknown in inside.look(callee.definition.body).values():
            line = getattr(unknown.node, "lineno", 0)
            self._blame(origins, f"is given to {what}, where in line {line} it {unknown.reason}", each)

    def _misuses_any(self, function: ast.FunctionDef) -> bool:
        """Whether a function within the body changes or keeps any of its arguments."""
        inside = self._within(function)
        given = function.args
        for each in (*given.posonlyargs, *given.args, *given.kwonlyargs):
            inside.begin(each.arg, is_whole=True)
        return bool(inside.look(function.body))

    # --- misuse

    def _change(self, node: ast.expr, reason: str, *, deep: bool) -> None:
        """An object is changed: the one that an expression gives, or (a target) the one that it is in."""
        inner, steps = node, 0
        while isinstance(inner, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
            steps += 1
        if isinstance(inner, ast.Name) and inner.id in self.lineage.copies and steps <= (0 if deep else 1):
            return  # a new container may change; what is in it may not
        if self.lineage.is_copy(node):
            return
        origins = self.lineage.of(inner if isinstance(inner, ast.Name) else node)
        changed = {name for name, origin in origins.items() if origin.is_view or deep}
        self.lineage.masked.update(origins.keys() - changed)
        self._blame(changed, reason, node)

    def _inside(self, node: ast.AST, reason: str) -> None:
        """Everything in it is out of sight."""
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                self._blame(self.lineage.of(each), reason, each)
            elif isinstance(each, ast.Global | ast.Nonlocal):
                self._blame(set(each.names) & self.whole, "is declared to be of another scope", each)

    def _blame(self, origins: Iterable[str], reason: str, node: ast.AST) -> None:
        for name in origins:
            self.found.setdefault(name, Unknown(reason, node))


@dataclass
class _Callee:
    """What is called, and what looks through it."""

    key: object  # tells it from others
    definition: ast.FunctionDef
    parameter: str | None  # that is given something; None if that cannot be told
    inside: Uses


def _parameter(function: ast.FunctionDef, index: int, node: ast.Call) -> str | None:
    """The parameter that gets an argument of a call; None if that cannot be told."""
    if any(isinstance(one, ast.Starred) for one in node.args):
        return None
    given = function.args
    places = [one.arg for one in (*given.posonlyargs, *given.args)]
    keyword = None if index < len(node.args) else node.keywords[index - len(node.args)].arg
    parameter = keyword or (places[index] if index < len(places) and index < len(node.args) else None)
    return parameter if parameter in {*places, *(one.arg for one in given.kwonlyargs)} else None


def misused_parameters(function: types.FunctionType, depth: int = 0) -> dict[str, Unknown]:
    """Parameters that a function of the user's changes, keeps or gives back, and how."""
    try:
        source = source_of(function)
    except SplitError as error:
        return {"": Unknown(error.reason, ast.Pass())}
    given = source.node.args
    parameters = {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    parameters |= {each.arg for each in (given.vararg, given.kwarg) if each is not None}
    return Uses(names_of(source, depth), frozenset(parameters)).look(source.node.body)
