"""Options of context functions, and the levels of reuse. What cannot work is refused where it is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

from parsl_context.errors import ConfigurationError

REUSE_LEVELS = ("none", "disk", "memory", "node")
UNKEPT_LEVELS = ("none", "disk")  # their contexts are built for every call
_SHARES = {"node": "node", "worker": "memory"}


class DataPath(NamedTuple):
    """A file or folder that a context names as its data: as it was written, and where it is."""

    given: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a context function; None stands for the executor's default.

    Attributes
    ----------
    reuse : str or None
        Level of reuse: "none", "disk", "memory" or "node".
    after_fork : callable or None
        At level "node": called with the instance in each worker that shares it, before its first call. For what
        must not be shared: connections, locks, random generators.
    memory_gb : float or None
        Memory that one instance takes, as a hint before the first build. [GB]
    isolation : str or None
        "call": each call runs in a fork of the process that holds the instance.
    max_uses : int or None
        Calls that one instance serves before it is built anew.
    max_age_s : float or None
        Age from which an instance serves no further call and is built anew. [s]
    pinned : bool
        Whether instances are given up only by `executor.evict`.
    build_timeout_s : float or None
        Time that the context function may take. [s]
    check : int
        Calls in each process before and after which the instance is looked at, whether they have changed it.
    data : tuple of DataPath
        Files and folders that are brought to the node first. Given as paths.
    environment : str or None
        The software to build it with: what `parsl-context pack` has made, an archive of conda-pack, or the folder of an
        environment. Given as a path, or an address of the first kind.
    """

    reuse: str | None = None
    after_fork: Callable[[Any], None] | None = None
    memory_gb: float | None = None
    isolation: str | None = None
    max_uses: int | None = None
    max_age_s: float | None = None
    pinned: bool = False
    build_timeout_s: float | None = None
    check: int = 0
    data: tuple[DataPath, ...] = ()
    environment: str | None = None

    def __post_init__(self) -> None:
        check_reuse(self.reuse)
        object.__setattr__(self, "data", _data_paths(self.data))
        object.__setattr__(self, "environment", check_environment("environment of a context", self.environment))
        if self.isolation not in (None, "call"):
            raise ConfigurationError(f'isolation={self.isolation!r} of a context is "call" or None.')
        if self.max_uses is not None and (type(self.max_uses) is not int or self.max_uses < 1):
            raise ConfigurationError(f"max_uses={self.max_uses!r} of a context must be a whole number from 1 on.")
        if self.max_age_s is not None and not _is_positive(self.max_age_s):
            raise ConfigurationError(f"max_age_s={self.max_age_s!r} of a context must be a positive number of seconds.")
        check_build_timeout("build_timeout_s of a context", self.build_timeout_s)
        if type(self.check) is not int or self.check < 0:
            raise ConfigurationError(f"check={self.check!r} of a context must be a number of calls.")
        if type(self.pinned) is not bool:
            raise ConfigurationError(f"pinned={self.pinned!r} of a context must be True or False.")
        if self.memory_gb is not None and not _is_positive(self.memory_gb):
            raise ConfigurationError(f"memory_gb={self.memory_gb!r} of a context must be a positive number.")

    @property
    def identity(self) -> list[Any]:
        """What tells contexts apart that differ in options alone. Hints do not."""
        return [getattr(self, name) for name in self.__dataclass_fields__ if name not in _NO_IDENTITY]


# Of data the state counts, of an environment the content; the context knows them.
_NO_IDENTITY = ("memory_gb", "build_timeout_s", "data", "environment")


def _data_paths(value: object) -> tuple[DataPath, ...]:
    """Paths as they are when they are written down: another working directory does not change what they mean."""
    values = (value,) if isinstance(value, str | os.PathLike) else value
    if not isinstance(values, list | tuple | set | frozenset):
        raise ConfigurationError(f"data={value!r} of a context must be a list of paths.")
    return tuple(each if isinstance(each, DataPath) else _data_path(each) for each in values)


def _data_path(value: object) -> DataPath:
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str) or not text:
        raise ConfigurationError(f"data of a context must be paths of files and folders, and {value!r} is none.")
    if "://" in text:
        raise ConfigurationError(
            f"data={text!r} of a context is an address. Give it as an argument of the context: "
            f"File({text!r}), with parsl.data_provider.files.File."
        )
    return DataPath(os.path.normpath(text), os.path.abspath(os.path.expanduser(text)))


def check_environment(name: str, value: object) -> str | None:
    """An environment, as a path that another working directory does not change, or an address.

    Raises
    ------
    ConfigurationError
        If it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str) or not text:
        raise ConfigurationError(f"{name} is {value!r}, and must be a path, or the address of a packed environment.")
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def check_build_timeout(name: str, value: object) -> None:
    """Refuse a limit on the time of builds that is none.

    Raises
    ------
    ConfigurationError
    """
    if value is not None and not _is_positive(value):
        raise ConfigurationError(
            f"{name} is {value!r}, and must be a positive number of seconds, or None for no limit."
        )


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and float(value) > 0


def check_reuse(level: str | None) -> None:
    """Refuse a level of reuse that does not exist.

    Raises
    ------
    ConfigurationError
    """
    if level is not None and level not in REUSE_LEVELS:
        available = ", ".join(map(repr, REUSE_LEVELS))
        raise ConfigurationError(f"reuse={level!r} is no level of reuse; available are {available}.")


def make_options(options: dict[str, Any]) -> Options:
    """Options from the arguments of `context`.

    Raises
    ------
    ConfigurationError
        If one does not exist or its value is not valid.
    """
    options = dict(options)
    unknown = set(options) - set(Options.__dataclass_fields__) - {"share"}
    if unknown:
        known = ", ".join([*Options.__dataclass_fields__, "share"])
        raise ConfigurationError(f"context() has no option {', '.join(sorted(unknown))}; it has {known}.")
    share = options.pop("share", None)
    if share is not None:
        if share not in _SHARES or options.get("reuse") not in (None, _SHARES[share]):
            raise ConfigurationError(
                f'share={share!r} of a context is "node" or "worker", and says the same as reuse= if both are given.'
            )
        options["reuse"] = _SHARES[share]
    return Options(**options)
