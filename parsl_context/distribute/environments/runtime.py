"""What an environment needs to run our workers, where it lacks it: Parsl, this package, and what these require.

They are linked one by one into a folder that comes last on the path of the environment's interpreter, so that nothing
else of the manager's packages can be imported there. What the environment has itself is used, if it can work.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from parsl_context.distribute.environments.collecting import canonical

_OURS = "parsl-context"
_SAME = (_OURS, "parsl")  # the manager talks to these: another version may say something else


def lend(site: Sequence[Path], folder: Path) -> str | None:
    """Link what an environment lacks into a folder. Gives why it cannot work, and what to do; None if it can.

    Parameters
    ----------
    site
        Where the environment has its packages.
    folder
        An empty one.
    """
    places = list(map(str, site))
    for name, requirement in _required():
        theirs = next(iter(metadata.distributions(name=name, path=places)), None)
        if theirs is None:
            _link(name, folder)
            continue
        version = theirs.version
        if name in _SAME and version != metadata.version(name):
            return (
                f"it has {name} {version}, and the manager of this node runs {metadata.version(name)}; "
                f"install that version in it, or leave {name} out, and the manager's own is used"
            )
        if requirement is not None and not requirement.specifier.contains(version, prereleases=True):
            return f"it has {name} {version}, and its workers need {requirement}; install that in it"
    return None


def _required() -> Iterator[tuple[str, Requirement | None]]:
    """Names of what workers import, each once, with what is required of it."""
    waiting: list[tuple[str, Requirement | None]] = [(_OURS, None)]
    met: set[str] = set()
    while waiting:
        name, requirement = waiting.pop(0)
        if name in met:
            continue
        met.add(name)
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        yield name, requirement
        for required in map(Requirement, texts):
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                waiting.append((canonical(required.name), required))


def _link(name: str, folder: Path) -> None:
    """Link the packages and modules of a distribution of ours, and its metadata."""
    for path in _tops(metadata.distribution(name)):
        target = folder / path.name
        if not target.is_symlink():
            target.symlink_to(path)


def _tops(distribution: metadata.Distribution) -> Iterator[Path]:
    files = distribution.files or []
    names = {file.parts[0] for file in files} - {"..", "__pycache__"}
    tops = [Path(str(distribution.locate_file(name))) for name in sorted(names) if not name.endswith(".pth")]
    yield from (path for path in tops if path.exists())
    for name in (distribution.read_text("top_level.txt") or "").split():  # of an editable one, that lies elsewhere
        spec = None if name in names else importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            yield origin.parent if spec.submodule_search_locations else origin
