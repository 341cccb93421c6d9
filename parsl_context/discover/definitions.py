"""What the script, a notebook or a test function defines, as content: each definition once, each name when it changes.

A function of the script uses names of it, whose values may be functions, and so on. `Definitions.header` follows all
that from one pickle on. A name counts by the object that it stands for: when that is another one, its content travels
anew; an object that was changed in place does not.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import operator
import pickle
import sys
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content import space as there
from parsl_context.content.carried import Binding, Header
from parsl_context.content.carrying import Needs, carry, carry_slowly
from parsl_context.content.digests import digest_bytes
from parsl_context.content.modules import Home, home_of
from parsl_context.content.space import Id, space
from parsl_context.discover.project import Project
from parsl_context.errors import ContextSerializationError
from parsl_context.wire.messages import Digest

# Classes that are kept for the sake of results that are still to come; functions may go at once.
_CLASSES_KEPT = 4096
_ABSENT = object()
_ALL_ABSENT = itertools.repeat(_ABSENT)


@dataclass(frozen=True)
class Item:
    """Content of a definition or of the value of a name."""

    data: bytes
    digest: Digest
    needs: Needs


@dataclass(frozen=True)
class _Bound:
    value: Any
    version: int
    item: Item


@dataclass(frozen=True)
class Watch:
    """What a header was made of, to see at a glance whether that is still so."""

    names: tuple[tuple[dict[str, Any], tuple[str, ...], tuple[Any, ...]], ...]
    modules: tuple[str, ...]
    specs: tuple[Any, ...]

    @classmethod
    def of(
        cls, names: tuple[tuple[dict[str, Any], tuple[str, ...], tuple[Any, ...]], ...], modules: Iterable[str]
    ) -> Watch:
        """Watch names of namespaces, with the values that they have, and modules as they are loaded now."""
        modules = tuple(modules)
        return cls(names, modules, tuple(map(_spec_of, modules)))

    def __bool__(self) -> bool:
        return bool(self.names or self.modules)

    def is_current(self) -> bool:
        """Whether all names stand for the same objects, and no module was loaded again."""
        for namespace, names, values in self.names:
            if not all(map(operator.is_, map(namespace.get, names, _ALL_ABSENT), values)):
                return False
        return not self.modules or all(map(operator.is_, map(_spec_of, self.modules), self.specs))


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

    @property
    def size(self) -> int:
        """Bytes of all of it. [bytes]"""
        return len(self.data) + sum(map(len, self.content.values()))

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
    names: dict[tuple[str, str], _Bound] = field(default_factory=dict)
    absent: set[tuple[str, str]] = field(default_factory=set)  # names that stand for nothing yet
    modules: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)


class Definitions:
    """Definitions of this process. Thread-safe; no lock is held while code of the user's runs."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._items: dict[Id, Item] = {}
        self._bound: dict[tuple[str, str], _Bound] = {}
        self._versions = itertools.count(1)
        self._classes: OrderedDict[Id, type] = OrderedDict()
        self._lock = threading.Lock()

    def package(self, needs: Needs) -> Package | None:
        """The header of what a pickle needs, with its content; None if it needs nothing.

        Raises
        ------
        ContextSerializationError
            If something cannot be pickled.
        CarriedCodeError
            If a module of the user's cannot be carried.
        """
        if not needs:
            return None
        walk = self._walk(needs)
        tree, files, modules = self._project.tree(walk.modules)
        texts = {name: text for name in walk.sources if (text := "".join(linecache.getlines(name)))}
        sources = {name: digest_bytes(text.encode("utf-8", "surrogatepass")) for name, text in texts.items()}
        if not (walk.definitions or walk.names or walk.absent or tree or modules):
            return None
        namespaces = {name for name, _ in walk.names} | {self._namespace_of(each) for each in walk.definitions}
        content = dict(files)
        content |= {sources[name]: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
        content |= {item.digest: item.data for item in walk.definitions.values()}
        content |= {bound.item.digest: bound.item.data for bound in walk.names.values()}
        tree_digest = None
        if tree is not None:
            data = pickle.dumps(tree, protocol=5)
            tree_digest = digest_bytes(data)
            content[tree_digest] = data
        header = Header(
            definitions={name: item.digest for name, item in walk.definitions.items()},
            bindings=tuple(
                Binding(namespace, name, bound.version, bound.item.digest)
                for (namespace, name), bound in _in_order(walk)
            ),
            namespaces={name: _facts(name) for name in sorted(namespaces) if home_of(name) is Home.NAMESPACE},
            sources=sources,
            tree=tree_digest,
        )
        data = pickle.dumps(header, protocol=5)
        packages = () if tree is None else tree.origins.keys()
        watch = self._watch(walk, modules)
        names = walk.names.keys() | walk.absent
        return Package(digest_bytes(data), data, content, watch, walk.definitions.keys(), names, packages)

    def _walk(self, needs: Needs) -> _Walk:
        walk = _Walk()
        waiting = [needs]
        while waiting:
            found = waiting.pop()
            walk.modules |= found.modules
            walk.sources |= found.sources
            for name in found.definitions - walk.definitions.keys():
                item = walk.definitions[name] = self._definition(name)
                waiting.append(item.needs)
                waiting.append(Needs(names=_name_of(name)))
            for place in found.names - walk.names.keys():
                bound = self._binding(*place)
                if bound is None:
                    walk.absent.add(place)
                else:
                    walk.names[place] = bound
                    waiting.append(bound.item.needs)
            for namespace in {name for name, _ in found.names}:
                package = vars(there.module_here(namespace)).get("__package__")
                if package:
                    walk.modules.add(str(package))  # for relative imports
        return walk

    def _definition(self, name: Id) -> Item:
        item = self._items.get(name)
        if item is not None:
            return item
        value = space.resolve(name)
        item = self._pack(value, name, getattr(value, "__qualname__", type(value).__qualname__))
        with self._lock:
            self._items[name] = item
            if isinstance(value, type):
                self._classes[name] = value
                if len(self._classes) > _CLASSES_KEPT:
                    self._classes.popitem(last=False)
        owners: list[Any] = [*space.owners(name)] or [value]
        for owner in owners:
            with contextlib.suppress(TypeError):  # or it stays
                weakref.finalize(owner, self._items.pop, name, None).atexit = False
        return item

    def _binding(self, namespace: str, name: str) -> _Bound | None:
        value = vars(there.module_here(namespace)).get(name, _ABSENT)
        if value is _ABSENT:
            return None
        found = self._bound.get((namespace, name))
        if found is not None and found.value is value:
            return found
        if type(value) is types.FunctionType and home_of(value.__module__) is Home.NAMESPACE:
            space.identify(value)  # also if it is a lambda: everybody knows it by this name
        item = self._pack(value, None, f"The global {name!r}")
        with self._lock:
            made = self._bound[namespace, name] = _Bound(value, next(self._versions), item)
        return made

    @staticmethod
    def _pack(value: object, root: Id | None, what: str) -> Item:
        try:
            data, needs = carry(value, defines=True, root=root)
        except Exception as error:
            if root is not None:
                raise ContextSerializationError(what, error) from error
            try:
                data, needs = carry_slowly(value, defines=True)
            except Exception:
                raise ContextSerializationError(f"{what}, of type {type(value).__qualname__},", error) from error
        return Item(data, digest_bytes(data), needs)

    @staticmethod
    def _namespace_of(name: Id) -> str:
        return str(getattr(space.find(name), "__module__", there.MAIN))

    @staticmethod
    def _watch(walk: _Walk, modules: Iterable[str]) -> Watch:
        by_namespace: dict[str, list[str]] = {}
        for namespace, name in (*walk.names, *walk.absent):
            by_namespace.setdefault(namespace, []).append(name)
        names = tuple(
            (
                vars(there.module_here(place)),
                tuple(found),
                tuple(walk.names[place, name].value if (place, name) in walk.names else _ABSENT for name in found),
            )
            for place, found in by_namespace.items()
        )
        return Watch.of(names, modules)


@functools.cache
def definitions() -> Definitions:
    """Those of this process, for all its executors."""
    return Definitions(Project())


def _in_order(walk: _Walk) -> Iterator[tuple[tuple[str, str], _Bound]]:
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
    module = there.module_here(namespace) if isinstance(namespace, str) else None
    return {(str(namespace), name)} if module is not None and vars(module).get(name) is value else set()


def _spec_of(name: str) -> Any:
    return getattr(sys.modules.get(name), "__spec__", None)


def _facts(namespace: str) -> dict[str, str | None]:
    names = vars(there.module_here(namespace))
    return {
        name: names[name]
        for name in ("__file__", "__package__", "__doc__")
        if isinstance(names.get(name), str | types.NoneType) and name in names
    }
