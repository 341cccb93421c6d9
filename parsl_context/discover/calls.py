"""What calls do with the values that move to the context: with what they are called on, and with what they are given.

A part of `parsl_context.discover.uses`. Code of libraries is judged by its names; functions of the user's are looked
into, each as far as it is given a value.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parsl_context.discover import known_names as known
from parsl_context.discover import shapes
from parsl_context.discover.classes import user_class
from parsl_context.discover.names import names_of
from parsl_context.discover.origins import Origins, told
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError
from parsl_context.retain.terms import ASKED_OF_MODULES

if TYPE_CHECKING:
    from parsl_context.discover.uses import Uses

# How an expression is used. Data is what is computed with, so no method that could be called.
READ, GIVEN, KEPT, HELD, NAMED, WALKED, DATA = "read", "given", "kept", "held", "named", "walked", "data"
# Built-in functions that neither change nor keep what they are given, and do not iterate over it.
_READING = (known.FRESH_BUILTINS | {"print", "hasattr", "type", "callable", "hash", "id"}) - {"all", "any"}
_SORTING = frozenset({"builtins.sorted", "builtins.min", "builtins.max"})
_DEEPEST = 3
_FUNCTIONS = ast.Lambda | ast.Name | ast.Attribute
_ITERATED = ast.Call | ast.GeneratorExp
_DOTTED = ast.Name | ast.Attribute
_SEQUENCES = ast.List | ast.Tuple


@dataclass(frozen=True)
class UsersCode:
    """Code of the user's that values bring along, by their variables.

    Attributes
    ----------
    callables : mapping
        Functions that they were made of.
    methods : mapping
        Methods that they may have.
    compiled : mapping
        Functions that they are, compiled.
    functions : mapping
        Definitions that they are, within the function that is looked at.
    """

    callables: Mapping[str, Sequence[types.FunctionType]] = field(default_factory=dict)
    methods: Mapping[str, Sequence[types.FunctionType]] = field(default_factory=dict)
    compiled: Mapping[str, types.FunctionType] = field(default_factory=dict)
    functions: Mapping[str, ast.FunctionDef] = field(default_factory=dict)


NO_CODE = UsersCode()


class Calls:
    """Looks through calls for what changes, keeps or uses up values.

    Parameters
    ----------
    uses
        What looks through the statements that they are in. It takes note of what is found.
    code
        Code of the user's that the values bring along.
    within
        Functions, and their parameters, that are looked into: what calls them calls them again.

    Attributes
    ----------
    functions : dict
        Functions that are defined within the one that is looked at, by name.
    handed : dict
        Values of which parts are given to code that is not known, with how many steps into them these are, at least.
    asked : dict
        Methods that are called on values, and on what is taken out of these, by their names.
    differentiated : set
        Values that something is computed from whose gradient is taken: they must have no gradients of their own.
    """

    def __init__(self, uses: Uses, code: UsersCode, within: frozenset[tuple[object, str]]) -> None:
        self._uses = uses
        self._code = code
        self._within = within
        self.functions: dict[str, ast.FunctionDef] = dict(code.functions)
        self.handed: dict[str, int] = {}
        self.asked: dict[str, set[str]] = {}
        self.differentiated: set[str] = set()

    def look(self, node: ast.Call) -> None:
        """See what a call does."""
        uses, function = self._uses, node.func
        given = [*node.args, *(each.value for each in node.keywords)]
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        full = uses.names.full_name(function)
        changes = known.is_changing(name) or (full is not None and name == "at")  # as numpy.add.at
        changes = (
            changes
            and (full is None or full.removeprefix("builtins.") not in known.PLAIN_BUILTINS)
            and not self._is_looked_into(function)
        )
        if isinstance(function, ast.Attribute) and full is None:
            self.ask(uses.lineage.of(function.value), {name})
            if name == "backward":
                self.differentiated.update(uses.lineage.of(function.value))
            elif changes:
                uses.change(function.value, f"is changed by .{name}()", deep=True)
            uses.use(function.value, READ)
            if self._may_write_into_given(function):
                for each in given:
                    uses.change(each, f"is given to .{name}() of what was told not to copy it", deep=False)
        elif not isinstance(function, _DOTTED):
            uses.use(function, READ)
        elif node.args:  # as torch.nn.Module.to(network, ...)
            self.ask(uses.lineage.of(node.args[0]), {name} & ASKED_OF_MODULES)
        for keyword in node.keywords:
            self._keyword(node, keyword, name)
        if full is not None and (inputs := shapes.inputs_of_ufunc(full)) is not None:
            for each in node.args[inputs:]:
                uses.change(each, f"is written to by {name}()", deep=False)
        self._given_with_functions(given, is_sorting=self._is_sorting(function, full))
        if any(self._is_changing_function(each) for each in given):
            for each in given:
                uses.change(each, "is given on with a function that changes things", deep=False)
        for i, each in enumerate(given if changes else ()):
            if i and known.changes_first_only(name):
                continue
            if isinstance(function, ast.Attribute) and full is None:
                uses.use(each, KEPT if known.is_keeping(name) else GIVEN)
            else:
                uses.change(each, f"is given to {name}(), which may change it", deep=False)
        if given:
            reader = self._reader(function, full)
            for i, each in enumerate(given):
                reader(each, i, node)

    def ask(self, origins: Origins, methods: set[str]) -> None:
        """Methods are called on values, or on what is taken out of them: not on what a call of theirs has given."""
        for each in told(origins):
            self.asked.setdefault(each, set()).update(methods)

    def look_at_effect(self, node: ast.expr) -> None:
        """A method whose result nobody takes is called for what it does, whatever its name."""
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr=name) as function) if (
                self._uses.names.full_name(function) is None
                and name not in known.ONLY_READING
                and not self._is_looked_into(function)
            ):
                if name != "backward":
                    self._uses.change(of, f"is changed by .{name}()", deep=True)

    def _may_write_into_given(self, function: ast.Attribute) -> bool:
        """Whether what a method is of may have been made with ``copy=False``: here, or before as a global."""
        source, name = self._uses.names.source, shapes.root_name(function)
        if _has_permission(source.node):
            return True
        if not name or name in self._uses.names.own:
            return False
        try:
            attributes = vars(source.value_of(name))
        except (NameError, TypeError):
            return False
        return any(known.allows_changes(each, value) for each, value in attributes.items())

    def _keyword(self, node: ast.Call, keyword: ast.keyword, name: str) -> None:
        """What a keyword argument says about others."""
        uses, function = self._uses, node.func
        if keyword.arg == "inplace" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
            changed = function.value if isinstance(function, ast.Attribute) else function
            uses.change(changed, "is changed in place", deep=True)
        if keyword.arg == "out":
            uses.change(keyword.value, "is written to by out=", deep=False)
        if known.allows_changes(keyword.arg or "", getattr(keyword.value, "value", None)):
            for each in node.args:
                uses.change(each, f"is given to {name}() with {keyword.arg}=, which may change it", deep=False)

    def _reader(self, function: ast.expr, full: str | None) -> Callable[[ast.expr, int, ast.Call], None]:
        """How a callee treats its arguments."""
        uses = self._uses
        if full is not None and full.startswith("builtins."):
            name = full.removeprefix("builtins.")
            if name in _READING:
                return lambda each, i, node: uses.use(each, READ)
            if name in known.PLAIN_BUILTINS | known.ITERATORS:
                return self._consumed
            if known.EXCEPTIONS.match(name):
                return lambda each, i, node: uses.use(each, KEPT)
            return lambda each, i, node: self._to_builtin(each, node, name)
        if (users := uses.names.user_function(function)) is not None:
            return lambda each, i, node: self._to_function(each, i, node, users)
        if full is not None and known.computes(full):
            return self._to_computing
        if full is not None:
            return self._to_library
        if isinstance(function, ast.Name) and (local := self.functions.get(function.id)) is not None:
            return lambda each, i, node: self._to_local(each, i, node, local)
        if isinstance(function, ast.Name) and (compiled := self._code.compiled.get(function.id)) is not None:
            return lambda each, i, node: self._to_function(each, i, node, compiled)
        if isinstance(function, ast.Attribute) and uses.objects.is_of_base(function):
            return self._to_library
        if isinstance(function, ast.Attribute) and (methods := self._methods_of(function)):
            return lambda each, i, node: self._to_any(each, methods)
        if isinstance(function, ast.Name) and (made_of := self._called_by(function.id)):
            return lambda each, i, node: self._to_any(each, made_of)
        is_users = isinstance(function, ast.Attribute) and self._is_of_users_class(function)
        if isinstance(function, ast.Attribute) and function.attr in known.METHODS_OF_ANYTHING and not is_users:
            return self._to_library
        is_value = isinstance(function, ast.Name) and function.id in uses.whole
        if is_value or (isinstance(function, ast.Attribute) and not uses.objects.is_users(function.value)):
            return self._to_library
        return lambda each, i, node: self._to_unknown(each, f"is given to {ast.unparse(function)}, which is not known")

    def _methods_of(self, function: ast.Attribute) -> list[types.FunctionType]:
        """Methods of the user's that may be called, of a value or of what is taken out of one."""
        if not self._code.methods:
            return []
        lineage = self._uses.lineage
        origins = lineage.of(shapes.root(function))
        return [method for name in origins for method in self._code.methods.get(name, ())]

    def _is_of_users_class(self, function: ast.Attribute) -> bool:
        """Whether it is a method of an object that is known to be of a class of the user's."""
        root = shapes.root(function)
        return isinstance(root, ast.Name) and (
            root.id in self._uses.objects.kinds or user_class(root, self._uses.names) is not None
        )

    def _called_by(self, name: str) -> Sequence[types.FunctionType]:
        """What may be called if a value is."""
        return [*self._code.callables.get(name, ()), *self._code.methods.get(name, ())]

    def _is_looked_into(self, function: ast.expr) -> bool:
        """Whether it is seen what a function does; then its name says nothing."""
        if isinstance(function, ast.Name) and (function.id in self.functions or function.id in self._code.compiled):
            return True
        return self._uses.names.user_function(function) is not None

    # --- to whom something is given

    def _to_unknown(self, each: ast.expr, reason: str) -> None:
        """A part of a value may be given to anybody, if nobody can change it: that is seen once it is made."""
        place = self._uses.lineage.place_of(each, self.functions)
        if place is None:
            self._uses.inside(each, reason)
            return
        self._uses.use(each, GIVEN)
        for name, origin in place.items():
            self.handed[name] = min(max(origin.steps, 1), self.handed.get(name, max(origin.steps, 1)))

    def _to_builtin(self, each: ast.expr, node: ast.Call, name: str) -> None:
        if name == "getattr" and self._uses.names.full_name(node.args[0]) is not None:
            self._uses.use(each, READ)  # of a module
        elif name == "iter" or (name == "next" and self._is_iterator(each)):
            self._uses.use(each, READ)
        else:
            self._uses.inside(each, f"is given to {name}()")

    def _is_iterator(self, node: ast.expr) -> bool:
        """Whether it is a variable that an iterator is bound to, which is none of the values."""
        if isinstance(node, _ITERATED):
            return self._uses.lineage.is_copy(node)
        return isinstance(node, ast.Name) and self._uses.lineage.is_copied(node.id)

    def _consumed(self, each: ast.expr, index: int, node: ast.Call) -> None:
        if isinstance(each, ast.GeneratorExp):
            self._uses.comprehension(each)
        elif isinstance(each, ast.Lambda):
            self._uses.later(each.body, READ)
        else:
            self._uses.use(each, WALKED)

    def _to_computing(self, each: ast.expr, index: int, node: ast.Call) -> None:
        """A function that computes with numbers: with those of a list that is made for it, too."""
        parts = each.elts if isinstance(each, _SEQUENCES) else [each]
        for part in parts:
            self._uses.use(part, DATA if isinstance(part, ast.Attribute) else GIVEN)

    def _to_library(self, each: ast.expr, index: int, node: ast.Call) -> None:
        if isinstance(each, ast.Lambda):
            self._uses.later(each.body, GIVEN)
        elif isinstance(each, ast.GeneratorExp) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            self._uses.comprehension(each)
        else:
            self._uses.use(each, GIVEN)

    def _is_sorting(self, function: ast.expr, full: str | None) -> bool:
        """Whether what functions give is compared, and thrown away."""
        return full in _SORTING or (full is None and isinstance(function, ast.Attribute) and function.attr == "sort")

    def _given_with_functions(self, given: Sequence[ast.expr], *, is_sorting: bool) -> None:
        """Whoever gets a function of the user's may call it with what it gets besides."""
        uses = self._uses
        for each in given:
            if not isinstance(each, _FUNCTIONS):
                continue
            others = [other for other in given if other is not each and uses.lineage.of(other)]
            if not others:
                continue
            if isinstance(each, ast.Lambda):
                parameters = {one.arg for one in (*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs)}
                inside = uses.of_function(uses.names, frozenset(parameters), self._within)
                parts = each.body.elts if is_sorting and isinstance(each.body, ast.Tuple) else [each.body]
                inside.look([ast.Expr(part) for part in parts])
                if inside.all_misused():
                    for other in others:
                        reason = "is given on with a lambda that may change or keep it"
                        uses.blame(uses.lineage.of(other), reason, other)
            elif (users := uses.names.user_function(each)) is not None:
                for other in others:
                    self._to_any(other, [users])
            elif isinstance(each, ast.Name) and (local := self.functions.get(each.id)) is not None:
                for other in others:
                    if self._misuses_any(local):
                        uses.blame(uses.lineage.of(other), f"is given on with {each.id}()", other)

    def _is_changing_function(self, node: ast.expr) -> bool:
        """Whether it is a function that changes what it is given, not called but given on."""
        names = self._uses.names
        if not isinstance(node, _DOTTED) or (isinstance(node, ast.Name) and node.id in names.own):
            return False
        full = names.full_name(node)
        return full is not None and known.is_changing(full.rpartition(".")[2])

    def _to_any(self, each: ast.expr, functions: Sequence[types.FunctionType]) -> None:
        """Something made of functions of the user's is called: whichever gets the argument must leave it as it is."""
        uses = self._uses
        uses.use(each, GIVEN)
        origins = uses.lineage.of(each)
        for function in functions if origins else ():
            if uses.names.depth >= _DEEPEST or uses.misused_in(function):
                uses.blame(origins, f"is given to {function.__name__}(), which may change or keep it", each)

    def _to_function(self, each: ast.expr, index: int, node: ast.Call, function: types.FunctionType) -> None:
        """A function of the user's, which is looked into."""
        uses = self._uses
        uses.use(each, GIVEN)
        origins = uses.lineage.of(each)
        if origins and uses.names.depth >= _DEEPEST:
            uses.blame(origins, f"is given to {function.__name__}(), which is not looked into", each)
        elif origins:
            try:
                source = source_of(function)
            except SplitError:
                uses.blame(origins, f"is given to {function.__name__}(), whose source cannot be read", each)
                return
            inside = uses.of_function(names_of(source, uses.names.depth + 1), frozenset(), self._within)
            self._follow(each, _Callee(function, source.node, _parameter(source.node, index, node), inside))

    def _to_local(self, each: ast.expr, index: int, node: ast.Call, function: ast.FunctionDef) -> None:
        """A function within the body is given something."""
        self._uses.use(each, GIVEN)
        if self._uses.lineage.of(each):
            inside = self._inside_of(function)
            self._follow(each, _Callee(function, function, _parameter(function, index, node), inside))

    def _inside_of(self, function: ast.FunctionDef) -> Uses:
        """What looks through a function within the body. It calls itself as one that is not known."""
        inside = self._uses.of_function(self._uses.names, frozenset(), self._within)
        inside.calls.functions = {name: each for name, each in self.functions.items() if each is not function}
        return inside

    def _follow(self, each: ast.expr, callee: _Callee) -> None:
        """See what a callee does with what it is given."""
        uses, what = self._uses, f"{callee.definition.name}()"
        origins = uses.lineage.of(each)
        if callee.parameter is None:
            uses.blame(origins, f"is given to {what} among others", each)
            return
        if (callee.key, callee.parameter) in self._within:
            return  # it calls itself: whatever it does is seen already
        inside = callee.inside
        inside.calls._within |= {(callee.key, callee.parameter)}
        inside.begin(callee.parameter, is_whole=isinstance(each, ast.Name) and each.id in uses.whole)
        if isinstance(each, ast.Name) and uses.lineage.is_copied(each.id):
            inside.lineage.shared.discard(callee.parameter)
        inside.look(callee.definition.body)
        for unknown in inside.found.values():
            line = getattr(unknown.node, "lineno", 0)
            uses.blame(origins, f"is given to {what}, where in line {line} it {unknown.reason}", each)
        uses.take_over(inside, callee.parameter, origins)

    def _misuses_any(self, function: ast.FunctionDef) -> bool:
        """Whether a function within the body changes or keeps any of its arguments."""
        inside = self._inside_of(function)
        given = function.args
        for each in (*given.posonlyargs, *given.args, *given.kwonlyargs):
            inside.begin(each.arg, is_whole=True)
        inside.look(function.body)
        return bool(inside.all_misused())


@functools.lru_cache(maxsize=1024)
def _has_permission(function: ast.AST) -> bool:
    """Whether a function allows anything to change what it is given, as by ``copy=False``."""
    keywords = (each for part in shapes.parts(function) for each in shapes.all_in(part, ast.keyword))
    return any(known.allows_changes(each.arg or "", getattr(each.value, "value", None)) for each in keywords)


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
