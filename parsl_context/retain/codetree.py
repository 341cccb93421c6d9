"""Modules of the user's as files, where Python's own import finds them.

    <folder of the manager>/content/<digest>        each file once
    <folder of the manager>/trees/<digest>/...      a tree of hard links, first on sys.path and in PYTHONPATH

A tree is complete when it gets its name, and does not change after that. A process goes from a tree to a newer one;
modules that have changed are loaded anew then, as the user's process has done.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import stat
import sys
import tempfile
import types
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from parsl_context.content.carried import Tree
from parsl_context.content.modules import settle_python_path
from parsl_context.distribute import code_files
from parsl_context.errors import CarriedCodeError
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest


class CodeTree:
    """The tree that this process imports the user's modules from.

    Parameters
    ----------
    folder
        Where trees lie; made by the manager, for this user alone.

    Attributes
    ----------
    tree : Tree or None
        The one in use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._stale: list[str] = []  # modules that are to be loaded anew before anything else
        self.tree: Tree | None = None

    def adopt(self, digest: Digest, tree: Tree, packages: Collection[str], content: Callable[[Digest], Buffer]) -> None:
        """Import from this tree from now on, unless the one in use is newer.

        Parameters
        ----------
        packages
            Top-level names that are sure to be needed.

        Raises
        ------
        CarriedCodeError
            If others could have written it, a name in it is that of a module which this process has from elsewhere, or
            it cannot be written.
        Exception
            What a module raised as it was loaded anew.
        """
        self._check_names(tree, packages)
        if self.tree is None or tree.number > self.tree.number:
            self._go_to(digest, tree, content)
        while self._stale:
            importlib.reload(sys.modules[self._stale[0]])
            del self._stale[0]

    def _go_to(self, digest: Digest, tree: Tree, content: Callable[[Digest], Buffer]) -> None:
        self._check_owner()
        path = self._folder / "trees" / digest
        if not path.is_dir():
            try:
                self._write(path, tree, content)
            except OSError as error:
                raise CarriedCodeError(
                    f"Modules of the user's cannot be written to {self._folder}: {error}. Make room there, or set "
                    "TMPDIR, in worker_init of the provider, to another folder."
                ) from error
        old, self._path = self._path, path
        before, self.tree = self.tree, tree
        settle_python_path()  # the user's modules are not installed here, either
        _put_first(sys.path, old, path)
        listed = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        _put_first(listed, old, path)
        os.environ["PYTHONPATH"] = os.pathsep.join(listed)
        importlib.invalidate_caches()
        if old is not None and before is not None:
            for _, module in list(self._loaded()):
                if isinstance(getattr(module, "__path__", None), list):
                    module.__path__ = [part.replace(f"{old}/", f"{path}/", 1) for part in module.__path__]
            for name, module in list(self._loaded()):
                file = self._file_in_tree(module)
                if file and before.files.get(file) != tree.files.get(file) and name not in self._stale:
                    self._stale.append(name)

    def stay_on_path(self) -> None:
        """Go on to be found by imports, whatever a body has made of `sys.path`."""
        if self._path is not None and str(self._path) not in sys.path:
            sys.path.insert(0, str(self._path))

    def conflict(self, tree: Tree) -> str | None:
        """A module that is loaded here in a newer version than that of a tree."""
        if self.tree is None or tree.number >= self.tree.number:
            return None
        for name, module in self._loaded():
            file = self._file_in_tree(module)
            if file is not None and tree.files.get(file, "") not in ("", self.tree.files.get(file)):
                return name
        return None

    def _loaded(self) -> Iterator[tuple[str, types.ModuleType]]:
        assert self.tree is not None
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in self.tree.origins and isinstance(module, types.ModuleType):
                yield name, module

    def _file_in_tree(self, module: types.ModuleType) -> str | None:
        """Path of a module's file within its tree."""
        file = getattr(module, "__file__", None)
        start = f"{self._folder / 'trees'}/"
        return file[len(start) :].partition("/")[2] if file is not None and file.startswith(start) else None

    def _check_owner(self) -> None:
        try:
            status = self._folder.lstat()
        except FileNotFoundError:
            raise CarriedCodeError(
                f"{self._folder}, where the user's modules are to be written, is gone: something has cleaned up the "
                "folder for temporary files. Start the block again, or set TMPDIR in worker_init of the provider."
            ) from None
        is_open = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or is_open:
            raise CarriedCodeError(
                f"{self._folder} is not a folder that belongs to this user alone. Modules are not imported from there; "
                "start the block again."
            )

    def _check_names(self, tree: Tree, packages: Collection[str]) -> None:
        for name in packages:
            origin = tree.origins.get(name)
            module = sys.modules.get(name)
            if origin is None or module is None or self._file_in_tree(module) is not None:
                continue
            places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
            known = [place for place in places if place]
            # The user's own folder may be on the path here, too, and what was imported from it is what would be now.
            if not any(place.startswith((f"{self._folder}/", f"{origin}/{name}")) for place in known):
                raise CarriedCodeError(
                    f"Module {name} of {origin} has the name of a module that the workers themselves use "
                    f"({known[0] if known else 'built in'}). Give it another name."
                )

    def _write(self, path: Path, tree: Tree, content: Callable[[Digest], Buffer]) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=self._folder))
        try:
            for name, digest in tree.files.items():
                file = code_files.path_of(self._folder, digest)
                if not file.exists():
                    code_files.write(self._folder, digest, content(digest))
                target = new / name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _link(file, target)
            new.rename(path)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if not (isinstance(error, OSError) and path.is_dir()):  # another worker was faster
                raise


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)  # a file system without links


def _put_first(places: list[str], old: Path | None, new: Path) -> None:
    with contextlib.suppress(ValueError):
        places.remove(str(old))
    places.insert(0, str(new))
