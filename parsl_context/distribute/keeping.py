"""The store as people see it: what is in it and who uses it, what is to be removed, and whether it is still whole."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parsl_context.distribute import folders, locks, records
from parsl_context.distribute.folders import LOCK


@dataclass(frozen=True)
class Kept:
    """An entry of the store, or what is half made (then it has no digest).

    Attributes
    ----------
    path : str
        Its folder.
    source : str
        Address or path that it was fetched from; empty if it is known by its digest alone.
    sha256 : str or None
        Digest of its content.
    size_bytes : int
        Space that it takes.
    last_used : float
        When it was used last. [s since the epoch]
    users : tuple of int
        Processes that use it, as far as they can be seen from here.
    """

    path: str
    source: str
    sha256: str | None
    size_bytes: int
    last_used: float
    users: tuple[int, ...]


@dataclass(frozen=True)
class Broken:
    """An entry that was found to be broken, and was removed."""

    kept: Kept
    problem: str


def contents(where: Iterable[Path]) -> list[Kept]:
    """What is in folders of the store, the latest used first. Folders that are none are left out."""
    users = _users()
    found = [path for folder in where if is_ours(folder) for path in _all(folder)]
    return sorted((_kept(path, users) for path in found), key=lambda kept: (-kept.last_used, kept.path))


def is_ours(folder: Path) -> bool:
    """Whether a folder is a store of this user's, who may remove things in it."""
    with contextlib.suppress(OSError):
        return folder.lstat().st_uid == os.getuid() and not folder.is_symlink() and folders.is_store(folder)
    return False


def to_clean(kept: Sequence[Kept], *, unused_since: float | None, most_bytes: int | None) -> list[Kept]:
    """Which entries are to go, the one that was used least recently first. Pure. None are that are in use.

    Parameters
    ----------
    unused_since
        All that were not used since then; None for no such limit. [s since the epoch]
    most_bytes
        As many as it takes for the rest to take no more space; None for no such limit. [bytes]
    """
    left = sum(each.size_bytes for each in kept)
    chosen = []
    for each in sorted(kept, key=lambda each: each.last_used):
        is_old = unused_since is not None and each.last_used < unused_since
        is_too_much = most_bytes is not None and left > most_bytes
        if (is_old or is_too_much) and not each.users:
            chosen.append(each)
            left -= each.size_bytes
    return chosen


def clean(chosen: Iterable[Kept]) -> tuple[list[Kept], list[Kept]]:
    """Remove entries. Gives those that are gone, and those that somebody has begun to use."""
    gone: list[Kept] = []
    used: list[Kept] = []
    for each in chosen:
        path = Path(each.path)
        with locks.locked(path.parent / f"{LOCK}room"):
            (gone if folders.remove_unused(path) else used).append(each)
    return gone, used


def clean_locks(where: Iterable[Path]) -> None:
    """Remove the files of locks that processes left which were killed."""
    for folder in where:
        if is_ours(folder):
            for path in folder.glob(f"{LOCK}*"):
                locks.remove_if_free(path)


def verify(where: Iterable[Path], tell: Callable[[Kept], None] = lambda kept: None) -> Iterator[Broken]:
    """Hash every entry, and remove those that are broken, also while they are in use: nobody else is to get them.

    Parameters
    ----------
    tell
        Called with each entry before it is hashed.
    """
    for kept in contents(where):
        path = Path(kept.path)
        if path not in folders.entries(path.parent):
            continue  # half made, or gone
        tell(kept)
        with contextlib.ExitStack() as holds:
            fd = locks.hold(path, shared=True)
            if fd is None:
                continue  # it is being removed
            holds.callback(os.close, fd)
            record = records.read(path)
            problem = "it has no record" if record is None else records.problem_of(path, record, thorough=True)
            if problem is not None and path.exists():
                folders.remove(path)
                yield Broken(kept, problem)


def now() -> float:
    """The time that `Kept.last_used` is to be compared with. [s since the epoch]"""
    return time.time()


def _all(folder: Path) -> Iterator[Path]:
    yield from folders.entries(folder)
    yield from folders.unfinished(folder)


def _kept(path: Path, users: Mapping[str, set[int]]) -> Kept:
    record = records.read(path)
    return Kept(
        path=str(path),
        source=record.source if record is not None else "",
        sha256=record.sha256 if record is not None else None,
        size_bytes=folders.size_of(path),
        last_used=folders.last_used(path),
        users=tuple(sorted(users.get(os.path.realpath(path), ()))),
    )


def _users() -> dict[str, set[int]]:
    """Processes that have folders open, by the folder: who uses an entry has it open, and locked."""
    found: dict[str, set[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found.setdefault(os.readlink(link), set()).add(int(process.name))
    return found
