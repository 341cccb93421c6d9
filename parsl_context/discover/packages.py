"""Headers: what some code needs, and what that needs, from one pickle on.

A function of the script uses names of it, whose values may be functions, and so on. What the script defines, and the
modules that it has loaded, come along with any code, because that may read files which the script has pickled.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content.carried import Binding, Header, Tree
from parsl_context.content.carrying import Needs
from parsl_context.content.digests import digest_bytes
from parsl_context.content.modules import Home, home_of
from parsl_context.content.space import MAIN, Id, module_here, space
from parsl_context.content.statics import static_of
from parsl_context.discover.definitions import Bound, Definitions, Item
from parsl_context.discover.project import Project
from parsl_context.discover.watching import ABSENT, Watch, observer
from parsl_context.wire.messages import Digest

_MAX_PACKAGES = 64


@dataclass(frozen=True)
class Package:
    """A header and its content, ready to be sent."""

    digest: Digest
    data: bytes
    content: Mapping[Digest, bytes]
    watch: Watch
    definitions: Set[Id]
    names: Set[tuple[str, str]]
    packages: Collection[str]  # top-level names of what the tree has
    files: Set[Digest]  # content of files of modules

    @property
    def size(self) -> int:
        """Bytes of it, but for modules, which others need as well. [bytes]"""
        return len(self.data) + sum(len(data) for digest, data in self.content.items() if digest not in self.files)

    def covers(self, needs: Needs) -> bool:
        """Whether something else needs nothing more."""
        return (
            needs.definitions <= self.definitions
            and needs.names <= self.names
            and all(name.partition(".")[0] in self.packages for name in needs.modules if home_of(name) is Home.CARRIED)
        )


@dataclass
class _Walk:
    """What was found on the way from one pickle to all that it needs."""

    definitions: dict[Id, Item] = field(default_factory=dict)
    names: dict[tuple[str, str], Bound] = field(default_factory=dict)
    absent: set[tuple[str, str]] = field(default_factory=set)  # names that stand for nothing yet
    modules: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)  # modules that the pickle itself names
    looked_at: set[str] = field(default_factory=set)  # modules whose names were looked at
    watched: list[tuple[dict[str, Any], str]] = field(default_factory=list)  # names of theirs

    def __bool__(self) -> bool:
        return bool(self.definitions or self.names or self.absent)


@dataclass(frozen=True)
class _Found:
    """All that one pickle needs."""

    sure: _Walk
    spare: _Walk  # what files may ask for which the script has pickled
    also: Set[str]  # modules that these may ask for
    tree: Tree | None
    files: Mapping[Digest, bytes]  # of the tree
    modules: Collection[str]  # to be looked at again: those that are needed, and those that nobody could import yet

    def __bool__(self) -> bool:
        return bool(self.sure or self.spare.names or self.tree or self.modules)

    @property
    def definitions(self) -> Mapping[Id, Item]:
        return self.spare.definitions | self.sure.definitions

    @property
    def bound(self) -> Iterator[Bound]:
        """Names with their values."""
        return itertools.chain(self.sure.names.values(), self.spare.names.values())

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """What is known of the files in which code of namespaces is written."""
        for name in self.sure.sources | self.spare.sources:
            text = "".join(linecache.getlines(name))
            if text:
                yield name, text

    @property
    def namespaces(self) -> list[str]:
        of_names = {namespace for namespace, _ in (*self.sure.names, *self.spare.names)}
        of_definitions = {str(getattr(space.find(name), "__module__", MAIN)) for name in self.definitions}
        return sorted(name for name in of_names | of_definitions if home_of(name) is Home.NAMESPACE)


class Packager:
    """Finds what pickles of this process need. Thread-safe; no lock is held while code of the user's runs."""

    def __init__(self) -> None:
        self._definitions = Definitions()
        self._project = Project()
        self._packages: OrderedDict[Any, Package] = OrderedDict()  # many pickles need the same

    def package(self, needs: Needs, *, is_code: bool = True) -> Package | None:
        """The header of what a pickle needs, with its content; None if it needs nothing.

        Parameters
        ----------
        is_code
            Code may read files that the script has pickled, and needs what the script defines, and the modules that it
            has loaded, for that.

        Raises
        ------
        ContextSerializationError
            If something cannot be pickled.
        CarriedCodeError
            If a module of the user's cannot be carried.
        """
        known = _defined_in_main() if is_code else frozenset()
        key = needs.key, is_code, known, len(sys.modules)
        package = self._packages.get(key)
        if package is None or not package.watch.is_current():
            package = self._make(needs, known, set(_modules_of_user()) if is_code else set())
            if package is not None:
                self._remember(key, package)
        return package

    def _remember(self, key: Any, package: Package) -> None:
        """Keep a package, and none that knows values which their names do not stand for any more."""
        for old in [old for old, each in list(self._packages.items()) if not each.watch.is_current()]:
            self._packages.pop(old, None)
        self._packages[key] = package
        if len(self._packages) > _MAX_PACKAGES:
            self._packages.popitem(last=False)

    def _make(self, needs: Needs, known: Set[str], also: Set[str]) -> Package | None:
        if not (needs or known or also):
            return None
        epoch = observer.epoch  # before anything is looked at
        found = self._find(needs, known, also)
        if not found:
            return None
        header, content = _sealed(found)
        data = pickle.dumps(header, protocol=5)
        observer.watch({name.partition(".")[0] for name in (*found.modules, *found.also)})
        return Package(
            digest=digest_bytes(data),
            data=data,
            content=content,
            watch=self._watch(found.sure, known, epoch if found.modules or found.also else None),
            definitions=found.sure.definitions.keys(),
            names=found.sure.names.keys() | found.sure.absent,
            packages=() if found.tree is None else found.tree.origins.keys(),
            files=frozenset(found.files),
        )

    def _find(self, needs: Needs, known: Set[str], also: Set[str]) -> _Found:
        """What a pickle needs, what files may ask for that the script defines, and the modules of all that."""
        sure, spare = _Walk(named=set(needs.modules)), _Walk()
        self._walk(sure, needs)
        self._walk(spare, Needs(names={(MAIN, name) for name in known}), beyond=sure)
        also = also | spare.modules
        while True:
            tree, files, modules = self._project.tree(sure.modules, also)
            more = self._bound_anew(sure, modules)
            if not more:
                return _Found(sure, spare, also, tree, files, modules)
            self._walk(sure, more)

    def _walk(self, walk: _Walk, needs: Needs, *, beyond: _Walk | None = None) -> None:
        """Find what a pickle needs, and what that needs.

        Parameters
        ----------
        beyond
            What is needed for sure. Then this is what may be needed besides, and what cannot be sent is left out;
            otherwise it is an error.
        """
        found_by = self._definitions
        is_strict = beyond is None
        sure = _Walk() if beyond is None else beyond
        waiting = [needs]
        while waiting:
            found = waiting.pop()
            walk.modules |= found.modules
            walk.sources |= found.sources
            for name in found.definitions - walk.definitions.keys() - sure.definitions.keys():
                item = found_by.definition(name) if is_strict else found_by.attempt(name, found_by.definition)
                if item is not None:
                    walk.definitions[name] = item
                    waiting += [item.needs, Needs(names=_name_of(name))]
            for place in found.names - walk.names.keys() - sure.names.keys():
                bound = found_by.binding(place) if is_strict else found_by.attempt(place, found_by.binding)
                if bound is None and place[1] not in vars(module_here(place[0])):
                    walk.absent.add(place)
                elif bound is not None:
                    walk.names[place] = bound
                    waiting.append(bound.item.needs)
            for namespace in {name for name, _ in found.names}:
                package = vars(module_here(namespace)).get("__package__")
                if package:
                    walk.modules.add(str(package))  # for relative imports

    def _bound_anew(self, walk: _Walk, modules: Collection[str]) -> Needs:
        """Note names of the user's modules that importing them does not make so; gives what their values need."""
        needs = Needs()
        for module in modules:
            if module in walk.looked_at or (static := static_of(module)) is None:
                continue
            walk.looked_at.add(module)
            names = vars(sys.modules[module])
            anew = self._definitions.bound_anew(static, module)
            for name in anew:
                bound = self._definitions.binding_of_module(module, name)
                if bound is not None:
                    walk.names[module, name] = bound
                    needs.update(bound.item.needs)
            # In modules that code names itself, functions may be defined anew, as in a test.
            watched = {*static.simple, *anew, *(static.first if module in walk.named else ())}
            walk.watched += [(names, name) for name in watched]
        return needs

    @staticmethod
    def _watch(walk: _Walk, known: Set[str], epoch: int | None) -> Watch:
        places = {(MAIN, name) for name in known}
        places |= {place for place in (*walk.names, *walk.absent) if place[0] not in walk.looked_at}
        watched = [(vars(module_here(namespace)), name) for namespace, name in places]
        watched += walk.watched
        return Watch(tuple((names, name, names.get(name, ABSENT)) for names, name in watched), epoch)


