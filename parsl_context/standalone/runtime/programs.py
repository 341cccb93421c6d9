"""Calls of self-contained functions: a program is what one carries, taken apart once in a process."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import pickle
import sys
import threading
import types
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parsl_context.standalone.runtime.extras import (
    BATCHES_GIVEN,
    Found,
    Together,
    extra_module,
    is_library_here,
    stamps_of,
)
from parsl_context.standalone.runtime.files import file_here, files
from parsl_context.standalone.runtime.keys import digest_of_keys, signature_of, take_keys
from parsl_context.standalone.runtime.modules import _stand_in, carried_modules, context, stand_in
from parsl_context.standalone.runtime.sources import own_builtins, run_definition
from parsl_context.standalone.runtime.store import Store, Terms, Use

_MAX_PROGRAMS = 64  # taken apart; what they have built is kept by itself
_TOLD = "__parsl_context__"  # keyword of a call that an executor of ours makes
store = Store(16)


class _BeingDefinedError(Exception):
    """A definition needs itself before it is there."""


class _Spaces:
    """Globals of the user's script and of other modules without a file, and what was defined in them."""

    def __init__(self) -> None:
        self.definitions: dict[tuple[str, str], Any] = {}  # by their digests, and those of the modules that they use
        self.defining: set[tuple[str, str]] = set()
        self._spaces: dict[tuple[str, str], dict[str, Any]] = {}
        self._bound: dict[tuple[str, str], dict[str, str]] = {}  # digests of what was written there last, by name
        self.lock = threading.RLock()

    def names(self, name: str, file: str) -> dict[str, Any]:
        """The globals of one."""
        if (name, file) not in self._spaces:
            module = types.ModuleType(name)
            vars(module)["__builtins__"] = own_builtins(stand_in)
            if file:
                module.__file__ = file
            sys.modules.setdefault(name, module)  # there are those who look for the module of a class
            self._spaces[name, file] = vars(module)
        return self._spaces[name, file]

    def bound(self, name: str, file: str) -> dict[str, str]:
        """What was written there."""
        return self._bound.setdefault((name, file), {})


_spaces = _Spaces()


