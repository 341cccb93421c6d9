"""Unpacks archives that other programs have made: of conda-pack, or of a virtual environment that may be moved.

They are tar archives, read once from beginning to end. What leads out of them is refused, but for the interpreter of a
virtual environment. What conda-pack notes of the place where the environment was is put right, as its own script does.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from parsl_context.distribute import records
from parsl_context.distribute.environments import zstd
from parsl_context.distribute.environments.index import is_inside
from parsl_context.distribute.records import FileRecord, Sha256

_ZSTD = b"\x28\xb5\x2f\xfd"
_PIECE_BYTES = 1 << 20
_SCRIPT = "bin/conda-unpack"
_INTERPRETER = re.compile(r"(.*/)?bin/python[\d.]*")


class BadArchiveError(ValueError):
    """An archive cannot be unpacked. Says why, in a part of a sentence."""


def unpack(archive: Path, top: Path) -> dict[str, Sha256]:
    """Unpack an archive into an empty folder. Gives the digest of each file.

    Raises
    ------
    BadArchiveError
    OSError
        If it cannot be written.
    """
    digests: dict[str, Sha256] = {}
    links: set[str] = set()
    try:
        with _opened(archive) as tar:
            for member in tar:
                if (path := os.path.normpath(member.name)) != ".":
                    _extract(tar, member, path, top, digests, links)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadArchiveError(f"it is no archive that can be read ({error})") from error
    return digests


def relocate(top: Path, place: Path, digests: dict[str, Sha256]) -> None:
    """Write the place where it will be into the files that conda-pack names; their digests change.

    Raises
    ------
    BadArchiveError
    OSError
    """
    script = top / _SCRIPT
    if not script.is_file():
        return
    for path, old, mode in _prefix_records(script.read_text()):
        if not is_inside(path) or path not in digests:
            continue
        file = top / path
        data = file.read_bytes()
        changed = _replaced(data, old.encode(), os.fsencode(place), is_text=mode == "text", path=path)
        if changed != data:
            mode_bits = file.stat().st_mode
            file.chmod(0o600)
            file.write_bytes(changed)
            file.chmod(mode_bits)
            digests[path] = Sha256(hashlib.sha256(changed).hexdigest())


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(archive.open("rb"))
        is_zstd = stream.read(len(_ZSTD)) == _ZSTD
        stream.seek(0)
        if is_zstd:
            yield stack.enter_context(tarfile.open(fileobj=zstd.reader(stream), mode="r|"))
        else:
            yield stack.enter_context(tarfile.open(fileobj=stream, mode="r|*"))


def _extract(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    top: Path,
    digests: dict[str, Sha256],
    links: set[str],
) -> None:
    if not is_inside(path) or any(str(parent) in links for parent in Path(path).parents):
        raise BadArchiveError(f"it has a file outside of it, {member.name!r}")
    target = top / path
    if member.isdir():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        raise BadArchiveError(f"it has {path} twice")
    if member.issym():
        _check_link(path, member.linkname)
        target.symlink_to(member.linkname)
        links.add(path)
    elif member.islnk():
        linked = os.path.normpath(member.linkname)
        if linked not in digests:
            raise BadArchiveError(f"{path} in it is a link to {member.linkname}, which is not in it")
        os.link(top / linked, target)
        digests[path] = digests[linked]
    elif member.isfile():
        source = tar.extractfile(member)
        assert source is not None
        digests[path] = _write(source, target, is_program=bool(member.mode & 0o100))
        os.utime(target, (member.mtime, member.mtime))  # by which compiled modules know their sources
    else:
        raise BadArchiveError(f"{path} in it is neither a file nor a folder nor a link")


def _check_link(path: str, target: str) -> None:
    if _INTERPRETER.fullmatch(path) and os.path.isabs(target):
        return  # of a virtual environment: it is set to that of the node
    if os.path.isabs(target) or not is_inside(os.path.normpath(os.path.join(os.path.dirname(path), target))):
        raise BadArchiveError(f"{path} in it is a link to {target}, outside of it")


def _write(source: IO[bytes], target: Path, *, is_program: bool) -> Sha256:
    hasher = hashlib.sha256()
    with target.open("xb") as stream:
        while piece := source.read(_PIECE_BYTES):
            hasher.update(piece)
            stream.write(piece)
        os.fchmod(stream.fileno(), 0o500 if is_program else 0o400)
    return Sha256(hasher.hexdigest())


def _prefix_records(script: str) -> list[tuple[str, str, str]]:
    """Files in which conda-pack's script would write the place, with the place that they have, and how."""
    try:
        body = ast.parse(script).body
        found = [
            ast.literal_eval(node.value)
            for node in body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_prefix_records"
        ]
        return [(str(path), str(old), str(mode)) for path, old, mode in found[0]]
    except (SyntaxError, ValueError, IndexError, TypeError) as error:
        raise BadArchiveError(
            f"its {_SCRIPT} is none that we know ({error}); pack it with conda-pack 0.6 or later"
        ) from error


def _replaced(data: bytes, old: bytes, new: bytes, *, is_text: bool, path: str) -> bytes:
    if is_text:
        return data.replace(old, new)

    def padded(match: re.Match[bytes]) -> bytes:
        text = match.group()
        made = text.replace(old, new)
        if len(made) > len(text):
            raise BadArchiveError(
                f"the path of the node's store is too long for {path} in it; give the store a shorter one"
            )
        return made.ljust(len(text), b"\0")

    return re.sub(re.escape(old) + rb"[^\0]*\0", padded, data)


def listed(
    top: Path, below: str, digests: Mapping[str, Sha256]
) -> tuple[dict[str, FileRecord], list[str], dict[str, str]]:
    """Files, folders and links of a folder that is complete, for its record; folders become read-only.

    Parameters
    ----------
    below
        Name of the folder in its entry.
    """
    files: dict[str, FileRecord] = {}
    inside: list[str] = []
    links: dict[str, str] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(top / folder) as found:
            for each in found:  # there may be many: no path objects
                path = f"{folder}/{each.name}" if folder else each.name
                if each.is_symlink():
                    links[f"{below}/{path}"] = os.readlink(each.path)
                elif each.is_dir():
                    inside.append(f"{below}/{path}")
                    waiting.append(path)
                else:
                    status = each.stat(follow_symlinks=False)
                    files[f"{below}/{path}"] = records.record_of(status, digests[path])
    for path in (below, *inside):
        os.chmod(top.parent / path, 0o500)
    return files, inside, links