@functools.cache
def packager() -> Packager:
    """That of this process, for all its executors."""
    return Packager()


def _sealed(found: _Found) -> tuple[Header, dict[Digest, bytes]]:
    """What was found as a header, and the content that it names."""
    content = dict(found.files)

    def put(value: object) -> Digest:
        data = pickle.dumps(value, protocol=5)
        digest = digest_bytes(data)
        content[digest] = data
        return digest

    # Texts are pickled, or that of a script which is also a module would be content that is sent as a file.
    sources = {name: put(text) for name, text in found.texts}
    content |= {item.digest: item.data for item in found.definitions.values()}
    content |= {bound.item.digest: bound.item.data for bound in found.bound}
    has_tree = found.tree is not None
    header = Header(
        definitions={name: item.digest for name, item in found.definitions.items()},
        bindings=_bindings(found.sure),
        spare=_bindings(found.spare),
        namespaces={name: _facts(name) for name in found.namespaces},
        sources=sources,
        tree=put(found.tree) if has_tree else None,
        packages=frozenset(name.partition(".")[0] for name in found.modules) if has_tree else frozenset(),
    )
    return header, content


def _bindings(walk: _Walk) -> tuple[Binding, ...]:
    found = _in_order(walk)
    return tuple(Binding(place[0], place[1], bound.version, bound.item.digest) for place, bound in found)


