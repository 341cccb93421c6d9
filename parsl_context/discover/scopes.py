"""What a part of a function binds and reads: the compiler's own view of its scopes (`symtable`)."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass

from parsl_context.discover.sources import OUTER, Source

_AT_ONCE = {"listcomp", "setcomp", "dictcomp"}  # scopes that have ended before the next statement


@dataclass(frozen=True)
class Scope:
    """Names in a part of a function, private names of classes as they are written in compiled code.

    Attributes
    ----------
    bound : frozenset
        Names that it binds, or unbinds.
    used : frozenset
        Names that it reads, or that functions in it read, whoever binds them.
    kept : frozenset
        Names that functions in it read, which may be called when it has ended.
    bound_inside : frozenset
        Variables of it that functions in it bind.
    of_module : frozenset
        Names that it declares to be global.
    """

    bound: frozenset[str]
    used: frozenset[str]
    kept: frozenset[str]
    bound_inside: frozenset[str]
    of_module: frozenset[str]


def scope_of(source: Source, part: ast.FunctionDef) -> Scope:
    """The names of a part of a function."""
    text = ast.unparse(source.module_of(part))
    table = symtable.symtable(text, source.function.__code__.co_filename, "exec")
    for name in _path(source, part):
        table = next(child for child in table.get_children() if child.get_name() == name)
    symbols = {symbol.get_name(): symbol for symbol in table.get_symbols()}
    of_module = {name for name, symbol in symbols.items() if symbol.is_declared_global()}
    nested = [each for child in table.get_children() for each in _all(child)]
    free = {name for each in nested for name in _outside(each)}
    bound = {name for name, symbol in symbols.items() if symbol.is_assigned() or symbol.is_imported()}
    used = free | {name for name, symbol in symbols.items() if symbol.is_referenced()}
    inside = {
        symbol.get_name()
        for each in nested
        for symbol in each.get_symbols()
        if symbol.is_free() and symbol.is_assigned() and each.get_name() not in _AT_ONCE
    }
    return Scope(
        frozenset(bound - of_module),
        frozenset(used),
        frozenset(_kept(table)),
        frozenset(inside & symbols.keys()),
        frozenset(of_module),
    )


def _path(source: Source, part: ast.FunctionDef) -> list[str]:
    return [OUTER, *([source.class_name] if source.class_name is not None else []), part.name]


def _all(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _all(child)


def _kept(table: symtable.SymbolTable) -> set[str]:
    """Free variables of functions in a scope; of what runs at once, only those of functions in that."""
    found: set[str] = set()
    for child in table.get_children():
        if child.get_type() == "class" or child.get_name() in _AT_ONCE:
            found |= _kept(child)
        else:
            found |= _outside(child)
    return found


def _outside(table: symtable.SymbolTable) -> set[str]:
    """Names that a scope in a part reads of the scopes around it. What another part binds looks like a global here."""
    found = {symbol for symbol in table.get_symbols() if symbol.is_free() or symbol.is_global()}
    return {symbol.get_name() for symbol in found if not symbol.is_declared_global()}
