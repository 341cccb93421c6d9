"""Digests of content: what makes two contexts the same context.

A context is identified by what it would build, never by its name. Pickles alone do not serve: their bytes depend on
object identity and on the order of sets, and a function pickled by reference is only a name. So functions are digested
by their code, defaults, closure, attributes and, outside installed modules, the globals they use and the modules they
import; classes by their members; containers by their elements, dictionaries in their order; everything else by what
pickle would take apart (`parsl_context.content.taking_apart`).

Objects may know each other in any way. One that is met within itself is marked by how far out it is; one that is met
again is not looked into again, so the cost grows with the number of objects, not with that of the paths between them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parsl_context.content.atoms import ATOMS, is_flat, marked, marked_items
from parsl_context.content.cells import is_filled
from parsl_context.content.code_parts import Chain, CodeParts, Uses, parts_of
from parsl_context.content.modules import is_installed
from parsl_context.content.stacks import on_a_fresh_stack
from parsl_context.content.taking_apart import Apart, home_of, is_found_by_name, members_of
from parsl_context.errors import ParslContextError
from parsl_context.wire.messages import Digest

_SIZE_BYTES = 16
_DEPTH_OF_THREAD = 40  # objects within objects that surely fit into Python's default limit of 1000 frames
_MAX_DEPTH = 20_000  # an object that is taken apart into ever new ones ends here
_SMALL_BYTES = 1024  # to copy so much is quicker than another call

Escape = Callable[[object], "str | None"]


_NO_CONTENT_OF_MODULES = {
    "__builtins__",
    "__cached__",
    "__file__",
    "__loader__",
    "__path__",
    "__spec__",
    "__warningregistry__",
}
_HOLDERS = (dict, list, tuple, set, frozenset)
_HOLDING_MODULES = {"builtins", "collections", "functools", "types"}


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Digest of raw bytes."""
    return Digest(hashlib.blake2b(data, digest_size=_SIZE_BYTES).hexdigest())


def digest_content(value: object, escape: Escape | None = None) -> Digest:
    """Digest of a value's content, the same in every process that runs the same code.

    Parameters
    ----------
    value
        Anything that cloudpickle takes.
    escape
        Asked for each object met, numbers and texts excepted: a text that stands for it, or None. Where objects are
        nested deeply it is asked from another thread, with the context variables of this one.

    Raises
    ------
    Exception
        What an object raises that cannot be pickled. Where only code uses it, by the name of a global or as a member of
        a class, it counts by its kind instead: a lock does no harm in threads of one process.

    Notes
    -----
    Whether equal parts are one object or several does not count, except for objects that hold themselves.
    """
    try:
        return _digest(value, escape)
    except RecursionError:  # the caller has little room left
        digest: Digest = on_a_fresh_stack(lambda: _digest(value, escape))
        return digest


def _digest(value: object, escape: Escape | None) -> Digest:
    hasher = _ContentHasher(escape, Apart(), {}, _Met())
    hasher.add(value)
    return Digest(hasher.hexdigest())


class _Met:
    """Objects that have been digested, with the text that stands for each.

    Attributes
    ----------
    texts
        By the id of the object.
    lenient
        Ids of those in which something counted by its kind because it cannot be pickled.
    """

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.lenient: set[int] = set()
        self._cyclic = 0
        self._alive: list[object] = []  # an id is valid while its object lives

    def add(self, value: object, digest: str, *, is_cyclic: bool, is_lenient: bool) -> None:
        # The digest of an object that holds itself says how far out it was met; a number identifies it.
        if is_cyclic:
            self._cyclic += 1
        self.texts[id(value)] = f"again {self._cyclic}" if is_cyclic else digest
        if is_lenient:
            self.lenient.add(id(value))
        else:
            self.lenient.discard(id(value))
        self._alive.append(value)