def _in_order(walk: _Walk) -> Iterator[tuple[tuple[str, str], Bound]]:
    """Names, each after those that code in its value may use as it is unpickled. Of a circle, functions come first."""
    done: set[Any] = set()
    for first in sorted(walk.names, key=lambda place: (callable(walk.names[place].value), place)):
        waiting: list[tuple[Any, bool]] = [(first, False)]
        while waiting:
            found, is_last = waiting.pop()
            if is_last and found in walk.names:
                yield found, walk.names[found]
            if is_last or found in done:
                continue
            done.add(found)
            item = walk.names[found].item if found in walk.names else walk.definitions.get(found)
            if item is not None:
                waiting.append((found, True))
                waiting += [(each, False) for each in sorted(item.needs.names)]
                waiting += [(each, False) for each in sorted(item.needs.definitions)]


def _name_of(definition: Id) -> set[tuple[str, str]]:
    """The name that a definition stands under in its namespace: pickle looks for it there."""
    value = space.find(definition)
    namespace, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    module = module_here(namespace) if isinstance(namespace, str) else None
    return {(str(namespace), name)} if module is not None and vars(module).get(name) is value else set()


def _defined_in_main() -> frozenset[str]:
    """Names of classes and functions that the script defines."""
    names = list(vars(module_here(MAIN)).items())
    return frozenset(
        name
        for name, value in names
        if isinstance(value, type | types.FunctionType) and (value.__module__, value.__qualname__) == (MAIN, name)
    )


def _modules_of_user() -> list[str]:
    """Modules in files that workers cannot be expected to have."""
    return [name for name in list(sys.modules) if home_of(name) is Home.CARRIED]


def _facts(namespace: str) -> dict[str, str | None]:
    names = vars(module_here(namespace))
    return {
        name: names[name]
        for name in ("__file__", "__package__", "__doc__")
        if isinstance(names.get(name), str | types.NoneType) and name in names
    }
