"""Functions from their text, and what only some apps need: contexts that were found, calls that run together."""

from __future__ import annotations

import logging
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_MAX_FUNCTIONS = 64  # that are kept compiled
_functions: dict[str, Any] = {}  # by their text
_LIBRARIES = ("site-packages", "dist-packages")


def function_of(text: str, name: str) -> Any:
    """A self-contained function from its text, the same one each time. It arrives with every call."""
    found = _functions.get(text)
    if found is None:
        names: dict[str, Any] = {}
        exec(compile(text, f"<parsl-context {name}>", "exec", dont_inherit=True), names)
        for old in list(_functions)[: len(_functions) - _MAX_FUNCTIONS + 1]:
            _functions.pop(old, None)
        found = _functions.setdefault(text, names[name])
    return found


def extra_module(name: str, text: str, given: Mapping[str, Any]) -> Any:
    """A text of parsl-context as a module.

    Parameters
    ----------
    given
        What it imports from others of these.
    """
    module = types.ModuleType(f"{__name__}_{name}")
    vars(module).update(given)
    sys.modules[module.__name__] = module  # its data classes look for it
    exec(compile(text, f"<parsl-context {name}>", "exec", dont_inherit=True), vars(module))
    return module


class Found:
    """A context that was found, which calls share as far as can be seen; see `parsl_context.retain.undivided`.

    Parameters
    ----------
    module
        `parsl_context.retain.terms`.
    told
        Fields of `Terms`.
    name
        What people call the app.
    """

    def __init__(self, module: Any, told: Mapping[str, Any], name: str) -> None:
        sets = {"kinds": frozenset(told["kinds"]), "defaults": frozenset(told["defaults"])}
        asked = {variable: frozenset(methods) for variable, methods in told["asked"].items()}
        self._terms = module.Terms(**{**told, **sets, "asked": asked})
        self._name = name

    def made(self, function: Callable[[], Mapping[str, Any]]) -> tuple[Mapping[str, Any], list[object]] | None:
        """The variables, and what they depend on; None if calls have to make their own."""
        try:
            made = function()
        except Exception:
            self._say("what precedes them failed", with_error=True)
            return None
        reason = self._terms.why_not_shared(made)
        if reason is not None:
            self._say(reason)
            return None
        return made, self._terms.pictures(_globals_of(function))

    def run(
        self,
        made: tuple[Mapping[str, Any], list[object]] | None,
        body: Callable[..., Any],
        whole: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run a call: with the variables, or undivided."""
        if made is None or made[1] != self._terms.pictures(_globals_of(body)):
            return whole(*args, **kwargs)
        return body(made[0], *args, **kwargs)

    def _say(self, reason: str, *, with_error: bool = False) -> None:
        logging.getLogger("parsl-context").warning(
            "Calls of %s run undivided: %s", self._name, reason, exc_info=with_error
        )


def _globals_of(function: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = function.__globals__
    return found


def stamps_of(paths: Sequence[str]) -> list[tuple[str, int, int]]:
    """How files are here, now: a context that has read them is another one when they have changed."""
    found = []
    for path in paths:
        try:
            status = os.stat(os.path.expanduser(path))
            found.append((path, status.st_size, status.st_mtime_ns))
        except (OSError, ValueError):
            found.append((path, -1, -1))
    return found


def is_library_here(own: Sequence[str], name: object) -> bool:
    """Whether a module is of Python or installed, by its name.

    Parameters
    ----------
    own
        Modules that the function carries.
    """
    if not isinstance(name, str) or name in ("__main__", "__mp_main__") or name in own:
        return False
    top = name.partition(".")[0]
    if top in own:
        return False
    if top in sys.stdlib_module_names:
        return True
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(part in place for part in _LIBRARIES for place in places)


class Together:
    """Calls that reach a body as lists; see `parsl_context.retain.batches`.

    Parameters
    ----------
    module
        That module.
    told
        "size" of a batch, whether it "retries" calls one by one, and what calls have "shared".
    body
        What gets lists.
    names
        How it gets its contexts.
    """

    def __init__(self, module: Any, told: Mapping[str, Any], body: Callable[..., Any], names: Sequence[Any]) -> None:
        self.size: int | None = told["size"]
        self._module = module
        self._batching = module.Batching(told["size"], 0.0, told["retries"], tuple(told["shared"]))
        self._columns = module.columns_of(body, names, self._batching.shared)

    def run(self, body: Callable[..., Any], rows: Sequence[Arguments], name: str) -> list[Any]:
        """Outcomes of calls.

        Parameters
        ----------
        body
            With its contexts filled in.
        """
        return list(self._module.run_together(body, rows, self._columns, self._batching, name))


def add_note(error: BaseException, *notes: str) -> None:
    """Say more about an error, where Python can."""
    for note in notes:
        if hasattr(error, "add_note"):
            error.add_note(note)


def not_one_each(app: str, given: str, calls: int) -> TypeError:
    """The error of a body that does not return a result for each call."""
    return TypeError(
        f"The body of {app} returned {given} for {calls} calls. With batch=, a body gets a list for each of its "
        "parameters, and returns a list with a result, or an exception, for each call."
    )


BATCHES_GIVEN: dict[str, Any] = {
    "BatchResultError": not_one_each,
    "add_note": add_note,
    "untold": lambda value: (value, ()),
    "retold": lambda value, sentences: value,
}
