"""Has a fresh process do what a worker does with an app or a function, and collects what it tells."""

from __future__ import annotations

import json
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.context_call import ContextCall
from parsl_context.content.carried import Tree
from parsl_context.discover.needs import FunctionNeeds
from parsl_context.discover.packages import Package, Packager
from parsl_context.discover.tracing.data import Built, Imported, Opened, Request, Trace
from parsl_context.errors import ConfigurationError, ParslContextError, sentence
from parsl_context.executor.packing import Packer, with_required
from parsl_context.wire.messages import Digest

_IMPORT_TIME = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)$")


def trace(value: Any, needs: FunctionNeeds) -> Trace:
    """Build the contexts of an app's call, or a context, and import what the function needs, in a fresh process.

    What the process prints, and tracebacks, go to our `sys.stderr`. What cannot be sent to it is an error of the trace.
    """
    request, origins, errors = _request(value, needs)
    with tempfile.TemporaryDirectory(prefix="parsl-context-trace-") as folder:
        Path(folder, "request").write_bytes(pickle.dumps(request))
        status, times = _run(folder)
        answer = Path(folder, "answer")
        found = _read(answer.read_text()) if answer.exists() else Trace(errors=(_died(status),))
        return replace(_completed(found, times, folder, origins), errors=(*errors, *found.errors))


def _request(value: Any, needs: FunctionNeeds) -> tuple[Request, dict[str, str], list[str]]:
    """What to do, the folders that the user's modules lie in here, and what cannot be sent."""
    sent = _Sent()
    contexts: list[Context] = []
    code: Digest | None = None
    errors = []
    try:
        contexts = _contexts(value)
        sent.add_contexts(contexts)
        code = sent.add_code(value)
    except Exception as error:
        told = str(error) if isinstance(error, ParslContextError) else f"{type(error).__name__}: {error}"
        errors.append(sentence(told))
    request = Request(
        blobs=tuple((digest, label, data) for digest, (label, data) in sent.blobs.items()),
        contexts=tuple(context.digest for context in contexts) if not errors else (),
        code=code,
        imports=tuple(_imports(needs)),
    )
    return request, sent.origins, errors


def _imports(needs: FunctionNeeds) -> Iterator[str]:
    """Modules that the code may import as it runs, and that a worker has."""
    lacking = {each.name for each in needs.lacking}
    yield from (each.name for each in needs.modules if each.name not in lacking)
    yield from dict.fromkeys(name for each in needs.distributions for name in each.imports)


class _Sent:
    """What a worker is sent, made by what makes it for workers."""

    def __init__(self) -> None:
        self._packer = Packer(Packager(), "memory")
        self.blobs: dict[Digest, tuple[str, bytes]] = {}
        self.origins: dict[str, str] = {}

    def add_contexts(self, contexts: list[Context]) -> None:
        """Add contexts, each after those that it requires."""
        for context in contexts:
            packed = self._packer.context(context)
            self._add(context.digest, context.name, packed.data, packed.package)

    def add_code(self, value: Any) -> Digest | None:
        """Add the body of an app, or a function; a context that is built has none."""
        if isinstance(value, Context) or (isinstance(value, ContextFunction) and takes_nothing(value)):
            return None
        if isinstance(value, ContextCall):
            packed = self._packer.call(value)
        else:
            packed = self._packer.local_app(getattr(value, "func", None) or getattr(value, "function", value))
        self._add(packed.code.digest, packed.label, packed.data, packed.code.package)
        return packed.code.digest

    def _add(self, digest: Digest, label: str, data: bytes, package: Package | None) -> None:
        if package is not None:
            self.blobs.update((part, ("", content)) for part, content in package.content.items())
            self.blobs[package.digest] = "", package.data
            self.origins.update(_origins(package))
        self.blobs[digest] = label, data


def takes_nothing(function: ContextFunction) -> bool:
    """Whether a context function makes a context without being given anything."""
    try:
        function()
    except TypeError:
        return False
    return True


def _contexts(value: Any) -> list[Context]:
    if isinstance(value, ContextCall):
        if value.late:
            raise ConfigurationError(f"The contexts of {value.__name__} wait for futures, and cannot be built before.")
        return with_required(value.known)
    if isinstance(value, ContextFunction) and takes_nothing(value):
        return with_required([value()])
    return with_required([value]) if isinstance(value, Context) else []


def _origins(package: Package) -> dict[str, str]:
    header = pickle.loads(package.data)
    if header.tree is None:
        return {}
    tree: Tree = pickle.loads(package.content[header.tree])
    return tree.origins


def _run(folder: str) -> tuple[int, dict[str, float]]:
    """Run the process. Gives its exit status, and how long each import took. [s]"""
    command = [sys.executable, "-X", "importtime", "-m", "parsl_context.discover.tracing.traced", folder]
    times: dict[str, float] = {}
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, **piped) as run:
        assert run.stdout is not None
        try:
            for line in run.stdout:
                timed = _IMPORT_TIME.match(line.rstrip())
                if timed is not None:
                    times.setdefault(timed[2], int(timed[1]) / 1e6)
                elif not line.startswith("import time:"):
                    print(line, end="", file=sys.stderr)
        except BaseException:
            run.kill()
            raise
    return run.returncode, times


def _read(text: str) -> Trace:
    found = json.loads(text)
    opened = {name: tuple(Opened(**each) for each in found[name]) for name in ("opened", "libraries", "mapped")}
    return Trace(
        built=tuple(Built(**each) for each in found["built"]),
        imported=tuple(Imported(**each) for each in found["imported"]),
        errors=tuple(found["errors"]),
        **opened,
    )


def _died(status: int) -> str:
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"The fresh process died ({how}). What it said is above; on a worker the same would happen."


def _completed(found: Trace, times: dict[str, float], folder: str, origins: dict[str, str]) -> Trace:
    """With the times of imports, and paths as they are here."""

    def here(paths: tuple[Opened, ...]) -> Iterator[Opened]:
        for each in paths:
            yield replace(each, path=_here(each.path, folder, origins))

    return replace(
        found,
        imported=tuple(replace(each, time_s=times.get(each.name)) for each in found.imported),
        opened=tuple(here(found.opened)),
        mapped=tuple(here(found.mapped)),
    )


def _here(path: str, folder: str, origins: dict[str, str]) -> str:
    """Where a file of the user's modules lies, from where the process had it."""
    if not path.startswith(f"{folder}/trees/"):
        return path
    inside = path.removeprefix(f"{folder}/trees/").partition("/")[2]
    top = inside.partition("/")[0].partition(".")[0]
    return f"{origins[top]}/{inside}" if top in origins else path
