"""Modules that were imported, by the distribution that they belong to."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from parsl_context.discover.needs.distributions import installed
from parsl_context.discover.needs.reach import RUNTIME
from parsl_context.discover.tracing.data import Imported, ImportedTogether

STANDARD = "standard library"
USERS = "your modules"


def by_distribution(imported: Iterable[Imported]) -> list[ImportedTogether]:
    """What each distribution took, the longest first for each thing that was done. What workers run on is left out."""
    found: dict[tuple[str, str | None, str], list[float]] = {}
    for each in imported:
        if each.name.partition(".")[0] not in RUNTIME and (owner := _owner(each)) is not None:
            name, version = owner
            found.setdefault((name, version, each.during), []).append(each.time_s or 0.0)
    made = [ImportedTogether(*key, len(times), sum(times)) for key, times in found.items()]
    order = list(dict.fromkeys(each.during for each in made))
    return sorted(made, key=lambda each: (order.index(each.during), -each.time_s))


def _owner(module: Imported) -> tuple[str, str | None] | None:
    """None for what others have made while they were imported."""
    if module.name.partition(".")[0] in sys.stdlib_module_names:
        return STANDARD, None
    owners = installed().of_module(module.name, () if module.file is None else (module.file,))
    if not owners:
        return None if module.file is None else (USERS, None)
    return " or ".join(owner.name for owner in owners), owners[0].version if len(owners) == 1 else None
