"""Modules of the user's that a function carries, and what stands for `parsl_context` where it is not installed."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Mapping
from typing import Any

from parsl_context.standalone.runtime.sources import own_builtins


class CarriedFiles(importlib.abc.InspectLoader):
    """One top-level module or package, by the content of its files.

    Parameters
    ----------
    top
        Its name.
    files
        Content by path, as in the folder that it lies in.
    origin
        That folder, where the function was made.
    """

    def __init__(self, top: str, files: Mapping[str, bytes], origin: str) -> None:
        self.top = top
        self.files = files
        self.origin = origin
        self.loaded: dict[str, types.ModuleType] = {}  # while others of these names are in their place

    def find(self, name: str) -> Any:
        """The spec of a module of it; None if it has none of this name."""
        path = name.replace(".", "/")
        for file, is_package in ((f"{path}/__init__.py", True), (f"{path}.py", False)):
            if file in self.files:
                return importlib.util.spec_from_file_location(
                    name,
                    f"{self.origin}/{file}",
                    loader=self,
                    submodule_search_locations=[f"{self.origin}/{path}"] if is_package else None,
                )
        if any(file.startswith(f"{path}/") for file in self.files):
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [f"{self.origin}/{path}"]
            return spec
        return None

    def is_here(self) -> bool:
        """Whether what this process has imported under these names came from files with the same content."""
        names = [name for name in sys.modules if name == self.top or name.startswith(f"{self.top}.")]
        files = [(name, getattr(sys.modules[name], "__file__", None)) for name in names]
        try:
            return all(file is None or self.files.get(self._path(name)) == _content(file) for name, file in files)
        except OSError:
            return False

    def _path(self, name: str) -> str:
        path = name.replace(".", "/")
        return f"{path}/__init__.py" if f"{path}/__init__.py" in self.files else f"{path}.py"

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.files[self._path(fullname)])

    def get_data(self, path: str) -> bytes:
        """Content of a file beside the modules, as `pkgutil.get_data` asks for it."""
        known = self.files.get(str(path)[len(self.origin) + 1 :])
        if known is None:
            raise OSError(f"{path} was not carried.")
        return known

    def is_package(self, fullname: str) -> bool:
        return self._path(fullname).endswith("/__init__.py")

    def get_filename(self, fullname: str) -> str:
        """Where the user has it."""
        return f"{self.origin}/{self._path(fullname)}"

    def exec_module(self, module: types.ModuleType) -> None:
        code = compile(self.get_source(module.__name__), self.get_filename(module.__name__), "exec", dont_inherit=True)
        module.__dict__["__builtins__"] = own_builtins(stand_in)
        exec(code, module.__dict__)


def _content(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()


class CarriedModules(importlib.abc.MetaPathFinder):
    """What this process was given, of which one version of each name is in place at a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], CarriedFiles] = {}
        self._in_place: dict[str, CarriedFiles] = {}
        self.lock = threading.RLock()

    def add(self, top: str, digest: str, files: Mapping[str, bytes], origin: str) -> CarriedFiles:
        """Know a module or package; equal content is the same one."""
        with self.lock:
            return self._known.setdefault((top, digest), CarriedFiles(top, files, origin))

    def put_in_place(self, units: list[CarriedFiles]) -> None:
        """Have imports find these.

        Raises
        ------
        ImportError
            If this process has imported another module of that name.
        """
        if all(self._in_place.get(unit.top) is unit for unit in units):
            return
        with self.lock:
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)
            for unit in units:
                old = self._in_place.get(unit.top)
                if old is None and unit.top in sys.modules:
                    if unit.is_here():
                        self._in_place[unit.top] = unit
                        continue
                    other = getattr(sys.modules[unit.top], "__file__", "which has no file")
                    raise ImportError(
                        f"Module {unit.top} of {unit.origin} cannot be used here: this worker has imported another one "
                        f"of that name, {other}. Rename yours."
                    )
                if old is not unit:
                    names = [name for name in sys.modules if name == unit.top or name.startswith(f"{unit.top}.")]
                    taken = {name: sys.modules.pop(name) for name in names}
                    if old is not None:
                        old.loaded = taken
                    sys.modules.update(unit.loaded)
                    self._in_place[unit.top] = unit

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        unit = self._in_place.get(fullname.partition(".")[0])
        return None if unit is None else unit.find(fullname)


def stand_in() -> types.ModuleType | None:
    """What stands for `parsl_context` in carried code; None where it is installed."""
    if "parsl_context" in sys.modules or importlib.util.find_spec("parsl_context") is not None:
        return None
    return _stand_in


class StandInContext:
    """What `parsl_context.context` is for carried code: it leaves functions as they are."""

    def __init__(self) -> None:
        self.registered: Callable[[Callable[[], object]], None] = lambda _: None

    def __call__(self, function: Any = None, /, **_: Any) -> Any:
        return _Plain(function) if function is not None else _Plain

    def cleanup(self, function: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        """Have a function called when the context that is being built is given up."""
        self.registered(lambda: function(*args, **kwargs))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _Plain:
    """Stands for a context function or a context app in carried code; the function carries those that it uses."""

    def __init__(self, function: Any) -> None:
        self.function = self.body = function
        self.__name__ = getattr(function, "__name__", "function")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def by(self, *keys: str, **kwargs: Any) -> Any:
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _app(function: Any = None, /, **_: Any) -> Any:
    return _Plain(function) if function is not None else _Plain


_stand_in = types.ModuleType("parsl_context")
carried_modules = CarriedModules()
context = StandInContext()
vars(_stand_in).update(context=context, context_app=_app, context_dirty=lambda: None)
