"""The lexical split: a block at the beginning of a function becomes its context function, the rest its body.

    def embed(sentences, name="mini"):          def embed(*, name):
        with context:                               encoder = load(name)
            encoder = load(name)            →       return {"encoder": encoder}
        return encoder.encode(sentences)
                                                def embed(__context__, sentences):
                                                    encoder = __context__["encoder"]
                                                    return encoder.encode(sentences)

Parameters that the block reads are keys: each value has a context of its own. Variables that the block binds flow to
the body, if that reads them. What would not do the same as the undivided function is refused, with file, line, reason.
"""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

from parsl_context.content import syntax
from parsl_context.discover.halves import Split, body_half, context_half, part
from parsl_context.discover.scopes import Scope, scope_of
from parsl_context.discover.sources import Source, all_arguments, source_of
from parsl_context.errors import ConfigurationError, SplitError

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def split_block(function: Any, is_marker: Callable[[object], bool]) -> Split:
    """Split a function at its block.

    Parameters
    ----------
    is_marker
        Whether an object marks a block that stands under it: ``with object:`` or ``with object(...):``.

    Raises
    ------
    SplitError
        If it has no block, or cannot be split there.
    """
    function = plain_function(function)
    source = source_of(function)
    node = source.node
    block, marker = _find_block(source, is_marker)
    check_kind(source)
    at = node.body.index(block)
    _check_block(source, block)
    parameters = [each.arg for each in all_arguments(node.args)]
    first = part(node, node.args, block.body)
    last = part(node, node.args, [*_declared(block), *node.body[at + 1 :]] or [ast.Pass()])
    in_block, in_body = scope_of(source, first), scope_of(source, last)
    read = in_body.used | {each.id for each in _in_scope(last.body) if _deletes(each)}
    _check_flow(source, block, in_block, in_body, parameters)
    sees_all = any(map(_sees_variables, _in_scope(node.body[at + 1 :])))
    keys = tuple(name for name in parameters if name in in_block.used)
    needed = in_block.bound if sees_all else in_block.bound & read
    names = tuple(sorted(needed))
    sure = _surely_bound(block, in_block)
    kept = [name for name in parameters if name not in keys or sees_all or (name in read and name not in sure)]
    context = context_half(source, block.body, keys, names, sure)
    body = body_half(source, _declared(block), node.body[at + 1 :], block, kept, names, sure)
    return Split(function, context, body, keys, names, marker)


# --- what can be split


def plain_function(function: Any) -> types.FunctionType:
    """The function, if it is one that Python code was compiled to."""
    name = getattr(function, "__qualname__", None) or repr(function)
    if not isinstance(function, types.FunctionType):
        raise SplitError(name, "", 0, f"it is no function of Python code, but {type(function).__name__}.")
    code = function.__code__
    reason = None
    if function.__name__ == "<lambda>":
        reason = "a lambda has no room for a block. Write a function, or give its context: context_app(context=...)."
    elif code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        reason = "it is asynchronous. Write it as a plain function, which may use asyncio.run."
    elif hasattr(function, "__wrapped__"):
        reason = (
            "another decorator has wrapped it, and its block is out of sight. Write @context_app below that decorator."
        )
    if reason is not None:
        raise SplitError(name, code.co_filename, code.co_firstlineno, reason)
    return function


def check_kind(source: Source) -> None:
    """Refuse methods, and functions whose values do not come at once.

    Raises
    ------
    SplitError
    """
    decorators = {each.id for each in source.node.decorator_list if isinstance(each, ast.Name)}
    if source.class_name is not None and "staticmethod" not in decorators:
        raise source.refusal(
            f"it is a method of {source.class_name}, and an app does not know on what it is called. Write a function, "
            "or put @staticmethod above @context_app."
        )


def _find_block(source: Source, is_marker: Callable[[object], bool]) -> tuple[ast.With, Any]:
    node = source.node
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    found = [
        (each, item)
        for each in _statements(node.body)
        if isinstance(each, ast.With | ast.AsyncWith)
        for item in each.items
        if _is_marked(source, item.context_expr, is_marker)
    ]
    if not found:
        raise source.refusal(
            "it has no `with context:` block. Begin it with one, or give its context: @context_app(context=...)."
        )
    block, item = found[0]
    if len(found) > 1:
        raise source.refusal(
            "it has more than one `with context:` block. Put all of the set-up into the first.", found[1][0]
        )
    if block is not body[0]:
        raise source.refusal(
            "`with context:` must be its first statement, after the docstring: what stands before it runs with every "
            "call, and the block does not.",
            block,
        )
    if not isinstance(block, ast.With) or len(block.items) > 1 or item.optional_vars is not None:
        raise source.refusal("the block is opened by `with context:` or `with context(...):` alone.", block)
    return block, _marker(source, item.context_expr)


def _is_marked(source: Source, expression: ast.expr, is_marker: Callable[[object], bool]) -> bool:
    """Whether an expression is the marker, or a call of it."""
    return is_marker(_found(source, expression.func if isinstance(expression, ast.Call) else expression))


def _found(source: Source, expression: ast.expr) -> Any:
    """What a dotted name stands for; None if it is none."""
    try:
        match expression:
            case ast.Name(id=name):
                code = source.function.__code__
                return None if name in (*code.co_varnames, *code.co_cellvars) else source.value_of(name)
            case ast.Attribute(value=ast.Name() | ast.Attribute() as inner, attr=name):
                module = _found(source, inner)
                return getattr(module, name, None) if isinstance(module, types.ModuleType) else None
    except NameError:
        return None
    return None


