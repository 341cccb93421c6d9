"""`StandaloneFunction`: a context app as one function that needs nothing of ours where it runs.

Its text is a stub with the runtime and the program as constants:

    def classify(*args, **kwargs):       what is compiled for each call, where calls come with their function
        runtime = sys.modules.get(...)   loaded by the first call in a process, under a name with its digest
        return runtime.call(...)         finds the program by its digest, and contexts by theirs
"""

from __future__ import annotations

import base64
import functools
import hashlib
import inspect
import io
import linecache
import pickle
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from parsl_context.errors import CarriedCodeError
from parsl_context.standalone.building import PROTOCOL
from parsl_context.standalone.own_texts import text_of

TOLD = "__parsl_context__"  # keyword of calls by an executor of ours; see `runtime.programs`
MARK = "parsl-context"  # before a function's affinity, in its text
KEY_MARK = "parsl-context-key"  # before what stands for the values of keys, in the arguments of a call
MAX_BYTES = 10 * 1000 * 1000  # Globus Compute refuses tasks, function and arguments together, that are larger
_RUNTIME = ("store", "sources", "modules", "files", "keys", "extras", "programs")  # in the order in which they are run
_OWN = "parsl_context.standalone.runtime"

_STUB = '''\
def {name}(*args, **kwargs):
    """{doc}"""
    # {mark} {affinity}
    import sys
    runtime = sys.modules.get({runtime!r})
    if runtime is None:
        import base64, linecache, types, zlib
        text = zlib.decompress(base64.b85decode({text!r})).decode()
        runtime = types.ModuleType({runtime!r})
        linecache.cache["<parsl-context>"] = (len(text), None, text.splitlines(True), "<parsl-context>")
        exec(compile(text, "<parsl-context>", "exec"), vars(runtime))
        runtime = sys.modules.setdefault({runtime!r}, runtime)
    program = {program!r}
    return runtime.call({digest!r}, program, {max_contexts}, args, kwargs)
'''

# Compiled once in a process, as soon as the runtime is there: the text is long, and comes with every call.
_REBUILD = (
    "__import__('sys').modules[runtime].function_of(text, name) if runtime in __import__('sys').modules "
    "else [names for names in [{}] if not exec(text, names)][0][name]"
)


class StandaloneFunction:
    """A context app as one plain function; give it to `globus_compute_sdk.Executor.submit` or `register_function`.

    Contexts are kept in each process that runs it. However it is serialized, text is sent, so that Python may be of
    another version where it runs.

    Attributes
    ----------
    source : str
        Its text, which needs the standard library alone.
    digest : str
        Of what it carries. Equal functions have equal digests.
    affinity : str
        Of its contexts: calls of functions that have this in common share them.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        program: Mapping[str, Any],
        affinity: str,
        named: Mapping[str, Any],
        max_contexts: int,
    ) -> None:
        packed = zlib.compress(_pickled(program), 6)
        self.digest = hashlib.sha256(packed).hexdigest()[:32]
        self.affinity = affinity
        name = name if name.isidentifier() else "app"  # of a lambda
        self.definitions = dict(named)  # of the script, by the digests that results name
        self.source = _STUB.format(
            name=name,
            doc=_escaped(doc),
            mark=MARK,
            affinity=affinity,
            runtime=runtime_name(),
            text=base64.b85encode(zlib.compress(runtime_text().encode(), 9)).decode(),
            digest=self.digest,
            program=base64.b85encode(packed).decode(),
            max_contexts=max_contexts,
        )
        if len(self.source) > MAX_BYTES:
            raise CarriedCodeError(_too_large(name, program, len(self.source)))
        self.__name__ = self.__qualname__ = name
        self.__doc__ = doc or None
        self.__wrapped__ = _function_of(self.source, name, f"<parsl-context {name} {self.digest[:12]}>")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here, as it runs on an endpoint."""
        return self.__wrapped__(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever reads it gets a plain function, and needs nothing but built-in names.
        return eval, (_REBUILD, {"text": self.source, "name": self.__name__, "runtime": runtime_name()})

    def __repr__(self) -> str:
        return f"<StandaloneFunction {self.__name__}: {len(self.source) / 1000:.0f} kB, {self.digest[:12]}>"


@functools.cache
def runtime_text() -> str:
    """The modules of the runtime as one text, without docstrings and with the imports between them left out."""
    return text_of((_OWN, name) for name in _RUNTIME)


@functools.cache
def runtime_name() -> str:
    """What the runtime is called among the modules of a process. Other releases have other names."""
    return f"_parsl_context_{hashlib.sha256(runtime_text().encode()).hexdigest()[:12]}"


def _pickled(program: Mapping[str, Any]) -> bytes:
    """The program; equal bytes for equal programs, whatever is the same object in them."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, PROTOCOL)
    pickler.fast = True
    pickler.dump(dict(program))
    return out.getvalue()


def _function_of(source: str, name: str, file: str) -> Callable[..., Any]:
    names: dict[str, Any] = {}  # without a __name__, so that it is pickled by value
    exec(compile(source, file, "exec", dont_inherit=True), names)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    made: types.FunctionType = names[name]
    return made


def _escaped(doc: str) -> str:
    return inspect.cleandoc(doc).replace("\\", "\\\\").replace('"""', "'''").partition("\n")[0].rstrip('"')


def _too_large(name: str, program: Mapping[str, Any], size: int) -> str:
    parts = {f"module {top}": sum(map(len, files.values())) for top, _, files, _ in program["units"]}
    for (space, _), bindings in program["spaces"].items():
        parts |= {f"global {each} of {space}": len(packed) for each, (_, packed) in bindings.items()}
    parts |= {f"arguments of context {each['name']}": len(each["args"]) for each in program["contexts"]}
    largest = sorted(parts.items(), key=lambda each: -each[1])[:3]
    shown = ", ".join(f"{what} ({count / 1e6:.1f} MB)" for what, count in largest)
    return (
        f"{name} is {size / 1e6:.1f} MB as one function, and Globus Compute takes at most {MAX_BYTES // 10**6} MB for "
        f"a task. Largest: {shown}. Keep data in files where the endpoint is, and load them in the context function; "
        "install large packages there."
    )
