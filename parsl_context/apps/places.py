"""Which executors of a run may run the calls of an app, and what `app.warm()` has told them to build.

An executor *places contexts* if it sends calls to where their context is warm: it has `preload`, as `ContextExecutor`
has. Others, such as threads beside it for small work, would build contexts that are there already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_context.errors import ConfigurationError

_INTERNAL = "_parsl_internal"  # Parsl's own executor, for join apps; "all" does not mean it


def places_contexts(executor: object) -> bool:
    """Whether an executor sends calls to where their context is warm."""
    return hasattr(executor, "preload")


def feasible(app: str, wanted: Any, executors: Mapping[str, object]) -> Any:
    """Labels of the executors that may run a call: those that the app names, or all that place contexts.

    If none places contexts, any may; that is "all", as Parsl has it.

    Parameters
    ----------
    app
        Its name, for errors.
    wanted
        Labels, or "all".
    executors
        The executors of the run by label, as they are now: more may be added while it runs.

    Raises
    ------
    ConfigurationError
        If a label is none of the run's, or there is no label.
    """
    if wanted == "all":
        return [label for label, executor in executors.items() if places_contexts(executor)] or wanted
    if wanted and all(label in executors for label in wanted):
        return wanted
    unknown = ", ".join(repr(label) for label in wanted if label not in executors)
    lack = f"this run has no executor {unknown}" if unknown else "that names none"
    known = ", ".join(repr(label) for label in executors if label != _INTERNAL) or "none"
    raise ConfigurationError(
        f"App {app} is to run on executors={list(wanted)!r}, and {lack}; the executors of this run are {known}. Give "
        'labels of these, or "all", or add the executor to the Config.'
    )


@dataclass(frozen=True)
class Warmed:
    """What `app.warm()` has asked for. It counts as true if that is anything.

    Attributes
    ----------
    builds : tuple of (str, str)
        The label of an executor, and the name of a context that it builds.
    reasons : tuple of str
        Why contexts are not built ahead of calls.
    """

    builds: tuple[tuple[str, str], ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def executors(self) -> tuple[str, ...]:
        """Labels of the executors that build."""
        return tuple(dict.fromkeys(label for label, _ in self.builds))

    @property
    def contexts(self) -> tuple[str, ...]:
        """Names of the contexts that are built."""
        return tuple(dict.fromkeys(name for _, name in self.builds))

    def __bool__(self) -> bool:
        return bool(self.builds)

    def __repr__(self) -> str:
        by_label: dict[str, list[str]] = {}
        for label, name in self.builds:
            by_label.setdefault(label, []).append(name)
        built = [f"{', '.join(names)} on {label}" for label, names in by_label.items()]
        return f"<warming {'; '.join([*(built or ['nothing']), *self.reasons])}>"


def no_place(wanted: Any, labels: Sequence[str]) -> str:
    """Why nothing is built ahead of calls where no executor places contexts."""
    named = "of this run" if wanted == "all" else f"among {', '.join(labels)}"
    return f"no executor {named} builds contexts ahead of calls"
