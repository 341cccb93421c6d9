"""The traced process: gets what a worker gets, builds the contexts, and says what happened. ``-m`` FOLDER.

In the folder it finds ``request`` and leaves ``answer``. It is told the times of imports by ``-X importtime``, which
whoever started it reads from its errors.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import pickle
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import parsl_context.pool.worker  # noqa: F401 (what a worker has before any code of the user's comes)
from parsl_context.content.exceptions import Raised
from parsl_context.content.serialization import unpack_value
from parsl_context.discover.tracing.data import Built, Request, Trace
from parsl_context.discover.tracing.recorder import Recorder
from parsl_context.errors import sentence
from parsl_context.retain.instances import Instances, resident_bytes
from parsl_context.retain.loader import Loader
from parsl_context.retain.speaking import Voice
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, open_payload
from parsl_context.wire.messages import Digest


class Traced:
    """What a request asks for, done once.

    Parameters
    ----------
    folder
        For modules of the user's.
    """

    def __init__(self, request: Request, folder: str) -> None:
        self._request = request
        self._labels = {digest: label for digest, label, _ in request.blobs}
        self._loaded: dict[Digest, m.Loaded] = {}
        self._errors: list[str] = []
        self._loader = Loader(self._hear, Instances(), Voice("trace"), folder)
        blobs = [m.Blob(digest, label) for digest, label, _ in request.blobs]
        self._loader.store(m.StoreBlobs(blobs=blobs), [data for *_, data in request.blobs])
        self._recorder = Recorder(folder)

    def run(self) -> Trace:
        """Do it. What fails is among what was found."""
        built = [made for context in self._request.contexts if (made := self._build(context)) is not None]
        self._recorder.during = "the function"
        if self._request.code is not None and not self._errors:
            with self._noting("The function cannot be unpickled"):
                self._loader.code(self._request.code)
        for name in self._request.imports:
            with self._noting(f"Module {name} cannot be imported"):
                importlib.import_module(name)
        self._recorder.stop()
        libraries, mapped = self._recorder.mapped()
        return Trace(
            built=tuple(built),
            imported=tuple(self._recorder.imported()),
            opened=tuple(self._recorder.opened()),
            libraries=tuple(libraries),
            mapped=tuple(mapped),
            errors=tuple(self._errors),
        )

    def end(self) -> None:
        """Clean up the contexts, as a worker does."""
        for context in reversed(self._request.contexts):
            self._loader.drop(context)

    def _build(self, context: Digest) -> Built | None:
        if self._errors:
            return None
        name = self._recorder.during = self._labels[context]
        _forget_peak()
        before = resident_bytes()
        self._loader.load(context, None)
        peak_bytes = _peak_bytes()
        self._recorder.look()
        loaded = self._loaded.get(context)
        if loaded is None:
            return None
        return Built(name, loaded.load_s, loaded.size_bytes, max(0, peak_bytes - before, loaded.size_bytes))

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self._errors.append(sentence(f"{what} in a fresh process: {type(error).__name__}: {error}"))

    def _hear(self, message: m.FromWorker, frames: Sequence[Buffer]) -> None:
        match message:
            case m.Loaded():
                self._loaded[message.context] = message
            case m.LoadFailed():
                error = _exception(message, frames)
                traceback.print_exception(error)
                name = self._labels[message.context]
                self._errors.append(
                    sentence(f"Context {name} could not be built in a fresh process: {type(error).__name__}: {error}")
                )
            case _:
                pass


def _exception(message: m.LoadFailed, frames: Sequence[Buffer]) -> BaseException:
    value: Any = unpack_value(open_payload(message.error, frames))
    error: BaseException = value.exception() if isinstance(value, Raised) else value
    return error


def _forget_peak() -> None:
    """Have the system measure the highest memory anew (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main(folder: str) -> None:
    """Answer the request in a folder."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder that this was started in: workers are started elsewhere
    request: Request = pickle.loads(Path(folder, "request").read_bytes())
    traced = Traced(request, folder)
    answer = traced.run()
    Path(folder, "answer").write_text(json.dumps(asdict(answer)))
    traced.end()


if __name__ == "__main__":
    main(sys.argv[1])
