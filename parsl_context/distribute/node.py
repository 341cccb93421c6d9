"""The store of a node: files on its own disks, fetched once, for all workers and runs of one user.

It has one or more folders, in order of preference. What is in one of them is used from there; what is new goes into the
first that can take it. An entry is named by the digest of an address and of the version that stood there, or by the
SHA-256 of its content. See `tier` for what an entry is, and `folders` for whom a folder belongs to.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import folders, locks, origins, places, receiving, trees
from parsl_context.distribute.folders import UnusableError
from parsl_context.distribute.origins import Version
from parsl_context.distribute.packed import PathState
from parsl_context.distribute.receiving import Receiving
from parsl_context.distribute.records import Record, Sha256
from parsl_context.distribute.tier import Tier
from parsl_context.errors import ConfigurationError, FileFetchError

logger = logging.getLogger(f"parsl.{__name__}")

_ELSEWHERE = (
    "Give the store another folder, with room on the node's own disk: ContextExecutor(node_store=...), or "
    "PARSL_CONTEXT_STORE in worker_init of the provider"
)
_NAMES = "names"  # folder of an entry, with links to its content
_Made = TypeVar("_Made")


class Peers(Protocol):
    """Other nodes, from which a file may be had as well."""

    def version(self, url: str) -> Version | None:
        """The version of a file that cannot be seen from here, if it is to be had from others."""

    def bring(self, url: str, found: Version, name: str | None = None) -> bool:
        """Have a version of a file become an entry of the store. Gives whether it did.

        Parameters
        ----------
        name
            Identity by which the store is to know it, if not by that of the version.

        Raises
        ------
        FileFetchError
            If it did not, and there is no other way to it.
        """


class NodeStore:
    """Files of one user on one node. Each operation may be called from any thread and process, several at once.

    Parameters
    ----------
    where
        The folders, the preferred first. Made if need be; nobody but this user may write to them.
    max_bytes
        Space that they may take, each; if not given, half of what is free. [bytes]
    problems
        Why other folders that were named cannot be used.

    Attributes
    ----------
    problems : sequence of str
        As given.
    """

    def __init__(
        self, where: Path | Sequence[Path], max_bytes: int | None = None, problems: Sequence[str] = ()
    ) -> None:
        self._tiers = [Tier(folder, max_bytes) for folder in ([where] if isinstance(where, Path) else where)]
        self.problems = problems
        self._passed_over: set[tuple[Path, str]] = set()  # folders that were logged, and what for

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders, whether they are there or not."""
        return tuple(tier.folder for tier in self._tiers)

    def fetch(self, url: str, holds: contextlib.ExitStack, peers: Peers | None = None, *, verify: bool = False) -> Path:
        """A local copy of a file, which stays until `holds` is closed, and longer if it can.

        Parameters
        ----------
        peers
            May have it, or help each other to it.
        verify
            Hash a copy that is there already, also if nobody has touched it.

        Raises
        ------
        FileFetchError
            If it is missing, cannot be read, comes short, or finds no room.
        """
        found = _version(url, peers)
        if found.identity is None:  # nothing would tell whether a copy is still right
            return self.fetch_privately(url, holds)
        if (path := self._find(_entry_of(url, found), holds, verify=verify)) is not None:
            return path
        return self._first_usable(url, holds, lambda tier: self._fetch_to(tier, url, found, holds, peers))

    def fetch_privately(self, url: str, holds: contextlib.ExitStack) -> Path:
        """A copy for one use, removed when `holds` is closed.

        Raises
        ------
        FileFetchError
            As from `fetch`.
        """

        def receive(tier: Tier) -> Path:
            with origins.opened(url) as source:
                folder, record = receiving.receive_file(tier, url, origins.name_of(url), source, holds)
            return _until_closed(folder, record.name, holds)

        return self._first_usable(url, holds, receive)

    def fetch_path(self, state: PathState, holds: contextlib.ExitStack, peers: Peers | None = None) -> Path:
        """A local copy of a file or folder, which stays until `holds` is closed, and longer if it can.

        Parameters
        ----------
        peers
            May have it, or help each other to it.

        Raises
        ------
        FileFetchError
            If it is in another state, something in it cannot be read or changes meanwhile, or it finds no room.
        """
        entry = _entry_of(f"{origins.PATH}{state.path}", Version(state.stamp, None))
        if (copy := self._find(entry, holds)) is not None:
            return copy

        def receive(tier: Tier) -> Path:
            way = peers
            with tier.locked(entry):
                while (taken := self._find(entry, holds)) is None:
                    if way is not None and self._bring_path(tier, entry, state, way):
                        way = None  # should it have been given up already, it is copied
                        continue
                    trees.check(state.path, state.stamp)
                    folder, record = receiving.receive_path(tier, state.path, state.stamp, holds)
                    tier.settle(folder, entry, record)
                    logger.info("Copied %s to %s", state.path, tier.folder / entry)
            return taken

        return self._first_usable(state.path, holds, receive)

    def made(
        self, entry: str, what: str, make: Callable[[Tier], tuple[Path, Record]], holds: contextlib.ExitStack
    ) -> Path:
        """The content of an entry that is made here, if it is not there; it stays until `holds` is closed, and longer.

        Parameters
        ----------
        entry
            Its name: a digest of all that it is made of.
        what
            What it is; for messages.
        make
            Makes it in a folder of the store: gives a folder that is locked, and its record. Called by one process of
            this node at a time.

        Raises
        ------
        FileFetchError
            If it finds no room.
        """
        if (path := self._find(entry, holds)) is not None:
            return path

        def make_in(tier: Tier) -> Path:
            with tier.locked(entry):
                while (taken := tier.take(entry, holds)) is None:
                    folder, record = make(tier)
                    tier.settle(folder, entry, record)
            return taken

        return self._first_usable(what, holds, make_in)

    def made_privately(
        self, what: str, make: Callable[[Tier], tuple[Path, Record]], holds: contextlib.ExitStack
    ) -> Path:
        """As `made`, for one use: removed when `holds` is closed.

        Raises
        ------
        FileFetchError
            If it finds no room.
        """

        def make_in(tier: Tier) -> Path:
            folder, record = make(tier)
            return _until_closed(folder, record.name, holds)

        return self._first_usable(what, holds, make_in)

    def blob(
        self, digest: Sha256, holds: contextlib.ExitStack, *, name: str | None = None, verify: bool = False
    ) -> Path | None:
        """A content that is here, which stays until `holds` is closed; None if it is not here.

        Parameters
        ----------
        name
            Last part of the path that is wanted, for those who go by the suffix of a file.
        verify
            Hash it, also if nobody has touched it.
        """
        path = self._find(digest, holds, verify=verify)
        return path if path is None or name is None else _named(path, name)

    @contextlib.contextmanager
    def receiving(self, digest: Sha256, size_bytes: int, *, wait: bool = True) -> Iterator[Receiving]:
        """Receive a content that is not here, alone of all processes; when all is written, `settle` it.

        What is left without `settle` may be resumed by the next, in whatever process.

        Parameters
        ----------
        wait
            Whether to wait while another process receives it.

        Raises
        ------
        FileFetchError
            If there is no room for it.
        BlockingIOError
            If another process receives it and we are not to wait.
        """
        with contextlib.ExitStack() as stack:

            def begin(tier: Tier) -> Receiving:
                with contextlib.ExitStack() as undo:
                    undo.enter_context(tier.locked(digest, wait=wait))
                    with contextlib.ExitStack() as brief:
                        if tier.take(digest, brief) is not None:
                            return Receiving(tier, digest, tier.folder / digest, is_resumed=False, is_there=True)
                    begun = receiving.begin(tier, digest, size_bytes, undo)
                    stack.push(undo.pop_all())
                return begun

            yield self._first_usable(digest, stack, begin)

    def allocate(self, url: str, size: int, holds: contextlib.ExitStack) -> Path:
        """A new file of this size, to be filled and then settled; its room is taken until `holds` is closed.

        Raises
        ------
        FileFetchError
            If it finds no room.
        """
        name = receiving.free_name(origins.name_of(url))
        return self._first_usable(url, holds, lambda tier: tier.new_folder(url, name, size, holds) / name)

    def settle(self, file: Path, url: str, identity: str) -> Path:
        """Make an allocated file, which is whole, the copy of a version of an address. Gives where it is then.

        Raises
        ------
        FileFetchError
            If the disk takes no more.
        """
        tier = next(tier for tier in self._tiers if tier.folder == file.parent.parent)
        entry = _entry_of(url, Version(identity, None))
        try:
            receiving.settle_file(tier, url.removeprefix(origins.PATH), file, entry)
        except UnusableError as error:
            raise FileFetchError(url=url, reason=str(error)) from error
        logger.info("Fetched %s to %s", url, tier.folder / entry)
        return tier.folder / entry / file.name

    def _fetch_to(self, tier: Tier, url: str, found: Version, holds: contextlib.ExitStack, peers: Peers | None) -> Path:
        entry = _entry_of(url, found)
        with tier.locked(entry):
            while (path := self._find(entry, holds)) is None:
                if peers is not None and peers.bring(url, found):
                    peers = None  # should it have been given up already, it is fetched from where it comes from
                    continue
                with origins.opened(url) as source:
                    folder, record = receiving.receive_file(tier, url, origins.name_of(url), source, holds)
                # Named by what was read: another version may have come in between.
                found, entry = source.version, _entry_of(url, source.version)
                if found.identity is None:
                    return _until_closed(folder, record.name, holds)
                tier.settle(folder, entry, record)
                logger.info("Fetched %s to %s", url, tier.folder / entry)
        return path

    def _bring_path(self, tier: Tier, entry: str, state: PathState, peers: Peers) -> bool:
        """Have a file or folder come from other nodes, or from the script if only that one sees it."""
        url = f"{origins.FOLDER if state.is_folder else origins.PATH}{state.path}"
        if any("\udc80" <= letter <= "\udcff" for letter in url):  # no text: messages cannot name it
            return False
        found: Version | None = Version(state.stamp, state.size_bytes)
        if os.path.lexists(state.path):
            trees.check(state.path, state.stamp)
        else:
            found = peers.version(url)
        if found is None or found.identity is None:
            return False
        if not found.identity.endswith(state.stamp):
            raise trees.other_state(state.path)
        if not peers.bring(url, found, state.stamp):
            return False
        if state.is_folder:
            with contextlib.ExitStack() as brief:
                file = self._find(_entry_of(url, Version(state.stamp, None)), brief)
                if file is None:
                    return False
                folder, record = receiving.unpack_folder(tier, file, state, brief)
                tier.settle(folder, entry, record)
            logger.info("Unpacked %s to %s", state.path, tier.folder / entry)
        return True

    def _find(self, entry: str, holds: contextlib.ExitStack, *, verify: bool = False) -> Path | None:
        for tier in self._tiers:
            if os.path.lexists(tier.folder / entry):
                with contextlib.suppress(UnusableError):  # logged when something new is to go there
                    tier.open(holds)
                    if (path := tier.take(entry, holds, verify=verify)) is not None:
                        return path
        return None

    def _first_usable(self, what: str, holds: contextlib.ExitStack, use: Callable[[Tier], _Made]) -> _Made:
        """What `use` makes of the first folder that can take it."""
        problems = list(self.problems)
        for tier in self._tiers:
            try:
                tier.open(holds)
                return use(tier)
            except UnusableError as error:
                problems.append(str(error))
                self._log(tier, str(error), what)
        raise FileFetchError(url=what, reason=f"{'; '.join(problems)}. {_ELSEWHERE}")

    def _log(self, tier: Tier, problem: str, what: str) -> None:
        """Say once why a folder is passed over."""
        if (key := (tier.folder, re.sub(r"[\d.]+", "", problem))) not in self._passed_over:
            self._passed_over.add(key)
            logger.warning("The store passes over %s for %s: %s", tier.folder, what, problem)


