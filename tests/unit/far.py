"""A worker's side of carried code without a worker: a process that has what `Definitions` sends, asked over a pipe.

No manager, no interchange: calls take a tenth of a millisecond, so that hundreds of generated programs can be tried.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import linecache
import os
import pickle
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from parsl_context.content.carrying import Needs
from parsl_context.content.exceptions import Raised, pack_raised
from parsl_context.content.serialization import pack_value, unpack_value
from parsl_context.content.space import Id, space
from parsl_context.discover.packages import Package, Packager
from parsl_context.retain.carried import Carried
from tests.unit.describing import describe, describe_raised

_ROOT = Path(__file__).parents[2]
_numbers = itertools.count()


class Far:
    """The other process, and what it was sent.

    Parameters
    ----------
    folder
        For its modules.
    definitions
        What the code of this process defines; anew if not given.
    """

    def __init__(self, folder: Path, packager: Packager | None = None) -> None:
        self.packager = packager or Packager()
        self.folder = folder
        self.described: Any = None  # what the value of the last call was, over there
        self.sent: set[str] = set()
        folder.mkdir(mode=0o700, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs:
            command = f"from tests.unit.far import serve; serve({theirs.fileno()}, {str(folder)!r})"
            environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
            self._process = subprocess.Popen(
                [sys.executable, "-c", command], cwd=_ROOT, env=environment, pass_fds=[theirs.fileno()]
            )
        self._pipe = Connection(ours.detach())

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The value of a call over there; what it raises is raised here."""
        return self.run(*self.pack((function, args, kwargs)))

    def pack(self, value: Any) -> tuple[list[bytes], Package | None]:
        """A value as it is sent, and what it needs."""
        needs = Needs()
        stream, buffers = pack_value(value, needs.update)
        return [bytes(stream), *map(bytes, buffers)], self.packager.package(needs)

    def run(self, frames: list[bytes], package: Package | None) -> Any:
        """The value of a packed call."""
        is_value, answer, self.described = self._ask("call", self._content(package), frames)
        value = unpack_value(answer)
        if is_value:
            return value
        raise value.exception() if isinstance(value, Raised) else value

    def look(self, expression: str) -> Any:
        """Plain data: the value of an expression over there, where `carried` and `space` are known."""
        return self._ask("look", expression)

    def forget(self, *digests: str) -> None:
        """Have it forget content."""
        self.sent.difference_update(digests)
        self._ask("forget", digests)

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.wait(10)

    def _content(self, package: Package | None) -> tuple[str | None, dict[str, bytes]]:
        if package is None:
            return None, {}
        content = {package.digest: package.data, **package.content}
        new = {digest: data for digest, data in content.items() if digest not in self.sent}
        self.sent |= new.keys()
        return package.digest, new

    def _ask(self, kind: str, *rest: Any) -> Any:
        self._pipe.send_bytes(pickle.dumps((kind, *rest)))
        is_fine, answer = pickle.loads(self._pipe.recv_bytes())
        if not is_fine:
            raise RuntimeError(answer)
        return answer


def serve(fd: int, folder: str) -> None:
    """Be that process."""
    pipe = Connection(fd)
    stored: dict[str, bytes] = {}
    carried = Carried(Path(folder))
    carried.content = stored.__getitem__  # type: ignore[assignment]
    with contextlib.suppress(EOFError):
        while True:
            kind, *rest = pickle.loads(pipe.recv_bytes())
            try:
                answer = True, _ANSWERS[kind](carried, stored, *rest)
            except Exception as error:
                answer = False, f"{type(error).__name__}: {error}"
            pipe.send_bytes(pickle.dumps(answer))


def _call(
    carried: Carried, stored: dict[str, bytes], code: tuple[str | None, dict[str, bytes]], frames: list[bytes]
) -> tuple[bool, list[bytes], Any]:
    header, content = code
    stored |= content
    try:
        carried.prepare(header)  # type: ignore[arg-type]
        function, args, kwargs = unpack_value(frames)
        value = function(*args, **kwargs)
        stream, buffers = pack_value(value)
        return True, [stream, *map(bytes, buffers)], describe(value)
    except Exception as error:
        return False, [pack_raised(error)], describe_raised(error)


def _look(carried: Carried, stored: dict[str, bytes], expression: str) -> Any:
    return eval(expression, {"carried": carried, "space": space, "sys": sys, "os": os})


def _forget(carried: Carried, stored: dict[str, bytes], digests: tuple[str, ...]) -> None:
    for digest in digests:
        stored.pop(digest, None)
    carried.forget([Id(each) for each in digests])  # type: ignore[misc]


_ANSWERS = {"call": _call, "look": _look, "forget": _forget}


# --- programs


@contextlib.contextmanager
def main_module(folder: Path | None = None) -> Iterator[types.ModuleType]:
    """An empty script: what `__main__` is meanwhile."""
    before = sys.modules["__main__"]
    made = sys.modules["__main__"] = types.ModuleType("__main__")
    vars(made)["__package__"] = None
    if folder is not None:
        made.__file__ = str(folder / "script.py")
    try:
        yield made
    finally:
        sys.modules["__main__"] = before


def run_cell(source: str) -> Any:
    """Run some text in `__main__`, as a notebook runs a cell. Gives the names of it, as attributes."""
    main = sys.modules["__main__"]
    name = f"<cell {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec", dont_inherit=True), vars(main))
    return main


def new_name(start: str) -> str:
    """A name that no module has had."""
    return f"{start}_{next(_numbers)}"


class ProjectFolder:
    """A folder that is first on `sys.path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str | bytes = "") -> Path:
        """Write a file, which is surely another than the one before."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.stat().st_mtime if file.exists() else time.time() - 1000
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(file, (before + 10, before + 10))
        importlib.invalidate_caches()
        return file

    def load(self, name: str, text: str | None = None) -> Any:
        """Import a module, which is written before if its text is given."""
        if text is not None:
            self.write(f"{name.replace('.', '/')}.py", text)
        return importlib.import_module(name)


@contextlib.contextmanager
def project_in(path: Path) -> Iterator[ProjectFolder]:
    """Modules of it can be imported meanwhile."""
    path.mkdir(exist_ok=True)
    before = set(sys.modules)
    sys.path.insert(0, str(path))
    try:
        yield ProjectFolder(path)
    finally:
        sys.path.remove(str(path))
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(path)):
                del sys.modules[name]
