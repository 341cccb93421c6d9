"""From names of modules to the user's files, with what these import in turn, to distributions, and to what lacks."""

from __future__ import annotations

import ast
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from parsl_context.content.modules import Home, home_of
from parsl_context.discover.needs.code import Text, codes_in, imports_in, modules_in, texts_in
from parsl_context.discover.needs.data import Distribution, Lacking, UserModule, Where
from parsl_context.discover.needs.distributions import installed
from parsl_context.discover.needs.guards import guards_of
from parsl_context.discover.needs.reach import RUNTIME, Wanted
from parsl_context.discover.needs.sources import with_parents
from parsl_context.discover.project import Place, file_of, is_users

_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)


@dataclass
class Sorted:
    """What modules came to.

    Attributes
    ----------
    modules, distributions, lacking : dict
        By name.
    texts : list
        Texts in code of the user's modules, with their files.
    """

    modules: dict[str, UserModule] = field(default_factory=dict)
    distributions: dict[str, Distribution] = field(default_factory=dict)
    lacking: dict[str, Lacking] = field(default_factory=dict)
    texts: list[tuple[str, Text]] = field(default_factory=list)


def sort_modules(wanted: list[Wanted]) -> Sorted:
    """Where each module that is wanted is, and where those are that it wants."""
    walk = _Walk()
    walk.run(wanted)
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = Sorted()
        self._installed = installed()
        self._met: set[str] = set()  # names that were looked at, and are there

    def run(self, wanted: list[Wanted]) -> None:
        # The last is taken first: one that knows its line, so that the line is that of an import.
        waiting = [want for want in wanted if want.where is None]
        waiting += reversed([want for want in wanted if want.where is not None])
        while waiting:
            want = waiting.pop()
            others = want.guards.instead_of.get(want.imported.line, ())
            if not (others and all(map(_is_there, others))):
                waiting += reversed(list(self._take(want)))

    def _take(self, want: Wanted) -> Iterator[Wanted]:
        """Sort one, and give what it wants in turn."""
        name = want.imported.name
        names = [*with_parents(name)]
        for each in names:
            if not _is_there(each):
                if each == names[0] or names[0] in self.found.modules:  # libraries may make modules as they run
                    self._lack(want, each)
                return
            yield from self._sort(each, want.where)
        if name not in self.found.modules:
            return
        for part in _star(name) if want.imported.has_star else want.imported.parts:
            whole = f"{name}.{part}"
            if _find(whole) is not None:
                yield from self._sort(whole, want.where)
            elif not want.imported.has_star and not _may_bind(name, part):
                self._lack(want, whole)

    def _sort(self, name: str, where: Where | None) -> Iterator[Wanted]:
        top = name.partition(".")[0]
        if name in self._met or name == "__main__" or home_of(top) is Home.NAMESPACE:
            return  # what the last two define travels as content
        self._met.add(name)
        place = _find(name)
        if place is None:
            if home_of(name) is Home.CARRIED:
                reason = "it has no file of its own, so it cannot be carried: put it into a file, or install it"
                self.found.lacking[name] = Lacking(name, reason, wanted_by=where)
            return
        is_carried = is_users(top, place)
        if not is_carried:
            if _is_standard(name):
                return
            owners = self._installed.of_module(name, place.locations)
            for owner in owners:
                self._add_distribution(owner, top, where)
            # A package without `__init__.py` may be shared, and its parts say whose they are.
            if place.file is None or top in RUNTIME or any(not owner.is_editable for owner in owners):
                return
        self.found.modules[name] = UserModule(name, place.file, is_carried, where)
        if place.file is not None:
            yield from self._look_into(name, place, place.file, where)

    def _look_into(self, name: str, place: Place, file: str, where: Where | None) -> Iterator[Wanted]:
        """What a module of the user's wants."""
        if file.endswith(_COMPILED) and self.found.modules[name].is_carried:
            reason = f"it is compiled ({file}) and is not carried: install it where the workers run"
            self.found.lacking[name] = Lacking(name, reason, wanted_by=where)
        code = _code_of(place)
        if code is None:
            return
        texts = list(texts_in(code))
        self.found.texts += [(file, text) for text in texts]
        package = name if place.is_package else name.rpartition(".")[0]
        guards = guards_of(Path(file).read_bytes())
        for imported in (*imports_in(code, package), *modules_in(texts)):
            if imported.line not in guards.never:
                yield Wanted(imported, Where(file, imported.line), guards)

    def _add_distribution(self, found: Distribution, top: str, where: Where | None) -> None:
        known = self.found.distributions.get(found.name, replace(found, wanted_by=where))
        self.found.distributions[found.name] = replace(known, imports=tuple(sorted({*known.imports, top})))

    def _lack(self, want: Wanted, name: str) -> None:
        known = self.found.lacking.get(name)
        if known is None or (known.is_optional and not want.is_optional):
            reason = "it was not found: install it here and where the workers run, or put it beside the script"
            self.found.lacking[name] = Lacking(name, reason, want.is_optional, want.where)


def _is_there(name: str) -> bool:
    return sys.modules.get(name) is not None or _is_standard(name) or _find(name) is not None


def _find(name: str) -> Place | None:
    """Where a module lies; also if a finder of an editable distribution has to say it."""
    place = file_of(name)
    if place is not None or name in sys.modules or not all(part.isidentifier() for part in name.split(".")):
        return place
    if "." in name:
        return None
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, None)
        except (ImportError, AttributeError, ValueError):
            continue
        if spec is not None and spec.has_location and spec.origin is not None:
            parts = spec.submodule_search_locations
            return Place(name, spec.origin, is_package=parts is not None, locations=(spec.origin,))
    return None


def _is_standard(name: str) -> bool:
    """Whether the standard library has a module of this name, and nothing of the user's is before it."""
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return False
    place = file_of(top)
    return place is None or not is_users(top, place)


def _code_of(place: Place) -> types.CodeType | None:
    if place.file is None or not place.file.endswith((".py", ".pyw")):
        return None
    try:
        return compile(Path(place.file).read_bytes(), place.file, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return None


def _may_bind(module: str, name: str) -> bool:
    """Whether a module of the user's may have a name, as far as its source tells."""
    if name in vars(sys.modules[module]) if module in sys.modules else False:
        return True
    place = _find(module)
    code = None if place is None else _code_of(place)
    if code is None:
        return place is not None and place.file is not None  # nobody can tell
    mentioned = {each for inner in codes_in(code) for each in (*inner.co_names, *inner.co_varnames)}
    has_star = any(imported.has_star for imported in imports_in(code, module))
    return has_star or not mentioned.isdisjoint({name, "__getattr__", "globals", "exec", "setattr"})


def _star(module: str) -> tuple[str, ...]:
    """What `from module import *` gives, if the module says it."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        return tuple(each for each in getattr(loaded, "__all__", ()) if isinstance(each, str))
    place = _find(module)
    if place is None or place.file is None or not place.file.endswith(".py"):
        return ()
    try:
        body = ast.parse(Path(place.file).read_bytes()).body
        for node in body:
            match node:
                case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                    return tuple(each for each in ast.literal_eval(value) if isinstance(each, str))
    except (OSError, SyntaxError, ValueError, TypeError):
        return ()
    return ()