class _ContentHasher:
    """Digest of one object, fed part by part.

    Parameters
    ----------
    active
        Objects that we are inside of, by id, with their depth.
    met
        Objects that have been digested before.
    may_skip
        Whether what cannot be pickled counts by its kind.
    """

    def __init__(
        self, escape: Escape | None, apart: Apart, active: dict[int, int], met: _Met, *, may_skip: bool = False
    ) -> None:
        self._hash = hashlib.blake2b(digest_size=_SIZE_BYTES)
        self._escape = escape
        self._apart = apart
        self._active = active
        self._met = met
        self._may_skip = may_skip
        self._has_skipped = False
        self._is_cyclic = False

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: object) -> None:
        kind = type(value)
        atom = ATOMS.get(kind)
        if atom is not None:
            self._mark(kind.__name__, atom(value))
        elif self._escape is not None and (text := self._escape(value)) is not None:
            self._mark_text("escape", text)
        elif id(value) in self._active:
            self._is_cyclic = True
            self._mark_text("cycle", str(len(self._active) - self._active[id(value)]))
        elif id(value) in self._met.texts and (self._may_skip or id(value) not in self._met.lenient):
            text = self._met.texts[id(value)]
            self._is_cyclic |= text.startswith("again")
            self._has_skipped |= id(value) in self._met.lenient
            self._mark_text("object", text)
        else:
            self._active[id(value)] = len(self._active)
            try:
                self._add_compound(value)
            finally:
                del self._active[id(value)]

    def _add_compound(self, value: object) -> None:
        if is_flat(value):
            self._add_flat(value)  # as quickly as it is found again
            return
        part = self._part(self._met)
        depth = len(self._active)
        if depth % _DEPTH_OF_THREAD:
            part._add_object(value)
        elif depth < _MAX_DEPTH:
            on_a_fresh_stack(lambda: part._add_object(value))
        else:
            raise RecursionError(f"more than {_MAX_DEPTH} objects lie within each other")
        self._take_over(part)
        digest = part.hexdigest()
        self._met.add(value, digest, is_cyclic=part._is_cyclic, is_lenient=part._has_skipped)
        self._mark_text("object", digest)

    def _part(self, met: _Met, *, may_skip: bool | None = None) -> _ContentHasher:
        skips = self._may_skip if may_skip is None else may_skip
        return _ContentHasher(self._escape, self._apart, self._active, met, may_skip=skips)

    def _take_over(self, part: _ContentHasher) -> None:
        self._is_cyclic |= part._is_cyclic
        self._has_skipped |= part._has_skipped

    def _add_object(self, value: Any) -> None:
        kind = type(value)
        if kind is list or kind is tuple:
            self._add_all(kind.__name__, value)
        elif kind is set or kind is frozenset:
            self._add_set(kind.__name__, value)
        elif kind is dict:
            self._add_dict("dict", value)
        else:
            self._add_made(value)

    def _add_made(self, value: object) -> None:
        for base in type(value).__mro__:  # what `isinstance` says of a proxy is what it stands for
            add = _WAYS.get(base)
            if add is not None:
                add(self, value)
                return
        self._add_reduced(value)

    def _add_flat(self, value: Any) -> None:
        marks = marked_items(value)
        self._mark(type(value).__name__, b"%d flat" % len(marks))
        self._hash.update(b"".join(marks))

    def _mark(self, kind: str, data: bytes) -> None:
        head = f"{kind}:{len(data)}:".encode()
        if len(data) < _SMALL_BYTES:
            self._hash.update(head + data)
        else:
            self._hash.update(head)
            self._hash.update(data)

    def _mark_text(self, kind: str, text: str) -> None:
        self._mark(kind, text.encode("utf-8", "surrogatepass"))

    def _add_all(self, kind: str, values: Any) -> None:
        self._mark(kind, b"%d" % len(values))
        for value in values:
            self.add(value)

    def _add_set(self, kind: str, values: Any) -> None:
        self._mark(kind, b"%d" % len(values))
        for data in sorted(map(self._by_itself, values)):
            self._mark("item", data)

    def _add_dict(self, kind: str, values: Mapping[Any, Any]) -> None:
        self._mark(kind, b"%d" % len(values))
        for key, value in values.items():
            self.add(key)
            self.add(value)

    def _by_itself(self, value: object) -> bytes:
        """What stands for an object by itself, to sort by: it must not depend on what was met before."""
        if type(value) in ATOMS:
            return marked(value)
        part = self._part(_Met())
        part.add(value)
        self._take_over(part)
        return part.hexdigest().encode()

    # --- code

    def _add_code(self, code: types.CodeType) -> None:
        self._mark("code", parts_of(code).steps)
        self._add_all("constants", code.co_consts)

    def _add_function(self, function: types.FunctionType) -> None:
        self._mark_text("function", f"{function.__module__}:{function.__qualname__}:{function.__name__}")
        code = function.__code__
        if is_found_by_name(function):
            self._mark("bytes", code.co_code)
            self._add_all("constants", code.co_consts)
            return
        self.add(code)
        parts = parts_of(code)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if is_filled(cell):
                self._add_used(cell.cell_contents, parts.free[name])
            else:
                self._mark("cell", b"empty")
        self._add_given("defaults", function.__defaults__)
        self._add_given("keyword defaults", function.__kwdefaults__)
        skipped_before, self._may_skip = self._may_skip, True
        try:
            self._add_surroundings(function, parts)
        finally:
            self._may_skip = skipped_before

    def _add_given(self, kind: str, values: Any) -> None:
        if values:
            self._mark(kind, b"")
            self.add(values)

    def _add_surroundings(self, function: types.FunctionType, parts: CodeParts) -> None:
        """What a function only refers to."""
        self.add(function.__doc__)
        self._add_given("attributes", function.__dict__)
        self._add_given("annotations", getattr(function, "__annotations__", None))
        namespace = function.__globals__
        if not is_installed(namespace.get("__name__")):
            self._add_globals("globals", namespace, parts.globals)
            if parts.imports:
                self._add_imports(parts, namespace.get("__package__"))

    def _add_globals(self, kind: str, namespace: Mapping[str, Any], uses: Uses) -> None:
        for name in sorted(uses):
            if name in namespace:
                self._mark_text(kind, name)
                self._add_used(namespace[name], uses[name])

    def _add_used(self, value: Any, chains: set[Chain]) -> None:
        """What code loads; of a user's module only the attributes that it reads, if it does no more than that."""
        if not issubclass(type(value), types.ModuleType) or is_installed(value.__name__) or () in chains:
            self.add(value)
            return
        self._mark_text("module", value.__name__)
        attributes: Uses = defaultdict(set)
        for first, *rest in chains:
            attributes[first].add(tuple(rest))
        with self._lenient():
            self._add_globals("attribute", vars(value), attributes)

    def _add_imports(self, parts: CodeParts, package: str | None) -> None:
        for name, code in self._apart.modules.imported(parts, package):
            self._mark_text("import", name)
            self.add(code)

    def _add_module(self, module: types.ModuleType) -> None:
        """The user's counts by what is in it, as it is carried; others by their names."""
        self._mark_text("module", module.__name__)
        if module.__name__ != "__main__" and not is_installed(module.__name__):
            content = {name: value for name, value in vars(module).items() if name not in _NO_CONTENT_OF_MODULES}
            with self._lenient():
                self._add_dict("content", content)

    def _add_class(self, value: type) -> None:
        self._mark_text("class", f"{value.__module__}:{value.__qualname__}:{value.__name__}")
        if not is_found_by_name(value):
            self._add_all("bases", value.__bases__)
            self.add(type(value))
            with self._lenient():
                for name, member in members_of(value):
                    self._mark_text("member", name)
                    self.add(member)

    def _add_method(self, value: types.MethodType) -> None:
        self._add_all("method", [value.__func__, value.__self__])

    def _add_property(self, value: property) -> None:
        self._add_descriptor(value, [value.fget, value.fset, value.fdel, value.__doc__])

    def _add_wrapped(self, value: staticmethod[..., Any] | classmethod[Any, ..., Any]) -> None:
        self._add_descriptor(value, [value.__func__])

    def _add_cached_property(self, value: functools.cached_property[Any]) -> None:
        self._add_descriptor(value, [value.func, value.attrname])  # not the lock that it has in some versions

    def _add_descriptor(self, value: Any, parts: list[Any]) -> None:
        """What wraps functions in classes, with what subclasses of it add."""
        self._add_all(type(value).__name__, parts)
        if type(value).__module__ not in ("builtins", "functools"):
            self.add(type(value))
            self._add_dict("attributes", vars(value))

    def _add_buffer(self, value: pickle.PickleBuffer) -> None:
        self._mark_text("buffer", digest_bytes(value.raw()))

    # --- objects

    def _add_reduced(self, value: object) -> None:
        """What pickle would make of it."""
        kind = type(value)
        self._mark_text("type", f"{kind.__module__}:{kind.__qualname__}")
        if not self._may_skip:
            self._add_parts(value, self._apart.reduced(value))
            return
        before = self._hash.copy()
        try:
            reduced = self._apart.reduced(value)
            self._may_skip = not _is_whole_or_none(kind)
            self._add_parts(value, reduced)  # with the outcome that it has elsewhere, if nothing is skipped
        except (RecursionError, ParslContextError):
            raise
        except Exception:
            self._hash = before
            self._has_skipped = True
            self.add(kind)
        finally:
            self._may_skip = True

    def _add_parts(self, value: object, reduced: str | list[Any]) -> None:
        if not isinstance(reduced, str):
            self._add_all("reduced", reduced)
            return
        home = home_of(value, reduced)
        self._mark_text("name", f"{home}:{reduced}")
        if hasattr(value, "__wrapped__") and not is_installed(home):
            self._add_dict("wrapper", vars(value))  # functools.lru_cache: what it calls, and how

    @contextlib.contextmanager
    def _lenient(self) -> Iterator[None]:
        """Within, what cannot be pickled counts by its kind."""
        before, self._may_skip = self._may_skip, True
        try:
            yield
        finally:
            self._may_skip = before


_WAYS: dict[type, Callable[[_ContentHasher, Any], None]] = {
    types.ModuleType: _ContentHasher._add_module,
    types.CodeType: _ContentHasher._add_code,
    types.FunctionType: _ContentHasher._add_function,
    types.MethodType: _ContentHasher._add_method,
    property: _ContentHasher._add_property,
    staticmethod: _ContentHasher._add_wrapped,
    classmethod: _ContentHasher._add_wrapped,
    functools.cached_property: _ContentHasher._add_cached_property,
    type: _ContentHasher._add_class,
    pickle.PickleBuffer: _ContentHasher._add_buffer,
}


def _is_whole_or_none(kind: type) -> bool:
    """Whether objects of a class that cannot be pickled count by it alone, rather than by their other parts as well.

    Clients, pools and connections of libraries do: what is within them changes as they are used.
    """
    return is_found_by_name(kind) and kind.__module__ not in _HOLDING_MODULES and not issubclass(kind, _HOLDERS)