def store_of_this_node(environment: Mapping[str, str] = os.environ, where: Sequence[str] = ()) -> NodeStore:
    """The store that all processes of this user find.

    Parameters
    ----------
    where
        Folders that `ContextExecutor(node_store=...)` names; if there are none those of PARSL_CONTEXT_STORE, separated
        by colons; if that is not set the disks of the node that its environment tells of.

    Raises
    ------
    ConfigurationError
        If PARSL_CONTEXT_STORE_GB is no number.
    """
    size_gb = environment.get("PARSL_CONTEXT_STORE_GB")
    try:
        max_bytes = int(float(size_gb) * 1e9) if size_gb else None
    except ValueError:
        raise ConfigurationError(f"PARSL_CONTEXT_STORE_GB={size_gb!r} must be a number.") from None
    found = _places(environment, where)
    problems = [place.problem for place in found if place.problem is not None]
    for problem in problems:
        logger.warning("The store passes over a folder: %s", problem)
    usable = dict.fromkeys(Path(place.folder) for place in found if place.problem is None)
    return NodeStore(list(usable), max_bytes, problems)


def is_local(path: Path) -> bool:
    """Whether a file is there, on a disk of this node."""
    try:
        mounts = Path("/proc/self/mounts").read_text()
        return path.exists() and not places.is_shared(places.kind_of_file_system(os.path.realpath(path), mounts))
    except OSError:
        return False


