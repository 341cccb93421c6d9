"""Puts a new content in the place of a file: all of it or nothing, and only if it is still what was read."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import stat
import tempfile
import tokenize
from pathlib import Path

from parsl_context.cli.errors import CommandError


def check_writable(path: Path) -> None:
    """Refuse a file that is not to be written.

    Raises
    ------
    CommandError
    """
    if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):
        raise CommandError(f"{path} is read-only, and stays as it is. --apply --diff shows what would be written.")


def replace_file(path: Path, old: bytes, new: bytes) -> None:
    """Write a file that has this content.

    Another process sees the old content or the new one. The permissions stay; a link goes on to lead to the file.

    Raises
    ------
    CommandError
        If it has another content by now, or cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(new)
                file.flush()
                os.fsync(descriptor)
            os.chmod(name, stat.S_IMODE(path.stat().st_mode))
            if path.read_bytes() != old:
                raise CommandError(f"{path} was changed meanwhile, and stays as it is. Try again.")
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        raise CommandError(f"{path} cannot be written, and stays as it is: {error}.") from None


def unified(name: str, old: str, new: str) -> str:
    """What differs, as `patch -p0` takes it."""
    lines = difflib.unified_diff(_lines(old), _lines(new), name, name)
    return "".join(each if each.endswith("\n") else f"{each}\n\\ No newline at end of file\n" for each in lines)


def _lines(text: str) -> list[str]:
    """Lines as `patch` has them: they end with a line feed, and with nothing else."""
    parts = text.split("\n")
    return [*(f"{each}\n" for each in parts[:-1]), *([parts[-1]] if parts[-1] else [])]


def text_of(content: bytes) -> str:
    """The text of a file, with the line ends that it has."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding)