class Program:
    """What a function carries.

    Attributes
    ----------
    parts : mapping
        As `parsl_context.standalone.building` has put it together.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts
        self._units = [carried_modules.add(*unit) for unit in parts["units"]]
        self._apps: dict[int, _App] = {}
        self._extras: dict[str, Any] = {}

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call."""
        self._prepare()
        return self.app(0)(*args, **kwargs)

    def told(self, how: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call as an executor of ours wants it: see `parsl_context.globus.calls`."""
        self._prepare()
        app = self.app(0)
        if how.get("warm"):
            return app.warm()
        if how.get("unload"):
            return app.unload()
        chunk = how.get("chunk")
        run: Any = app if chunk is None else functools.partial(app.chunk, chunk)
        if how.get("walltime_s") is not None:
            from parsl.app.python import timeout  # every endpoint has it

            run = timeout(run, how["walltime_s"])
        try:
            return self._sealed("value" if chunk is None else "chunk", run(*args, **kwargs))
        except Exception as error:
            sealed = self._sealed("error", error)
            if sealed is error:
                raise
            return sealed

    def app(self, number: int) -> _App:
        if number not in self._apps:
            self._apps[number] = _App(self, self.parts["apps"][number])
        return self._apps[number]

    def value(self, packed: bytes, use: Use | None = None) -> Any:
        """What was pickled where the function was made."""
        return _Unpickler(packed, self, use).load()

    def instance(self, number: int, use: Use, keys: Mapping[str, Any] | None = None) -> Any:
        """A context, kept at least as long as `use`."""
        told = self.parts["contexts"][number]
        given = {name: (keys or {})[name] for name in told["keys"] if name in (keys or {})}
        apart = given or stamps_of(told["paths"])
        key = f"{told['key']} {digest_of_keys(apart)}" if told["keys"] or apart else told["key"]

        def make(within: Use) -> Any:
            function = self.value(told["function"])
            if told["terms"] is not None:
                return self.found(told["terms"], told["name"]).made(function)
            args, kwargs = self.value(told["args"], within)
            return function(*args, **kwargs, **given)

        return store.take(key, Terms(told["max_uses"], told["max_age_s"], told["is_kept"]), make, use)

    def found(self, terms: Mapping[str, Any], name: str) -> Found:
        """What a context that was found asks for."""
        own = [unit.top for unit in self._units] + [space for space, _ in self.parts["spaces"]]
        return Found(self.extra("terms", {"is_library": functools.partial(is_library_here, own)}), terms, name)

    def extra(self, name: str, given: Mapping[str, Any]) -> Any:
        """A module of parsl-context that this function carries."""
        if name not in self._extras:
            self._extras[name] = extra_module(name, self.parts["extras"][name], given)
        return self._extras[name]

    def definition(self, digest: str) -> Any:
        """A function or class."""
        told = self.parts["definitions"][digest]
        known = (digest, told["version"])
        with _spaces.lock:
            if known in _spaces.definitions:
                return _spaces.definitions[known]
            if known in _spaces.defining:
                raise _BeingDefinedError
            _spaces.defining.add(known)
            try:
                self._define(known, told)
            finally:
                _spaces.defining.discard(known)
            return _spaces.definitions[known]

    def _prepare(self) -> None:
        """Have this process as the calls find it: carried modules in place, names bound."""
        carried_modules.put_in_place(self._units)
        with _spaces.lock:
            for (name, file), bindings in self.parts["spaces"].items():
                for each in bindings:
                    self._bind(name, file, each)

    def _bind(self, name: str, file: str, which: str) -> None:
        """Write a global, unless that is what was written last: what a context has set there stays."""
        digest, packed = self.parts["spaces"][name, file][which]
        bound = _spaces.bound(name, file)
        if bound.get(which) != digest:
            try:
                value = self.value(packed)
            except _BeingDefinedError:
                return  # it is bound when its turn comes
            _spaces.names(name, file)[which] = value
            bound[which] = digest

    def _define(self, known: tuple[str, str], told: Mapping[str, Any]) -> None:
        for (name, file), each in told["now"]:  # used as it is defined
            self._bind(name, file, each)
        space = told["space"]
        if isinstance(space, str):
            __import__(space)
            names = vars(sys.modules[space])
        else:
            names = _spaces.names(*space)
        made = run_definition(told, names, dict.fromkeys(told["cells"]))
        _spaces.definitions[known] = made  # before what it knows, which may be itself
        if isinstance(made, types.FunctionType):
            made.__defaults__, made.__kwdefaults__ = self.value(told["defaults"])
            cells = dict(zip(made.__code__.co_freevars, made.__closure__ or (), strict=True))
            for name, packed in told["cells"].items():
                if name in cells:
                    cells[name].cell_contents = self.value(packed)
        made.__qualname__ = told["qualname"]
        made.__name__ = told["qualname"].rpartition(".")[2]
        made.__module__ = names["__name__"]
        for decorator in reversed(told["decorators"]):
            made = eval(decorator, names)(made)
        _spaces.definitions[known] = made

    def _sealed(self, kind: str, value: Any) -> Any:
        """An outcome in which classes of the script are named, so that there they are its own; or itself."""
        out = io.BytesIO()
        try:
            if isinstance(value, BaseException):
                _Pickler(out, self).dump((value, _told_of(value)))
            else:
                _Pickler(out, self).dump(value)
        except Exception:
            return value
        return (_TOLD, kind, out.getvalue())


class _App:
    """A body with its contexts."""

    def __init__(self, program: Program, told: Mapping[str, Any]) -> None:
        self._program = program
        self._told = told
        self._names = told["names"]
        self._leading = self._names.count(None)
        self._signature = signature_of(program.value(told["signature"])) if told["keys"] else None
        self._together: Together | None = None
        self.__name__ = told["name"]

    @property
    def body(self) -> Any:
        """The function that gets contexts and arguments."""
        return self._program.value(self._told["body"])

    @property
    def func(self) -> _App:
        """Itself."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._told["batching"] is not None:
            return self._run_together([(args, kwargs)])[0].get()
        with _using() as use:
            run, args, kwargs = self._bound(use, args, kwargs)
            return run(*args, **kwargs)

    def chunk(self, results: str, calls: Any, goes_on: bool = False, /, **kwargs: Any) -> list[Any]:
        """Results of calls, one after the other; errors among them if it goes on.

        Parameters
        ----------
        results
            Attribute of what is raised that gets the results before it.
        """
        kwargs.pop("parsl_resource_specification", None)
        found: list[Any] = []
        for outcome in self._outcomes(calls, kwargs):
            try:
                found.append(outcome())
            except Exception as error:
                if not goes_on:
                    error.__dict__[results] = found
                    raise
                found.append((_TOLD, error))
        return found

    def _outcomes(self, calls: Any, kwargs: dict[str, Any]) -> Iterator[Callable[[], Any]]:
        """Calls, each to be made or, if they run together, to be taken from those that were made."""
        if self._told["batching"] is None:
            yield from (functools.partial(self, *args, **kwargs) for args in calls)
            return
        size = self._told["batching"]["size"] or len(calls)
        for start in range(0, len(calls), size):
            rows = [(args, dict(kwargs)) for args in calls[start : start + size]]
            yield from (outcome.get for outcome in self._run_together(rows))

    def _run_together(self, rows: list[Any]) -> list[Any]:
        """Outcomes of calls whose keys are the same."""
        if self._together is None:
            module = self._program.extra("batches", BATCHES_GIVEN)
            self._together = Together(module, self._told["batching"], self.body, self._names)
        with _using() as use:
            taken = [self._taken(args, kwargs) for args, kwargs in rows]
            body, first, named = self._filled(use, taken[0][0])

            def run(*args: Any, **kwargs: Any) -> Any:
                return body(*first, *args, **kwargs, **named)

            return self._together.run(run, [row for _, *row in taken], self.__name__)

    def warm(self) -> int:
        """Build its contexts, if they do not wait for keys. Gives how many there are."""
        use = Use()
        try:
            if self._signature is None:
                self._bound(use, (), {})
            return len(use.entries)
        finally:
            store.release(use)

    def unload(self) -> int:
        """Give its contexts up, whatever the values of their keys. Gives how many there were."""
        return sum(store.unload(self._program.parts["contexts"][number]["key"]) for number in self._told["contexts"])

    def _taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The values of keys, and the other arguments."""
        if self._signature is None:
            return {}, args, kwargs
        return take_keys(self._signature, self._told["keys"], self._told["of_body"], args, kwargs)

    def _filled(self, use: Use, keys: dict[str, Any]) -> Any:
        """The body, and the contexts that it gets first and by name."""
        values = [self._program.instance(number, use, keys) for number in self._told["contexts"]]
        named = dict(zip(self._names[self._leading :], values[self._leading :], strict=True))
        return self.body, tuple(values[: self._leading]), named

    def _bound(self, use: Use, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The body with its contexts filled in, and the arguments that it gets."""
        keys, args, kwargs = self._taken(args, kwargs)
        body, first, named = self._filled(use, keys)
        if self._told["whole"] is None:
            return body, (*first, *args), {**kwargs, **named}
        whole = self._program.value(self._told["whole"])
        found = self._program.found(self._told["terms"], self.__name__)
        return found.run, (first[0], body, whole, args, kwargs), {}


@contextlib.contextmanager
def _using() -> Iterator[Use]:
    """What a call uses is kept, at least as long as the call takes."""
    use = Use()
    store.now.uses.append(use)
    try:
        yield use
    finally:
        store.now.uses.pop()
        store.release(use)


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: bytes, program: Program, use: Use | None) -> None:
        super().__init__(io.BytesIO(packed))
        self._program = program
        self._use = use

    def persistent_load(self, pid: Any) -> Any:
        kind, which = pid
        if kind == "module":
            __import__(which)
            return sys.modules[which]
        if kind == "definition":
            return self._program.definition(which)
        if kind == "in module":
            module, place = which
            __import__(module)
            found: Any = sys.modules[module]
            for name in place.split("."):
                found = getattr(found, name)
            return found
        if kind == "context":
            assert self._use is not None, "contexts are arguments of contexts"
            return self._program.instance(which, self._use)
        if kind == "app":
            return self._program.app(which)
        if kind == "file":
            return file_here(which)
        if kind == "ours":
            return {"context": context, "context_dirty": context_dirty, "module": stand_in() or _stand_in}[which]
        raise pickle.UnpicklingError(f"This function was made by another release: {kind} is not known here.")


