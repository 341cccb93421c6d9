"""What travels beside a pickle so that it can be read: plain data, made in the user's process and read by workers."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

from parsl_context.content.space import Id
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest


@dataclass(frozen=True)
class Binding:
    """A name of a namespace, and the content of its value."""

    namespace: str
    name: str
    version: int  # of the value that the name had, one for all names
    value: Digest


@dataclass(frozen=True)
class Tree:
    """Files of the user's modules.

    Attributes
    ----------
    number : int
        A tree with a higher number is newer; it has all modules of the older ones.
    files : dict
        Content of each file, by its path relative to the folder that is to be on `sys.path`.
    origins : dict
        Where each top-level module or package lies for the user: folder, by its name.
    """

    number: int
    files: dict[str, Digest]
    origins: dict[str, str]


@dataclass(frozen=True)
class Header:
    """All that the code of a pickle, and what that uses, needs."""

    definitions: dict[Id, Digest] = field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    spare: tuple[Binding, ...] = ()  # names that files may ask for which the script has pickled
    namespaces: dict[str, dict[str, str | None]] = field(default_factory=dict)  # __file__ and the like
    sources: dict[str, Digest] = field(default_factory=dict)  # texts, by the name of their file
    tree: Digest | None = None
    packages: frozenset[str] = frozenset()  # top-level names of modules that are sure to be needed


def pack_code(header: Digest | None, stream: bytes) -> bytes:
    """Code with the header that must be acted on before it is unpickled."""
    return pickle.dumps((header, stream), protocol=5)


def unpack_code(data: Buffer) -> tuple[Digest | None, bytes]:
    """The digest of the header, if there is one, and the pickle."""
    header, stream = pickle.loads(data)
    return header, stream
