"""How a file says `context` and `context_app`, or what it must import to say so. Nothing is read or run here."""

from __future__ import annotations

import ast
import collections
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

PACKAGE = "parsl_context"


@dataclass(frozen=True)
class Spelling:
    """How a file says the names of this package.

    Attributes
    ----------
    context, context_app : str
        As they are written.
    imported : tuple of str
        Names that it must import from the package to say so.
    imports_package : bool
        Whether it must import the package itself.
    """

    context: str
    context_app: str
    imported: tuple[str, ...]
    imports_package: bool


def spelling_in(
    tree: ast.Module, line: int, variables: Container[str], taken: Container[str], *, says_app: bool
) -> Spelling | None:
    """How a function says the names; None if each way to do so has another meaning there.

    Parameters
    ----------
    tree
        The file.
    line
        Where the function begins: what is imported later is not there yet.
    variables
        Names that mean something else within the function.
    taken
        Names that mean something else in the file, as far as was seen when it was loaded.
    says_app
        Whether `context_app` is to be said as well; it is said outside of the function.
    """
    bound = collections.Counter(_bound(tree.body))
    above = [each for each in tree.body if each.lineno < line]
    known = _known(above)
    package = _package_in(above)
    needed: list[str] = []
    needs_package = False
    said = {}
    for name, hidden in (("context", variables), ("context_app", ())):
        if name == "context_app" and not says_app:
            said[name] = ""
            continue
        here = known.get(name)
        if here is not None and bound[here] == 1 and here not in hidden:
            said[name] = here
        elif package is not None and (bound[package] == 1 or needs_package) and package not in hidden and not known:
            said[name] = f"{package}.{name}"
        elif not bound[name] and name not in hidden and name not in taken:
            said[name] = name
            needed.append(name)
        else:
            if package is None or bound[package] > 1:
                package, needs_package = PACKAGE, True
            if package in hidden or package in taken or (needs_package and bound[PACKAGE] > _imported(tree)):
                return None
            said[name] = f"{package}.{name}"
    return Spelling(said["context"], said["context_app"], tuple(needed), needs_package)


def imports_of_package(tree: ast.Module) -> list[ast.stmt]:
    """The statements at the top of a file that import from this package."""
    return [each for each in tree.body if _is_from(each) or _packages(each)]


def _known(above: Sequence[ast.stmt]) -> dict[str, str]:
    """Names of this package that are imported, and what they are called here."""
    found = {}
    for each in above:
        if isinstance(each, ast.ImportFrom) and _is_from(each):
            found.update({alias.name: alias.asname or alias.name for alias in each.names})
    return found


def _package_in(above: Sequence[ast.stmt]) -> str | None:
    """What the package itself is called here."""
    return next((name for each in above for name in _packages(each)), None)


def _packages(node: ast.stmt) -> list[str]:
    if not isinstance(node, ast.Import):
        return []
    return [alias.asname or alias.name for alias in node.names if alias.name == PACKAGE]


def _imported(tree: ast.Module) -> int:
    """How often the package is imported at the top of a file under its own name, by itself or for a module of it."""
    names = (alias for each in tree.body if isinstance(each, ast.Import) for alias in each.names if not alias.asname)
    return sum(alias.name.partition(".")[0] == PACKAGE for alias in names)


def _is_from(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == PACKAGE and not node.level


def _bound(body: Sequence[ast.AST]) -> Iterator[str]:
    """Names that a file binds, each time that it does so; those of functions only where they are declared global."""
    for each in body:
        match each:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                yield from (
                    declared for inner in ast.walk(each) if isinstance(inner, ast.Global) for declared in inner.names
                )
            case ast.Lambda():
                pass
            case _:
                if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
                    yield each.id
                if isinstance(each, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and each.name:
                    yield each.name
                yield from _bound(list(ast.iter_child_nodes(each)))
