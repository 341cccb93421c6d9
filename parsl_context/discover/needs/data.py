"""What is found about a function, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Where:
    """A line of code that wants something."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class UserModule:
    """A module of the user's: beside the script, editable, or on PYTHONPATH.

    Attributes
    ----------
    name : str
        Its full name.
    file : str or None
        Its file; None for a package without ``__init__.py``.
    is_carried : bool
        Whether it travels to workers. Otherwise workers must find it where it lies here.
    wanted_by : Where or None
        The first line that was found to import it.
    """

    name: str
    file: str | None
    is_carried: bool
    wanted_by: Where | None = None


@dataclass(frozen=True)
class Distribution:
    """An installed distribution that code of the user's imports something of.

    Attributes
    ----------
    name, version : str
        As its metadata say it.
    imports : tuple of str
        Top-level modules of it that are imported.
    url : str or None
        Where it was installed from, if not from an index; a folder for an editable one.
    is_editable : bool
        Whether its modules lie in a folder of their own, which workers need as well.
    wanted_by : Where or None
        The first line that was found to import it.
    """

    name: str
    version: str
    imports: tuple[str, ...] = ()
    url: str | None = None
    is_editable: bool = False
    wanted_by: Where | None = None

    @property
    def requirement(self) -> str:
        """A line for pip."""
        return f"{self.name}=={self.version}" if self.url is None else f"{self.name} @ {self.url}"


@dataclass(frozen=True)
class Captured:
    """A value that travels with the code, since the code knows it without being given it.

    Attributes
    ----------
    name : str
        Its name in the code.
    kind : str
        "global", "closure", "default" (of a parameter), "attribute" (of a class or function), "argument" (of a
        context), or "changed" (a name of a module that the script has bound since it was imported).
    owner : str
        What knows it: a function, class, context or module.
    type : str
        Of the value.
    size_bytes : int or None
        What it takes, pickled; None if it cannot be pickled. [bytes]
    is_all : bool
        False if the value takes more than that, and how much was not found within the time that was given.
    problem : str or None
        Why it cannot be pickled.
    """

    name: str
    kind: str
    owner: str
    type: str
    size_bytes: int | None
    is_all: bool = True
    problem: str | None = None


@dataclass(frozen=True)
class NeededPath:
    """A path in the code or in values that it knows.

    Attributes
    ----------
    path : str
        As it stands there.
    kind : str
        "File" (of Parsl, which is fetched to the node), or "path".
    exists : bool
        Whether it is there on this machine.
    size_bytes : int or None
        Of the file; None for folders, and for what is not there. [bytes]
    wanted_by : Where or None
        The line that has it.
    """

    path: str
    kind: str
    exists: bool
    size_bytes: int | None = None
    wanted_by: Where | None = None


@dataclass(frozen=True)
class Lacking:
    """A module that a worker would not have.

    Attributes
    ----------
    name : str
        Its full name.
    reason : str
        Why it would not, and what can be done about it.
    is_optional : bool
        Whether the code expects that it may be missing, as in ``try: import x`` with ``except ImportError``.
    wanted_by : Where or None
        The line that imports it.
    """

    name: str
    reason: str
    is_optional: bool = False
    wanted_by: Where | None = None


@dataclass(frozen=True)
class FunctionNeeds:
    """What a function needs, as far as its code and the objects that it knows say it.

    Each part is in order: modules, distributions and paths by name, captured values by size.
    """

    name: str
    modules: tuple[UserModule, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    captured: tuple[Captured, ...] = ()
    paths: tuple[NeededPath, ...] = ()
    lacking: tuple[Lacking, ...] = ()

    @property
    def requirements(self) -> list[str]:
        """Lines for pip, in order."""
        return sorted((each.requirement for each in self.distributions), key=str.lower)
