"""Makes an environment usable on a node: a folder where it is, an archive as an entry of the node store.

An entry is named by the digest of the environment and the interpreter that it runs on, so it is unpacked once for all
runs of a user on the node. Whoever uses it holds it; what half was unpacked is the store's to remove.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import folders, origins, records
from parsl_context.distribute.environments import archives, fitness, interpreters, zstd
from parsl_context.distribute.environments.arriving import Archive, Whole
from parsl_context.distribute.environments.fitness import Terms
from parsl_context.distribute.environments.index import Index, NoPackError, read_head
from parsl_context.distribute.environments.unpacking import BrokenShardError, Unpacker, unpack
from parsl_context.distribute.node import NodeStore, is_local
from parsl_context.distribute.records import Record
from parsl_context.distribute.tier import Tier
from parsl_context.errors import EnvironmentUnusableError, FileFetchError
from parsl_context.wire.messages import Digest, Environment

logger = logging.getLogger(f"parsl.{__name__}")

ARCHIVES = "PARSL_CONTEXT_ARCHIVES"  # archives that are on the node already, as of sbcast
_TOP = "environment"  # name of the folder in its entry
_RESERVE = ".parsl-context-reserve"
_GROWTH = 3  # of an archive that does not tell its size, when it is unpacked


@dataclass(frozen=True)
class Bringing:
    """How an archive comes to the node, when it has to.

    Attributes
    ----------
    arriving
        Gives an archive that comes, until that is closed; None: it is fetched first, without other nodes.
    variables
        Of the environment of the process.
    """

    store: NodeStore
    arriving: Callable[[str, contextlib.ExitStack], Archive] | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)


def adopt(environment: Environment, bringing: Bringing, holds: contextlib.ExitStack, node: Terms | None = None) -> Path:
    """The folder of an environment on this node, which stays until `holds` is closed.

    Raises
    ------
    EnvironmentUnusableError
        If it cannot be had, or does not run here.
    """
    node = node or fitness.this_node()
    try:
        if environment.form == "folder":
            return _folder(environment, node)
        if environment.is_kept:
            maker = _maker(environment, bringing, node, holds)
            return bringing.store.made(_entry_of(environment), environment.source, maker, holds)
        return bringing.store.made_privately(environment.source, _maker(environment, bringing, node, holds), holds)
    except FileFetchError as error:
        raise EnvironmentUnusableError(environment=environment.source, reason=error.reason) from error


def _folder(environment: Environment, node: Terms) -> Path:
    top = Path(environment.source)
    if not top.is_dir():
        raise _unusable(environment, "there is no such folder here; give one that all nodes see, or pack it")
    reason = fitness.misfit(interpreters.terms_of(top), node) or interpreters.why_unstartable(top)
    if reason is not None:
        raise _unusable(environment, reason)
    return top


def _maker(
    environment: Environment, bringing: Bringing, node: Terms, holds: contextlib.ExitStack
) -> Callable[[Tier], tuple[Path, Record]]:
    def make(tier: Tier) -> tuple[Path, Record]:
        began_at = time.monotonic()
        with contextlib.ExitStack() as brief:
            archive = _archive(environment, bringing, brief)
            if environment.form == "pack":
                made = _unpack_shards(environment, archive, tier, node, holds)
            else:
                made = _unpack_archive(environment, archive.whole(), tier, node, holds)
        logger.info("Unpacked %s in %.2f s", environment.source, time.monotonic() - began_at)
        return made

    return make


def _unpack_shards(
    environment: Environment, archive: Archive, tier: Tier, node: Terms, holds: contextlib.ExitStack
) -> tuple[Path, Record]:
    index, head_bytes = _index(environment, archive)
    terms = Terms(index.python, index.machine, index.glibc)
    if (reason := fitness.misfit(terms, node)) is not None:
        raise _unusable(environment, reason)
    places = index.places(head_bytes)
    spans = [(at, at + shard.size_bytes) for at, shard in zip(places, index.shards, strict=True)]
    if archive.size_bytes != (spans[-1][1] if spans else head_bytes):
        raise _unusable(environment, f"it has {archive.size_bytes} bytes of {spans[-1][1]}; copy or pack it again")
    made = tier.new_folder(environment.source, _RESERVE, index.stream_bytes, holds)
    with contextlib.ExitStack() as undo:
        undo.callback(folders.discard, made)
        top = made / _TOP
        with tier.explained():
            top.mkdir(mode=0o700)
        unpacker = Unpacker(index, top, _giving_back(made / _RESERVE, index.stream_bytes))

        def read(shard: int) -> bytes:
            return archive.read(*spans[shard])

        try:
            with tier.explained():
                unpack(unpacker, archive.ready(spans), read)
        except BrokenShardError as error:
            raise _unusable(environment, f"{error} of {_name(archive, environment)}; copy or pack it again") from error
        with tier.explained():
            (made / _RESERVE).unlink()
            interpreters.make_virtual(top)
        digests = {file.path: file.sha256 for file in index.files}
        record = _recorded(environment, made, tier, digests)
        undo.pop_all()
    return made, record


def _index(environment: Environment, archive: Archive) -> tuple[Index, int]:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        begin, at = at, at + size
        return archive.read(begin, min(at, archive.size_bytes))

    try:
        index, digest, head_bytes = read_head(read, zstd.decompress)
    except NoPackError as error:
        raise _unusable(environment, f"{error}; copy or pack it again") from error
    if str(digest) != environment.digest:
        raise _unusable(environment, "it is another one than when the context was made; restart the script")
    return index, head_bytes


def _giving_back(reserve: Path, size_bytes: int) -> Callable[[int], None]:
    """Give room that was kept free back, as it is taken by what is written."""
    lock = threading.Lock()
    left = size_bytes

    def give(count: int) -> None:
        nonlocal left
        with lock:
            left = max(0, left - count)
            os.truncate(reserve, left)

    return give


def _unpack_archive(
    environment: Environment, archive: Path, tier: Tier, node: Terms, holds: contextlib.ExitStack
) -> tuple[Path, Record]:
    made = tier.new_folder(environment.source, _RESERVE, archive.stat().st_size * _GROWTH, holds)
    with contextlib.ExitStack() as undo:
        undo.callback(folders.discard, made)
        top = made / _TOP
        try:
            with tier.explained():
                (made / _RESERVE).unlink()
                top.mkdir(mode=0o700)
                digests = archives.unpack(archive, top)
                found = interpreters.top_of(top)
                if found is None:
                    raise archives.BadArchiveError("it has no Python environment in it, or several")
                reason = fitness.misfit(interpreters.terms_of(found), node)
                if reason is not None:
                    raise _unusable(environment, reason)
                if found != top:
                    digests = _lifted(found, top, digests)
                place = tier.folder / _entry_of(environment) if environment.is_kept else made
                archives.relocate(top, place / _TOP, digests)
                if interpreters.is_virtual(top):
                    interpreters.make_virtual(top)
                elif (reason := interpreters.why_unstartable(top)) is not None:
                    raise _unusable(environment, reason)
        except archives.BadArchiveError as error:
            raise _unusable(environment, str(error)) from error
        record = _recorded(environment, made, tier, digests)
        undo.pop_all()
    return made, record


def _lifted(found: Path, top: Path, digests: dict[str, records.Sha256]) -> dict[str, records.Sha256]:
    """Have an environment that lies in a folder of the archive be the whole."""
    below = found.relative_to(top).as_posix() + "/"
    aside = top.with_name(f"{_TOP}-other")
    os.rename(top, aside)
    os.rename(aside / below, top)
    folders.discard(aside)
    return {path.removeprefix(below): digest for path, digest in digests.items() if path.startswith(below)}


def _recorded(environment: Environment, made: Path, tier: Tier, digests: Mapping[str, records.Sha256]) -> Record:
    known = dict(digests)
    configuration = made / _TOP / "pyvenv.cfg"
    with tier.explained():
        if configuration.is_file():
            known["pyvenv.cfg"] = records.sha256_of(configuration)
        files, inside, links = archives.listed(made / _TOP, _TOP, known)
    return Record(source=environment.source, name=_TOP, files=files, folders=inside, links=links)


# --- where the archive comes from


def _archive(environment: Environment, bringing: Bringing, holds: contextlib.ExitStack) -> Archive:
    """The archive: one that is on the node already, or from where it is, with the help of other nodes."""
    for text in bringing.variables.get(ARCHIVES, "").split(os.pathsep):
        if text and (path := Path(text)).is_file() and _digest_of(path, environment) == environment.digest:
            logger.info("Environment %s is taken from %s", environment.source, path)
            return Whole(path)
    url = environment.source
    if origins.is_here(url) and (not environment.is_kept or is_local(Path(origins.local_path(url)))):
        origins.version(url)  # a file that is missing is reported in the same words at all levels
        return Whole(Path(origins.local_path(url)))
    if not environment.is_kept:
        return Whole(bringing.store.fetch_privately(url, holds))
    if bringing.arriving is not None:
        return bringing.arriving(url, holds)
    return Whole(bringing.store.fetch(url, holds))


def _digest_of(path: Path, environment: Environment) -> str | None:
    from parsl_context.distribute.environments.naming import digest_of_archive, digest_of_pack

    try:
        return digest_of_pack(path) if environment.form == "pack" else digest_of_archive(path)
    except (OSError, NoPackError) as error:
        logger.warning("%s, named by %s, is passed over: %s", path, ARCHIVES, error)
        return None


def _name(archive: Archive, environment: Environment) -> str:
    """Of the file that is read, which may be a copy with another name."""
    return archive.whole().name if isinstance(archive, Whole) else origins.name_of(environment.source)


def _unusable(environment: Environment, reason: str) -> EnvironmentUnusableError:
    return EnvironmentUnusableError(environment=environment.source, reason=reason)


def _entry_of(environment: Environment) -> Digest:
    return digest_bytes(f"environment {environment.digest} {interpreters.base()}".encode("utf-8", "surrogateescape"))