def _places(environment: Mapping[str, str], where: Sequence[str]) -> list[places.Place]:
    named = environment.get("PARSL_CONTEXT_STORE")
    if where or named:
        texts = where or [text for text in (named or "").split(os.pathsep) if text]
        # Some batch systems give a job no USER.
        known = {"USER": _user(environment), **{name: value for name, value in environment.items() if value}}
        return places.given_places(texts, "node_store" if where else "PARSL_CONTEXT_STORE", known)
    mounts = ""
    with contextlib.suppress(OSError):
        mounts = Path("/proc/self/mounts").read_text()
    return places.found_places(
        environment,
        user=_user(environment),
        uid=os.getuid(),
        temporary=tempfile.gettempdir(),
        kind_of=functools.partial(_kind_of, mounts),
    )


def _kind_of(mounts: str, folder: str) -> str | None:
    """Kind of the file system of a folder that we may write to."""
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        return None
    return places.kind_of_file_system(os.path.realpath(folder), mounts) or "unknown"


def _user(environment: Mapping[str, str]) -> str:
    if environment.get("USER"):
        return environment["USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in containers there may be no name
        return str(os.getuid())


def _entry_of(url: str, found: Version) -> str:
    return digest_bytes(f"{url} {found.identity}".encode("utf-8", "surrogateescape"))


def _version(url: str, peers: Peers | None) -> Version:
    try:
        return origins.version(url)
    except FileFetchError:
        found = None if peers is None else peers.version(url)
        if found is None:
            raise
        return found


def _until_closed(folder: Path, name: str, holds: contextlib.ExitStack) -> Path:
    holds.callback(folders.discard, folder)
    return folder / name


def _named(path: Path, name: str) -> Path:
    """A link to a file, with another name."""
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{name!r} is no name of a file.")
    link = path.parent / _NAMES / name
    with locks.locked(path.parent / f"{folders.LOCK}names"):
        link.parent.mkdir(mode=0o700, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path(os.pardir) / path.name)
    return link
