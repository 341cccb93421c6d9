"""Code of the user's in this process: before it runs, definitions are made, names are set, modules can be imported.

Headers say what some code needs (`content.carried`). To act on one again costs a look, unless names were set meanwhile
for other code that needs other values.
"""

from __future__ import annotations

import linecache
import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsl_context.content.carried import Binding, Header, Tree
from parsl_context.content.making import module
from parsl_context.content.serialization import unpack_value
from parsl_context.content.space import MAIN, Id, space
from parsl_context.errors import CarriedCodeError
from parsl_context.retain.codetree import CodeTree
from parsl_context.retain.spawned import MainSpec
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest

logger = logging.getLogger(f"parsl.{__name__}")


class Carried:
    """What has come of the user's code. A forked process goes on with what its parent had.

    Parameters
    ----------
    folder
        For files, of this user alone.

    Attributes
    ----------
    content : callable
        Gives what was sent by its digest.
    """

    def __init__(self, folder: Path) -> None:
        self.content: Callable[[Digest], Buffer] = self._kept_content
        self._folder = folder
        self._tree = CodeTree(folder)
        self._headers: dict[Digest, Header] = {}
        self._trees: dict[Digest, Tree] = {}
        self._prepared: dict[Digest, int] = {}  # headers that were acted on, with the changes made until then
        self._changes = 0
        self._versions: dict[tuple[str, str], int] = {}  # of the values that names have
        self._values: dict[tuple[str, str], Digest] = {}  # what these were made of
        self._definitions: dict[Id, Digest] = {}  # that may be asked for
        self._kept: dict[Digest, Buffer] = {}  # their content, and that of names
        self._spare: dict[tuple[str, str], Binding] = {}  # that nobody has asked for yet
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
        self._tree.stay_on_path()
        if digest is None or self._prepared.get(digest) == self._changes:
            return
        header = self._header(digest)
        if header.tree is not None:
            self._tree.adopt(header.tree, self._tree_of(header.tree), header.packages, self.content)
        if digest not in self._prepared:
            self._introduce(header)
        for each in header.bindings:
            if self._versions.get((each.namespace, each.name)) != each.version:
                self._bind(each, self.content(each.value))
        self._prepared[digest] = self._changes

    def _bind(self, binding: Binding, content: Buffer) -> None:
        place = (binding.namespace, binding.name)
        value = unpack_value([content])
        vars(module(binding.namespace))[binding.name] = value
        self._versions[place], self._values[place] = binding.version, binding.value
        self._changes += 1  # whatever becomes of the rest

    def _find_in_main(self, name: str) -> Any:
        """What the script has under a name that nothing which was sent has named: a file that it has pickled does."""
        if (MAIN, name) in self._spare:
            self._bind_spare()
        try:
            return vars(space.adopt_main())[name]
        except KeyError:
            raise AttributeError(f"module {MAIN!r} has no attribute {name!r}") from None

    def _bind_spare(self) -> None:
        """Have all that the script defines. It takes imports that calls as such do without."""
        spare, self._spare = self._spare, {}
        for place, each in spare.items():
            version = self._versions.get(place)
            if version == each.version or (version is None and each.name in vars(module(each.namespace))):
                continue
            try:
                self._bind(each, self._kept[each.value])
            except Exception:
                logger.debug("The script's %s cannot be had here", each.name, exc_info=True)

    def why_older(self, headers: Iterable[Digest | None]) -> str | None:
        """Which module these need in another, older version than this process has loaded; None if all is well."""
        for digest in headers:
            tree = None if digest is None else self._header(digest).tree
            if tree is not None and (name := self._tree.conflict(self._tree_of(tree))) is not None:
                return f"module {name} was loaded anew since"
        return None

    def _tree_of(self, digest: Digest) -> Tree:
        tree = self._trees.get(digest)
        if tree is None:
            tree = self._trees[digest] = pickle.loads(self.content(digest))
        return tree

    def forget(self, digests: Sequence[Digest]) -> None:
        """Let go of what was made of content that nobody names any more."""
        gone = set(digests)
        for digest in gone:
            self._headers.pop(digest, None)
            self._trees.pop(digest, None)
            self._prepared.pop(digest, None)
            self._kept.pop(digest, None)
        self._spare = {place: each for place, each in self._spare.items() if each.value not in gone}
        for name in [name for name, digest in self._definitions.items() if digest in gone]:
            del self._definitions[name]
            space.drop(name)
        # A name that is needed again gets its value anew: a class that comes again is another than before.
        for place in [place for place, digest in self._values.items() if digest in gone]:
            del self._values[place], self._versions[place]

    def _introduce(self, header: Header) -> None:
        """Be ready to make what a header names."""
        names = (*header.bindings, *header.spare)
        for digest in (*header.definitions.values(), *(each.value for each in names)):
            self._kept[digest] = self.content(digest)
        self._spare |= {(each.namespace, each.name): each for each in header.spare}
        self._definitions |= header.definitions
        for name, facts in header.namespaces.items():
            if name == MAIN:
                main = vars(space.adopt_main())
                main["__spec__"] = MainSpec(self._write_main, facts.get("__package__"))
                main.setdefault("__getattr__", self._find_in_main)
            vars(space.namespace(name)).update(facts)
        for name, text in header.sources.items():
            self._kept[text] = self.content(text)
            if name not in linecache.cache:
                _remember_text(name, pickle.loads(self._kept[text]))

    def _kept_content(self, digest: Digest) -> Buffer:
        return self._kept[digest]

    def _header(self, digest: Digest) -> Header:
        header = self._headers.get(digest)
        if header is None:
            header = self._headers[digest] = pickle.loads(self.content(digest))
        return header

    def _make(self, name: Id) -> object:
        digest = self._definitions.get(name)
        if digest is None:
            raise CarriedCodeError(f"The definition {name} has not come with what uses it.")
        made = unpack_value([self._kept[digest]])
        space.add(name, made)
        return made

    def _write_main(self) -> str:
        """Write what another process needs in order to have the script; gives the file."""
        headers = [replace(self._headers[digest], tree=None) for digest in self._prepared if digest in self._headers]
        content = {digest: bytes(data) for digest, data in self._kept.items()}
        fd, name = tempfile.mkstemp(prefix="main-", dir=self._folder)
        with os.fdopen(fd, "wb") as file:
            pickle.dump((headers, content), file, protocol=5)
        path = str(self._folder / f"main-of-{os.getpid()}")
        os.rename(name, path)
        return path


def read_main(path: str) -> dict[str, Any]:
    """What `Carried` has written, made in a process that `multiprocessing` has started: the names of the script."""
    with open(path, "rb") as file:
        headers, content = pickle.load(file)
    carried = Carried(Path(path).parent)
    carried._kept = content
    for number, header in enumerate(headers):
        carried._headers[Digest(str(number))] = header
        carried.prepare(Digest(str(number)))
    main = vars(space.adopt_main())
    main["__name__"] = "__mp_main__"  # what such a process calls the script
    return {name: value for name, value in main.items() if name != "__spec__"}


_here: dict[str, Carried] = {}


def carried_in(folder: str) -> Carried:
    """What has come to this process, and to the one that it was forked from."""
    if folder not in _here:
        _here[folder] = Carried(Path(folder))
    return _here[folder]


def _remember_text(name: str, text: str) -> None:
    """Have tracebacks and `inspect` find the text of a file that need not be here."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
