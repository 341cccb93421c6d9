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
from collections.abc import Sequence
from typing import Any

from parsl_context.discover.blocks import check_gives_at_once, check_kind, plain_function
from parsl_context.discover.bound_names import times_bound, times_bound_in
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
from parsl_context.discover.moving import BODY, CONTEXT, Moving
from parsl_context.discover.names import Unknown, names_of
from parsl_context.discover.scopes import scope_of
from parsl_context.discover.sources import Source, source_of
from parsl_context.discover.uses import Uses
from parsl_context.retain.terms import Terms


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
    in_body = scope_of(source, part(source.node, source.node.args, rest or [ast.Pass()]))
    names = sorted({name for each in moved for name in times_bound(each)} & in_body.used)
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
    body = body_half(source, (), rest or [ast.Pass()], rest[0] if rest else source.node, kept, names, sure)
    asked = {name: frozenset(uses.asked[name]) for name in names if name in uses.asked}
    masked = tuple(sorted(uses.lineage.masked))
    kinds = frozenset((kind.__module__, kind.__qualname__) for kind in moving.names.classes)
    terms = Terms(
        uses.given_out, uses.given_on, uses.handed, asked, masked, tuple(sorted(moving.names.tables or ())), kinds
    )
    return Split(function, context, body, (), tuple(names), None, tuple(verdicts), terms)


def _is_private(name: str) -> bool:
    """Whether a variable in a class has another name in compiled code than in its source."""
    return re.match(r"_[^_].*__\w*[^_]$|__\w*[^_]$", name) is not None


def _bound_for_sure(node: ast.stmt) -> set[str]:
    """Variables that a statement binds whatever happens, if it does not raise."""
    if isinstance(node, ast.With):
        handles = {each.optional_vars.id for each in node.items if isinstance(each.optional_vars, ast.Name)}
        return handles.union(*map(_bound_for_sure, node.body))
    return set() if isinstance(node, ast.For | ast.If) else set(times_bound(node))


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
    return _analysed(source)[0].verdicts


def _analysed(source: Source) -> tuple[Moving, Uses]:
    """Where each statement goes; and what the body does with what moves."""
    body = source.node.body
    body = body[1:] if ast.get_docstring(source.node, clean=False) is not None else body
    staying: dict[str, Unknown] = {}  # variables that must not move
    times_bound = times_bound_in(source.node)
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
        uses = Uses(
            names_of(source),
            frozenset(moving.made_by),
            callables=callables,
            methods=methods,
            compiled=moving.compiled,
            functions=functions,
        )
        misused = {**moving.drawn, **uses.look(rest)}
        if not misused:
            return moving, uses
        # What these were made of is looked at again, now that they are made in the body.
        staying.update(misused)
