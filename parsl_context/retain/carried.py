"""Code of the user's in this process: before it runs, definitions are made, names are set, modules can be imported.

Headers say what some code needs (`content.carried`). To act on one again costs a look, unless names were set meanwhile
for other code that needs other values.
"""

from __future__ import annotations

import linecache
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from parsl_context.content import space as there
from parsl_context.content.carried import Header
from parsl_context.content.serialization import unpack_value
from parsl_context.content.space import Id, space
from parsl_context.errors import CarriedCodeError
from parsl_context.retain.codetree import CodeTree
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest

# Forked processes go on with what their parent had, trees and names.
_trees: dict[str, CodeTree] = {}
_versions: dict[tuple[str, str], int] = {}  # of the values that names have


class Carried:
    """What has come of the user's code.

    Parameters
    ----------
    content
        Gives what was sent by its digest.
    folder
        For modules.
    """

    def __init__(self, content: Callable[[Digest], Buffer], folder: str) -> None:
        self._content = content
        self._tree = _tree_of(folder)
        self._headers: dict[Digest, Header] = {}
        self._prepared: dict[Digest, int] = {}  # headers that were acted on, with the changes made until then
        self._changes = 0
        self._coming: dict[Id, Digest] = {}  # definitions that may be asked for
        self._made: dict[Digest, Id] = {}
        self._versions = _versions
        space.source = self._make

    @property
    def has_tree(self) -> bool:
        """Whether there are modules of the user's."""
        return self._tree.tree is not None

    def prepare(self, digest: Digest | None) -> None:
        """Have everything ready that a header says.

        Raises
        ------
        CarriedCodeError
            If a module cannot be what it is for the user.
        Exception
            What code of the user's raised as it was unpickled or imported.
        """
        if digest is None or self._prepared.get(digest) == self._changes:
            return
        header = self._header(digest)
        if header.tree is not None:
            self._tree.adopt(header.tree, pickle.loads(self._content(header.tree)), self._content)
        for name, facts in header.namespaces.items():
            _begin(name, facts)
        for name, text in header.sources.items():
            if name not in linecache.cache:
                _remember_text(name, bytes(self._content(text)).decode("utf-8", "surrogatepass"))
        self._coming |= header.definitions
        self._made |= {content: made for made, content in header.definitions.items()}
        changed = False
        for each in header.bindings:
            place = (each.namespace, each.name)
            if self._versions.get(place) != each.version:
                value = unpack_value([self._content(each.value)])
                vars(there.namespace(each.namespace))[each.name] = value
                self._versions[place] = each.version
                changed = True
        self._changes += changed
        self._prepared[digest] = self._changes

    def why_older(self, headers: Iterable[Digest | None]) -> str | None:
        """Which module these need in another, older version than this process has loaded; None if all is well."""
        for digest in headers:
            if digest is None or digest in self._prepared:
                continue
            tree = self._header(digest).tree
            if tree is not None and (name := self._tree.conflict(pickle.loads(self._content(tree)))) is not None:
                return f"module {name} was loaded anew since"
        return None

    def forget(self, digests: Sequence[Digest]) -> None:
        """Let go of what was made of content that nobody names any more."""
        for digest in digests:
            self._headers.pop(digest, None)
            self._prepared.pop(digest, None)
            name = self._made.pop(digest, None)
            if name is not None:
                self._coming.pop(name, None)
                space.drop(name)

    def _header(self, digest: Digest) -> Header:
        header = self._headers.get(digest)
        if header is None:
            header = self._headers[digest] = pickle.loads(self._content(digest))
        return header

    def _make(self, name: Id) -> object:
        digest = self._coming.get(name)
        if digest is None:
            raise CarriedCodeError(f"The definition {name} has not come with what uses it.")
        made = unpack_value([self._content(digest)])
        space.add(name, made)
        return made


def _tree_of(folder: str) -> CodeTree:
    if folder not in _trees:
        _trees[folder] = CodeTree(Path(folder))
    return _trees[folder]


def _begin(namespace: str, facts: dict[str, str | None]) -> None:
    """Have the module of a namespace."""
    if namespace == there.MAIN:
        space.adopt_main()
    vars(there.namespace(namespace)).update(facts)


def _remember_text(name: str, text: str) -> None:
    """Have tracebacks and `inspect` find the text of a file that need not be here."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
