"""What goes into a packed environment: the files of installed distributions, as their RECORD lists them.

Each module is compiled once, here, so that no node compiles or checks it again (PEP 552: hash-based, unchecked).
Scripts start the interpreter that lies beside them, wherever that is.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import re
import stat
import struct
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from parsl_context.distribute.environments import fitness
from parsl_context.distribute.environments.fitness import Terms
from parsl_context.errors import ConfigurationError

_UNCHECKED = 0b01  # hash-based, and not compared with the source (PEP 552)
# Both a shell and Python read it: the shell starts the Python beside the script, which skips the first lines.
_SHEBANG = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/python "$0" "$@"
' '''
"""


@dataclass(frozen=True)
class Item:
    """A file that is packed: what is on the disk, or content that was made for it."""

    path: str  # below the environment's folder
    source: Path | bytes
    size_bytes: int
    is_program: bool = False


@dataclass
class Found:
    """What is to be packed.

    Attributes
    ----------
    notes
        What was left out, and why, in sentences.
    """

    items: list[Item]
    distributions: list[str]
    terms: Terms
    notes: list[str] = field(default_factory=list)


def site_packages_of(prefix: Path) -> Path:
    """Where a virtual environment, or any installation of this Python's minor version, has its packages.

    Raises
    ------
    ConfigurationError
        If there are none.
    """
    site = prefix / folder_of_packages(fitness.python_of(sys.version_info))
    if not site.is_dir():
        others = [path.parent.name for path in prefix.glob("lib/python3*/site-packages")]
        reason = f"it has {others[0]}: run the command with that" if others else "it is no Python environment"
        raise ConfigurationError(f"{prefix} has no packages of Python {fitness.python_of(sys.version_info)}: {reason}.")
    return site


def folder_of_packages(python: str) -> str:
    """Where packages lie below an environment's folder."""
    return f"lib/python{python}/site-packages"


def collect(prefix: Path, roots: Collection[str] | None = None) -> Found:
    """The files of distributions in an environment.

    Parameters
    ----------
    prefix
        The folder of the environment.
    roots
        Names of the distributions that are wanted, with all that they require; None: all that there are.

    Raises
    ------
    ConfigurationError
        If one is not there, or says nothing of its files.
    """
    site = site_packages_of(prefix)
    installed = {canonical(each.name): each for each in metadata.distributions(path=[str(site)]) if each.name}
    wanted = sorted(installed) if roots is None else sorted(closure(roots, installed))
    found = Found([], [], fitness.this_node())
    items: dict[str, Item] = {}
    wheels = []
    for name in wanted:
        distribution = installed[name]
        if (files := distribution.files) is None:
            raise ConfigurationError(
                f"{name} in {prefix} has no list of its files (RECORD), as conda leaves it at times: pack the "
                "environment with conda-pack, and give that archive."
            )
        if _is_editable(distribution):
            found.notes.append(f"{name} is left out: it is installed in editable mode, and travels with the calls.")
            continue
        found.distributions.append(f"{name}=={distribution.version}")
        wheels.append(re.findall(r"^Tag: (.*)$", distribution.read_text("WHEEL") or "", re.MULTILINE))
        for item in _items(prefix, site, files, found):
            items.setdefault(item.path, item)
    # Small files first: they take the longest for their size, and are unpacked while the large ones arrive.
    found.items = sorted(items.values(), key=lambda item: (item.size_bytes, item.path))
    here = fitness.this_node()
    is_binary = any("linux" in tag for tags in wheels for tag in tags)
    found.terms = Terms(here.python, here.machine if is_binary else "", fitness.glibc_of(wheels, here.glibc))
    return found


def canonical(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(roots: Iterable[str], installed: dict[str, metadata.Distribution]) -> set[str]:
    """Distributions with all that they require, with the extras that are asked for.

    Raises
    ------
    ConfigurationError
        If one of the first is not installed. What is required and not there is left to whoever imports it.
    """
    from packaging.requirements import Requirement

    waiting: list[tuple[str, frozenset[str]]] = []
    for root in roots:
        requirement = Requirement(root)
        if canonical(requirement.name) not in installed:
            raise ConfigurationError(f"{requirement.name} is needed, and not installed there; install it.")
        waiting.append((canonical(requirement.name), frozenset(requirement.extras)))
    met: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in met or name not in installed:
            continue
        met.add((name, extras))
        for text in installed[name].requires or ():
            required = Requirement(text)
            chosen = ("", *extras)
            if required.marker is None or any(required.marker.evaluate({"extra": extra}) for extra in chosen):
                waiting.append((canonical(required.name), frozenset(required.extras)))
    return {name for name, _ in met}


def _items(prefix: Path, site: Path, files: Iterable[metadata.PackagePath], found: Found) -> Iterator[Item]:
    packages = folder_of_packages(fitness.python_of(sys.version_info))
    for file in files:
        if file.suffix == ".pyc" or file.name == "RECORD.jws":
            continue
        path = Path(os.path.normpath(site / file))
        if path.is_relative_to(site):
            place = f"{packages}/{path.relative_to(site).as_posix()}"
        elif path.is_relative_to(prefix):
            place = path.relative_to(prefix).as_posix()
        else:
            found.notes.append(f"{path} is left out: it is not in {prefix}.")
            continue
        try:
            status = path.stat()
        except OSError as error:
            found.notes.append(f"{path} is left out: {error.strerror}.")
            continue
        is_program = bool(status.st_mode & stat.S_IXUSR)
        if place.startswith("bin/") and (script := _relocated(path, prefix)) is not None:
            yield Item(place, script, len(script), True)
            continue
        yield Item(place, path, status.st_size, is_program)
        if path.suffix == ".py" and (compiled := compile_once(path, status)) is not None:
            cached = importlib.util.cache_from_source(place)
            yield Item(cached, compiled, len(compiled))


def _relocated(script: Path, prefix: Path) -> bytes | None:
    """A script that starts the interpreter beside it; None if it starts another one."""
    with script.open("rb") as stream:
        if stream.read(2) != b"#!":
            return None
        first = stream.readline()
        rest = stream.read()
    if b"python" not in first or os.fsencode(str(prefix)) not in first:
        return None
    return _SHEBANG + rest


def compile_once(path: Path, status: os.stat_result) -> bytes | None:
    """Compiled code of a module, which nobody compares with its source; None if it cannot be compiled."""
    source = path.read_bytes()
    code = _cached_code(path, status)
    try:
        made = importlib.util.source_hash(source)
        if code is None:
            code = marshal.dumps(compile(source, str(path), "exec", dont_inherit=True, optimize=0))
    except (SyntaxError, ValueError, RecursionError):  # templates, and tests of what compilers refuse
        return None
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED.to_bytes(4, "little") + made
    return head + code


def _cached_code(path: Path, status: os.stat_result) -> bytes | None:
    """What this interpreter has compiled before, if it is of the source as it is now."""
    try:
        cached = Path(importlib.util.cache_from_source(str(path))).read_bytes()
    except OSError:
        return None
    magic, flags, changed_s, size = struct.unpack_from("<4sIII", cached.ljust(16, b"\0"))
    is_current = changed_s == int(status.st_mtime) & 0xFFFFFFFF and size == status.st_size & 0xFFFFFFFF
    return cached[16:] if magic == importlib.util.MAGIC_NUMBER and flags == 0 and is_current else None


def _is_editable(distribution: metadata.Distribution) -> bool:
    return '"editable": true' in (distribution.read_text("direct_url.json") or "")
