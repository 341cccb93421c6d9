"""What importing a module makes, as its source says: to tell what the user's process has bound since.

Modules travel as files, and a worker imports them. What the script has changed in a module after it was imported, as
``settings.DEBUG = True``, is not in its file. A name counts as bound anew if

- its source binds it once, to a number, a text, None or a tuple of such, and no code that importing runs binds it, and
  it stands for something else now, or
- its source does not bind it at all, or
- it stood for another object when the module was looked at first.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content import syntax
from parsl_context.content.bindings import ANY, is_plain, literals_of, names_bound, names_made_by_code


@dataclass(frozen=True)
class Static:
    """What is known of one module, as it was loaded.

    Attributes
    ----------
    spec : object
        That it was loaded with; another one means that it was loaded anew.
    simple : frozenset
        Names that are bound to literals, whatever code makes of them.
    literals : dict
        Values of those that code which importing runs does not bind.
    bound : frozenset
        Names that the source binds.
    is_open : bool
        Whether it may bind others: that cannot be told.
    first : dict
        What each name stood for when it was looked at first.
    """

    spec: Any
    simple: frozenset[str] = frozenset()
    literals: dict[str, Any] = field(default_factory=dict)
    bound: frozenset[str] = frozenset()
    is_open: bool = True
    first: dict[str, Any] = field(default_factory=dict)

    def is_bound_anew(self, name: str, value: object) -> bool:
        """Whether a name of the module stands for what importing it does not make."""
        if name in self.literals:
            return not _same(value, self.literals[name])
        if name not in self.bound and (not self.is_open or name not in self.first):
            return True
        return self.first.get(name, value) is not value


_known: dict[str, Static] = {}


def static_of(name: str) -> Static | None:
    """What importing a module makes; None if it is not loaded."""
    module = sys.modules.get(name)
    if not isinstance(module, types.ModuleType):
        return None
    found = _known.get(name)
    if found is None or found.spec is not module.__spec__:
        found = _known[name] = _read(module)
    return found


def bound_anew(name: str) -> dict[str, Any]:
    """Names of a module that stand for what importing it does not make, and what they stand for."""
    static = static_of(name)
    if static is None:
        return {}
    names = [(each, value) for each, value in list(vars(sys.modules[name]).items()) if _counts(each, value)]
    return {each: value for each, value in names if static.is_bound_anew(each, value)}


def is_of_file(module: str, place: str) -> bool:
    """Whether importing a module makes what stands at a place in it now."""
    static = static_of(module)
    name = place.partition(".")[0]
    return static is None or not static.is_bound_anew(name, vars(sys.modules[module]).get(name))


def _counts(name: str, value: object) -> bool:
    """Whether a name is the user's. Python binds names with underscores, and modules in their package."""
    return name.isidentifier() and not (name.startswith("__") and name.endswith("__")) and not _is_part(name, value)


def _is_part(name: str, value: object) -> bool:
    return isinstance(value, types.ModuleType) and value.__name__.rpartition(".")[2] == name


def _read(module: types.ModuleType) -> Static:
    first = {name: value for name, value in vars(module).items() if _counts(name, value)}
    try:
        source = importlib.util.decode_source(_source_of(module))
        body = syntax.parse(source).body
    except (OSError, SyntaxError, ValueError, TypeError):
        return Static(module.__spec__, first=first)
    bound = names_bound(body)
    simple, made = literals_of(body), names_made_by_code(body)
    literals = {name: value for name, value in simple.items() if name not in made}
    first = {name: value for name, value in first.items() if name not in literals}
    return Static(module.__spec__, frozenset(simple), literals, frozenset(bound), is_open=ANY in bound, first=first)


def _source_of(module: types.ModuleType) -> bytes:
    with open(str(module.__file__), "rb") as file:
        return file.read()


def _same(value: object, literal: object) -> bool:
    return value is literal or (type(value) is type(literal) and is_plain(value) and repr(value) == repr(literal))