class _Pickler(pickle.Pickler):
    """Of results: definitions of the script are named."""

    def __init__(self, out: io.BytesIO, program: Program) -> None:
        super().__init__(out, 4)
        known, told = _spaces.definitions, program.parts["definitions"]
        found = ((digest, known.get((digest, each["version"]))) for digest, each in told.items())
        self._names = {id(value): digest for digest, value in found if value is not None}

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, (type, types.FunctionType)) and id(value) in self._names:
            return ("definition", self._names[id(value)])
        return None


def _told_of(error: BaseException) -> dict[str, Any]:
    """What a pickle of an exception leaves out."""
    import traceback

    return {
        "text": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
        "notes": list(getattr(error, "__notes__", ())),
    }


def context_dirty() -> None:
    """Have the contexts of this call dropped after it."""
    if store.now.uses:
        store.now.uses[-1].is_dirty = True


def _register(end: Any) -> None:
    if store.now.builds:
        store.now.builds[-1].ends.append(end)


context.registered = _register
_stand_in.context_dirty = context_dirty  # type: ignore[attr-defined]
_programs: dict[str, Program] = {}


def call(digest: str, packed: str, max_contexts: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a call of a self-contained function. Its own text calls this.

    Parameters
    ----------
    digest
        Of the program.
    packed
        The program.
    max_contexts
        Contexts that this process keeps.
    """
    if store.check_process():
        _spaces.lock, carried_modules.lock, files.lock = threading.RLock(), threading.RLock(), threading.RLock()
    store.max_contexts = max_contexts
    program = _programs.get(digest)
    if program is None:
        program = Program(pickle.loads(zlib.decompress(base64.b85decode(packed))))
        for old in list(_programs)[: len(_programs) - _MAX_PROGRAMS + 1]:
            _programs.pop(old, None)
        program = _programs.setdefault(digest, program)
    if _TOLD in kwargs:
        return program.told(kwargs.pop(_TOLD), args, kwargs)
    return program.call(args, kwargs)


def report() -> dict[str, Any]:
    """What is in this process, for tests and the curious."""
    return {"contexts": store.keys(), "builds": store.builds, "programs": list(_programs)}