def _marker(source: Source, expression: ast.expr) -> Any:
    """The marker itself, evaluated where the function is made into an app."""
    tree = ast.fix_missing_locations(ast.Expression(expression))
    code = syntax.compile_tree(tree, source.function.__code__.co_filename, "eval")
    names = {}
    for name in code.co_names:
        try:
            names[name] = source.value_of(name)
        except NameError:
            continue
    try:
        return eval(code, {**source.function.__globals__, **names})
    except NameError as error:
        raise source.refusal(
            f"the options of its block are taken when the app is made, and {error}: they cannot use its parameters.",
            expression,
        ) from None
    except ConfigurationError as error:
        raise source.refusal(f"the options of its block: {error}", expression) from None


def _check_block(source: Source, block: ast.With) -> None:
    """Refuse statements that are no part of a set-up."""
    for each in _in_scope(block.body):
        match each:
            case ast.Return():
                reason = "a `return` in its block would end the call before it has begun. Put it below the block."
            case ast.Yield() | ast.YieldFrom():
                reason = "a `yield` in its block: register what is to run at the end by context.cleanup(function)."
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                reason = "its block is asynchronous. Use asyncio.run in it."
            case ast.Nonlocal(names=names):
                reason = (
                    f"its block binds {', '.join(names)} of the function around it, which is not there on a worker."
                )
            case ast.Call(func=ast.Name(id=name)) if _sees_variables(each):
                reason = f"{name}() in its block sees other variables than in the whole function."
            case _:
                continue
        raise source.refusal(reason, each)
    check_gives_at_once(source)


def check_gives_at_once(source: Source) -> None:
    """Refuse generator functions.

    Raises
    ------
    SplitError
    """
    if not source.function.__code__.co_flags & inspect.CO_GENERATOR:
        return
    for each in _in_scope(source.node.body):
        if isinstance(each, ast.Yield | ast.YieldFrom):
            raise source.refusal(
                "it is a generator function, whose values cannot come back one by one. Return a list.", each
            )


def _check_flow(source: Source, block: ast.With, first: Scope, last: Scope, parameters: Sequence[str]) -> None:
    """Refuse variables that block and body would share: what one binds later, the other would not see."""
    private = f"_{(source.class_name or '').lstrip('_')}__"
    hidden = sorted(name for name in (first.bound | last.bound | first.used) if name.startswith(private))
    if source.class_name is not None and hidden:
        raise source.refusal(f"its variable {hidden[0]} has a private name. Give it another.", block)
    late = sorted((first.used & last.bound) - first.bound - set(parameters) - first.of_module - last.of_module)
    if late:
        raise source.refusal(f"its block uses {', '.join(late)}, which only the body binds.", block)
    unbound = sorted(_deleted(block.body) & set(parameters))
    if unbound:
        raise source.refusal(f"its block deletes the parameter {', '.join(unbound)}.", block)
    shared = sorted((first.kept & last.bound) | (first.kept & last.bound_inside))
    if shared:
        raise source.refusal(
            f"a function in its block uses {', '.join(shared)}, which the body binds anew; it would not see that. Give "
            "one of them another name.",
            block,
        )
    changed = sorted(first.bound_inside & (last.used | last.bound))
    if changed:
        raise source.refusal(
            f"a function in its block binds {', '.join(changed)}, and the body would not see that. Keep it in an "
            "object.",
            block,
        )
    declared = sorted((last.of_module & (first.bound | (first.used & set(parameters)))) - first.of_module)
    if declared:
        raise source.refusal(f"its body declares {', '.join(declared)} to be global, and its block does not.", block)


# --- what is in a statement


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    return (each for each in _in_scope(body) if isinstance(each, ast.stmt))


def _in_scope(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """All that is in some statements, but for what is in functions and classes there; in the order of the text."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        each = waiting.pop()
        yield each
        if not isinstance(each, _SCOPES):
            waiting += reversed(list(ast.iter_child_nodes(each)))


def _deletes(each: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(each, ast.Name) and isinstance(each.ctx, ast.Del)


def _deleted(body: Sequence[ast.stmt]) -> set[str]:
    """Names that some statements unbind."""
    found = {each.id for each in _in_scope(body) if _deletes(each)}
    return found | {each.name for each in _in_scope(body) if isinstance(each, ast.ExceptHandler) and each.name}


def _surely_bound(block: ast.With, scope: Scope) -> frozenset[str]:
    """Variables that each run of a block has bound at its end: statements at its top have, as they all have run."""
    found: set[str] = set()
    for statement in block.body:
        match statement:
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign(value=ast.expr()):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for each in targets:
                    names = (at for at in ast.walk(each) if isinstance(at, ast.Name))
                    found |= {at.id for at in names if isinstance(at.ctx, ast.Store)}
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {alias.asname or alias.name.partition(".")[0] for alias in names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.With(items=items) if all(isinstance(item.optional_vars, ast.Name | None) for item in items):
                found |= {item.optional_vars.id for item in items if isinstance(item.optional_vars, ast.Name)}
            case _:
                pass
    return frozenset(found & scope.bound) - _deleted(block.body)


def _sees_variables(each: ast.AST) -> bool:
    """Whether it is a call that may read any variable of the function that it is in."""
    match each:
        case ast.Call(func=ast.Name(id="locals")):
            return True
        case ast.Call(func=ast.Name(id="vars" | "dir"), args=given):
            return not given
        case ast.Call(func=ast.Name(id="eval" | "exec"), args=given, keywords=named):
            return len(given) + len(named) < 2
    return False


def _declared(block: ast.With) -> list[ast.stmt]:
    """Declarations of a block, which hold in the whole function."""
    names = [name for each in _in_scope(block.body) if isinstance(each, ast.Global) for name in each.names]
    return [ast.copy_location(ast.Global(names=names), block)] if names else []
