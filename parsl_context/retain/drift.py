"""Contexts that calls change: ``@context(check=N)`` looks at the instance before and after calls, and says what is new.

The first N calls of an instance in a process are looked at, and then one each time their number has doubled, when also
what has changed in between is seen. Where calls run on a worker, what is found travels with the result of the call: the
script that gets it warns.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from parsl_context.errors import ContextDriftWarning
from parsl_context.retain.fingerprints import Fingerprint, changes, fingerprint

logger = logging.getLogger(f"parsl.{__name__}")

_NAME = "context"  # what an instance is called in warnings
_MOST_WARNINGS = 3  # of one instance


class DriftCheck:
    """Looks after one instance in one process.

    Parameters
    ----------
    name
        What people call the context.
    value
        The instance.
    count
        Calls that are looked at one by one.
    """

    def __init__(self, name: str, value: Any, count: int) -> None:
        self.name = name
        self._value = value
        self._count = count
        self._calls = 0
        self._known: Fingerprint | None = None  # after the call that was looked at last
        self._known_at = 0
        self._told = 0

    def before(self) -> Fingerprint | None:
        """A call begins. Gives how the instance looks, if this call is looked at."""
        self._calls += 1
        if self._told >= _MOST_WARNINGS or not _is_looked_at(self._calls, self._count):
            return None
        return fingerprint(self._value, _NAME)

    def after(self, before: Fingerprint, call: str) -> str | None:
        """The call has ended. Gives what changed, in a sentence."""
        known, known_at = self._known, self._known_at
        self._known, self._known_at = fingerprint(self._value, _NAME), self._calls
        found = changes(before, self._known)
        when = f"in call {self._calls} of this process, of {call}"
        if not found and known is not None:
            found = changes(known, before)
            when = f"between calls {known_at} and {self._calls} of this process"
        if not found:
            return None
        self._told += 1
        return (
            f"Context {self.name} changed {when}: {'; '.join(found)}. Later calls see that, and those of other workers "
            "do not. Make it in the body, or copy it there before it is changed; for calls that must not see one "
            'another: @context(isolation="call").'
        )


def _is_looked_at(call: int, count: int) -> bool:
    quotient, rest = divmod(call, count)
    return call <= count or (not rest and quotient & (quotient - 1) == 0)


def checked(
    body: Callable[..., Any], checks: Sequence[DriftCheck], name: str, *, is_away: bool = True
) -> Callable[..., Any]:
    """A body whose contexts are looked at before and after.

    Parameters
    ----------
    checks
        Of its contexts.
    name
        What people call the body.
    is_away
        Whether results are sent to the script, which warns then; else that is done here.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        looked_at = [(check, seen) for check in checks if (seen := check.before()) is not None]
        said: list[str] = []
        token = _said.set(said)
        try:
            value = body(*args, **kwargs)
        except Exception as error:
            if sentences := (*said, *_found(looked_at, name)):
                add_note(error, *sentences)
            raise
        finally:
            _said.reset(token)
        sentences = (*said, *_found(looked_at, name))
        if not sentences:
            return value
        return _Told(value, sentences) if is_away else _arrive(value, sentences)

    return run


def may_say(body: object) -> bool:
    """Whether a body may have something for the script: it is one that compares calls."""
    return getattr(body, "__parsl_context_says__", False) is True


def say(sentence: str) -> None:
    """Have the script warn that gets the result of the call that runs now."""
    logger.warning("%s", sentence)
    said = _said.get()
    if said is not None:
        said.append(sentence)


def untold(value: Any) -> tuple[Any, tuple[str, ...]]:
    """What a body returned, and what the script is to be told with it."""
    return (value.value, value.sentences) if type(value) is _Told else (value, ())


def retold(value: Any, sentences: tuple[str, ...]) -> Any:
    """A result with what the script is to be told."""
    return _Told(value, sentences)


def add_note(error: BaseException, *sentences: str) -> None:
    """As `BaseException.add_note`, which Python 3.10 does not have."""
    with contextlib.suppress(Exception):
        error.__dict__["__notes__"] = [*error.__dict__.get("__notes__", ()), *sentences]


_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("parsl_context_said", default=None)


def _found(looked_at: Sequence[tuple[DriftCheck, Fingerprint]], name: str) -> list[str]:
    sentences = [each for check, seen in looked_at if (each := check.after(seen, name)) is not None]
    for sentence in sentences:
        logger.warning("%s", sentence)
    return sentences


class _Told:
    """A result on its way, with what the script is to be told."""

    __slots__ = ("sentences", "value")

    def __init__(self, value: Any, sentences: tuple[str, ...]) -> None:
        self.value = value
        self.sentences = sentences

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.value, self.sentences)


def _arrive(value: Any, sentences: tuple[str, ...]) -> Any:
    for sentence in sentences:
        try:
            warnings.warn(sentence, ContextDriftWarning, stacklevel=1)
        except ContextDriftWarning:  # warnings are errors here, and no call fails for one
            logger.exception("A warning that is an error here")
    return value
