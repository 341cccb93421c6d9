"""Which installed distribution a module belongs to."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from parsl_context.discover.needs.data import Distribution


def installed() -> Installed:
    """The distributions of this environment, as they are now. To read their metadata takes a while."""
    return _installed(tuple((folder, _changed_at(folder)) for folder in sys.path))


class Installed:
    """The distributions of an environment. Their metadata are read when they are first asked for."""

    @functools.cached_property
    def _by_module(self) -> Mapping[str, list[str]]:
        return metadata.packages_distributions()

    @functools.cached_property
    def _editable(self) -> list[tuple[str, Distribution]]:
        """Folders of editable distributions."""
        found = [_describe(each) for each in metadata.distributions() if each.metadata["Name"]]
        return [(_folder(each.url), each) for each in found if each.is_editable and each.url is not None]

    def of_module(self, name: str, locations: tuple[str, ...]) -> list[Distribution]:
        """The distribution of a module; several if they share its top-level package and none is sure to have it.

        Parameters
        ----------
        locations
            Its file, or folders of it.
        """
        # An extension in a package may call itself as if it stood beside it.
        tops = [name.partition(".")[0], *_tops(locations)]
        names = sorted(set(next((self._by_module[top] for top in tops if top in self._by_module), ())))
        if len(names) > 1:
            names = [each for each in names if _has(each, locations)] or names
        found = [made for each in names if (made := _named(each)) is not None]
        return found or [made for folder, made in self._editable if any(_is_in(path, folder) for path in locations)]


@functools.lru_cache(maxsize=1)
def _installed(folders: tuple[tuple[str, int], ...]) -> Installed:
    return Installed()


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def _named(name: str) -> Distribution | None:
    try:
        return _describe(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return None


def _describe(found: metadata.Distribution) -> Distribution:
    origin = _origin(found)
    url = origin.get("url")
    is_editable = bool(origin.get("dir_info", {}).get("editable"))
    if url is not None and (vcs := origin.get("vcs_info")):
        url = f"{vcs.get('vcs')}+{url}@{vcs.get('commit_id')}"
    return Distribution(found.metadata["Name"], found.version, url=url, is_editable=is_editable)


def _origin(found: metadata.Distribution) -> dict[str, Any]:
    """Where it was installed from, if not from an index (PEP 610)."""
    try:
        read = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _has(distribution: str, locations: tuple[str, ...]) -> bool:
    files = metadata.files(distribution) or ()
    listed = {str(file.locate()) for file in files}
    return any(location in listed or any(each.startswith(f"{location}/") for each in listed) for location in locations)


def _tops(locations: tuple[str, ...]) -> list[str]:
    """Names of the packages that something lies in, where modules are looked for."""
    return [
        Path(path).relative_to(folder).parts[0].partition(".")[0]
        for path in locations
        for folder in filter(os.path.isabs, sys.path)
        if Path(path).is_relative_to(folder) and path != folder
    ]


def _folder(url: str) -> str:
    return unquote(urlsplit(url).path)


def _is_in(path: str, folder: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())
