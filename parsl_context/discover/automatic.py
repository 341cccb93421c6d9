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
import re
from collections.abc import Container, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from parsl_context.discover import shapes
from parsl_context.discover.blocks import check_gives_at_once, check_kind, plain_function
from parsl_context.discover.bound_names import bound_within_scopes, read_outside, times_bound, times_bound_in
from parsl_context.discover.calls import UsersCode
from parsl_context.discover.halves import (
    At,
    Split,
    Verdict,
    body_half,
    context_half,
    part,
)
from parsl_context.discover.lively import DEFAULTS, MUTABLE_DEFAULTS, ways_asked
from parsl_context.discover.moving import BODY, CONTEXT, Moving
from parsl_context.discover.names import Unknown, names_of
from parsl_context.discover.scopes import scope_of
from parsl_context.discover.sources import Source, all_arguments, source_of
from parsl_context.discover.uses import Uses
from parsl_context.retain.terms import Terms

_KEPT = (DEFAULTS, MUTABLE_DEFAULTS)
_COMPOUND = ast.For | ast.While | ast.If | ast.Try
_IMPORTS = ast.Import | ast.ImportFrom


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
    moving, uses = _analysed(source)
    verdicts = moving.verdicts
    moved = [each.node for each in verdicts if each.place == CONTEXT]
    rest = [each.node for each in verdicts if each.place != CONTEXT]
    rest = rest or [ast.copy_location(ast.Pass(), source.node)]
    made = {name for each in moved for name in times_bound(each)} - moving.scratch
    names = sorted(_read_of(made, source, rest))
    private = [name for name in names_of(source).own if source.class_name is not None and _is_private(name)]
    if private:
        raise source.refusal(f"its variable {min(private)} has a private name. Give it another.")
    if not names:
        raise source.refusal(_why_nothing(verdicts))
    last = max(i for i, each in enumerate(verdicts) if each.place == CONTEXT)
    first = [_for_context(each) for each in verdicts[: last + 1] if each.place != BODY]
    sure = frozenset(name for each in moved for name in _bound_for_sure(each)).intersection(names)
    context = context_half(source, first, (), names, sure)
    kept = [each.arg for each in all_arguments(source.node.args)]
    body = body_half(source, (), rest, rest[0], kept, names, sure)
    asked = {name: frozenset(uses.calls.asked[name]) for name in names if name in uses.calls.asked}
    masked = tuple(sorted(uses.lineage.masked))
    kinds = frozenset((kind.__module__, kind.__qualname__) for kind in moving.names.classes)
    tables, differentiated = sorted(moving.names.tables or ()), sorted(uses.calls.differentiated)
    terms = Terms(
        uses.given.out,
        uses.given.on,
        uses.calls.handed,
        asked,
        masked,
        tuple(tables),
        kinds,
        tuple(differentiated),
        frozenset(name for name, kind in moving.names.live.items() if kind in _KEPT and name in names),
    )
    return Split(function, context, body, (), tuple(names), None, tuple(verdicts), terms)


def _is_private(name: str) -> bool:
    """Whether a variable in a class has another name in compiled code than in its source."""
    return re.match(r"_[^_].*__\w*[^_]$|__\w*[^_]$", name) is not None


def _read_of(names: set[str], source: Source, statements: Sequence[ast.stmt]) -> set[str]:
    """Which of some variables are read by some statements."""
    found: set[str] = set()
    for each in statements:
        named = names & shapes.read_in(each) - found
        if not named:
            continue
        if named.isdisjoint(bound_within_scopes(each)):
            dotted = (node for node in shapes.dotted_in(each) if isinstance(node, ast.Name))
            read: AbstractSet[str] = {node.id for node in dotted if isinstance(node.ctx, ast.Load)}
        elif (free := read_outside(each)) is not None:
            read = free
        else:  # the compiler knows
            return names & scope_of(source, part(source.node, source.node.args, statements)).used
        found |= named & read
    return found


def _bound_for_sure(node: ast.stmt) -> set[str]:
    """Variables that a statement binds whatever happens, if it does not raise."""
    if isinstance(node, ast.With):
        handles = {each.optional_vars.id for each in node.items if isinstance(each.optional_vars, ast.Name)}
        return handles.union(*map(_bound_for_sure, node.body))
    return set() if isinstance(node, _COMPOUND) else set(times_bound(node))


def _for_context(verdict: Verdict) -> ast.stmt:
    """A statement as the context runs it. An import that fails there fails in the body, too, which says so."""
    node = verdict.node
    if not isinstance(node, _IMPORTS):
        return node
    return At(node).caught([node], "Exception")


def _why_nothing(verdicts: Sequence[Verdict]) -> str:
    reasons = [f"line {each.node.lineno}: {each.reason}" for each in verdicts if each.place == BODY][:5]
    return f"nothing of it may become a context. {'; '.join(reasons) or 'It has no statements'}."


def verdicts_of(source: Source) -> list[Verdict]:
    """Where each statement of a function goes, docstring aside."""
    return _analysed(source)[0].verdicts


def _seen_live(moving: Moving, rest: Sequence[ast.stmt], given: Container[str]) -> dict[str, Unknown]:
    """Variables that are used up or changed by being read, and that a call would read.

    Parameters
    ----------
    given
        Variables of which parts are given out of the function.
    """
    read = {name for each in rest for name in shapes.read_in(each)}
    found: dict[str, Unknown] = {}
    for name, kind in moving.names.live.items():
        if name not in moving.made_by or name not in read:
            continue
        ways = ways_asked(name, rest) if kind in (DEFAULTS, MUTABLE_DEFAULTS) else {"other"}
        is_given = kind == MUTABLE_DEFAULTS and "item" in ways and name in given
        if is_given or len(ways) > 1 or "other" in ways:
            found[name] = Unknown(kind, moving.made_by[name][0])
    return found


def _analysed(source: Source) -> tuple[Moving, Uses]:
    """Where each statement goes; and what the body does with what moves."""
    body = source.node.body
    body = body[1:] if ast.get_docstring(source.node, clean=False) is not None else body
    staying: dict[str, Unknown] = {}  # variables that must not move
    times_bound = times_bound_in(source.node)
    masks = shapes.masks_in(body, times_bound)
    while True:
        moving = Moving(source, body, times_bound, staying)
        rest = [each.node for each in moving.verdicts if each.place != CONTEXT]
        callables = {name: of for name in moving.made_by if (of := moving.functions_of(name))}
        functions = {
            each.node.name: each.node
            for each in moving.verdicts
            if each.place == CONTEXT and isinstance(each.node, ast.FunctionDef)
        }
        methods = {name: of for name in moving.made_by if (of := moving.methods_of(name))}
        code = UsersCode(callables, methods, moving.compiled, functions)
        uses = Uses(names_of(source), frozenset(moving.made_by) - moving.fixed(), code)
        uses.lineage.masks = masks
        uses.given.arrays = moving.arrays()
        misused = {**moving.drawn, **uses.look(rest)}
        misused |= _seen_live(moving, rest, {*uses.given.out, *uses.given.on, *uses.calls.handed})
        for name in uses.calls.differentiated:
            if (at := moving.learns(name)) is not None:
                misused.setdefault(name, Unknown("has gradients, which a call changes", at))
        if not misused:
            return moving, uses
        # What these were made of is looked at again, now that they are made in the body.
        staying.update(misused)
