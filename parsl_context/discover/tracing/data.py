"""What a traced process is asked, and what it found: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from parsl_context.wire.messages import Digest


@dataclass(frozen=True)
class Request:
    """What a traced process is to do, in this order.

    Attributes
    ----------
    blobs : tuple
        Digest, name for people, and content, of all that it needs.
    contexts : tuple
        Digests of the contexts to be built, each after those that it requires.
    code : Digest
        The function to be unpickled.
    imports : tuple of str
        Modules to be imported.
    """

    blobs: tuple[tuple[Digest, str, bytes], ...]
    contexts: tuple[Digest, ...]
    code: Digest | None
    imports: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """A module that was imported.

    Attributes
    ----------
    name : str
        Its full name.
    file : str or None
        Its file.
    during : str
        What was done meanwhile: the name of a context, or "the function".
    time_s : float or None
        For the module alone, without what it imports in turn; None if Python did not say. [s]
    """

    name: str
    file: str | None
    during: str
    time_s: float | None = None


@dataclass(frozen=True)
class ImportedTogether:
    """Modules of one distribution that were imported while one thing was done.

    Attributes
    ----------
    name, version : str or None
        Of the distribution; of the standard library and of the user's modules, what people call it, and None.
    during : str
        As of `Imported`.
    modules : int
        How many.
    time_s : float
        For all of them, without what other distributions took. [s]
    """

    name: str
    version: str | None
    during: str
    modules: int
    time_s: float


@dataclass(frozen=True)
class Opened:
    """A file that Python code opened, or that is mapped into memory.

    Attributes
    ----------
    path : str
        Its path.
    during : str
        As of `Imported`; of what is mapped, nobody knows.
    at_s : float or None
        When it was opened first, from the beginning of the trace. [s]
    size_bytes : int or None
        None if it is gone. [bytes]
    is_written : bool
        Whether it was opened to be written.
    """

    path: str
    during: str = ""
    at_s: float | None = None
    size_bytes: int | None = None
    is_written: bool = False


@dataclass(frozen=True)
class Built:
    """A context that was built.

    Attributes
    ----------
    name : str
        The context.
    time_s : float
        That its function took. [s]
    memory_bytes : int
        Growth of resident memory. [bytes]
    peak_bytes : int
        The same at its highest. [bytes]
    """

    name: str
    time_s: float
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Trace:
    """What happened.

    Attributes
    ----------
    built : tuple of Built
        Contexts.
    imported, opened, libraries, mapped : tuple
        Modules; files that Python code opened; shared libraries that are in memory at the end, but for modules; other
        files that are.
    errors : tuple of str
        What failed, in sentences.
    """

    built: tuple[Built, ...] = ()
    imported: tuple[Imported, ...] = ()
    opened: tuple[Opened, ...] = ()
    libraries: tuple[Opened, ...] = ()
    mapped: tuple[Opened, ...] = ()
    errors: tuple[str, ...] = field(default=())
