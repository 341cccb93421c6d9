"""An automatic context, and the body that goes on without it: where it cannot be built or kept, a call runs undivided.

So errors and guards are Python's, and what turns out to be an iterator, a connection or an object of the user's classes
when it is made is not shared by calls.
"""

from __future__ import annotations

import collections
import copy
import inspect
import io
import logging
import random
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from parsl_context.content.digests import digest_content
from parsl_context.content.modules import Home, home_of

logger = logging.getLogger(f"parsl.{__name__}")

_USED_UP = (Iterator, AsyncIterator, io.IOBase, socket.socket, random.Random, collections.defaultdict)
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition, threading.Thread)
# Kinds that libraries have of their own: what is asked of them changes them, or they belong to one call.
_SOUNDS_LIVE = re.compile(
    r"(Connection|Cursor|Client|Socket|Lock|Reader|Writer|Generator|Iterator|RandomState|Stream)$"
)
_CHANGEABLE = frozenset({"bytearray", "DataFrame", "Series", "Tensor", "SimpleNamespace"})
_LOOKED_INTO = 100  # items of a container


_NOTHING: Mapping[str, int] = {}


class LeadingWork:
    """The context function of an automatic split.

    Parameters
    ----------
    function
        Runs the statements that have moved, and gives variables by name.
    given_out
        Variables of which calls give out items, and from how many steps into them. Nobody must be able to change these.
    """

    def __init__(self, function: Callable[[], Mapping[str, Any]], given_out: Mapping[str, int] = _NOTHING) -> None:
        self.function = function
        self.given_out = dict(given_out)
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__

    def __call__(self, _files: object = ()) -> Mapping[str, Any] | None:
        """The variables; None if they cannot be made, or must not be kept.

        Parameters
        ----------
        _files
            Tells contexts apart that read files whose content differs.
        """
        try:
            made = self.function()
        except Exception:
            logger.info("Calls of %s run undivided: what precedes them failed", self.__name__, exc_info=True)
            return None
        if (reason := why_not_shared(made, self.given_out)) is not None:
            logger.warning("Calls of %s run undivided: %s", self.__name__, reason)
            return None
        return made


class EitherWay:
    """The body of an automatic split.

    Parameters
    ----------
    body
        Gets the variables, and runs the rest of the function.
    whole
        The function undivided.
    check
        Calls in each process that run both ways. If they differ, or the variables do afterwards, all later calls there
        run undivided.
    """

    def __init__(self, body: Callable[..., Any], whole: Callable[..., Any], check: int = 0) -> None:
        self.body = body
        self.whole = whole
        self.check = check
        self._was_wrong = False
        self.__name__ = whole.__name__
        self.__qualname__ = whole.__qualname__
        self.__module__ = whole.__module__
        self.__doc__ = whole.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.body)

    def __call__(self, made: Mapping[str, Any] | None, /, *args: Any, **kwargs: Any) -> Any:
        if made is None or self._was_wrong:
            return self.whole(*args, **kwargs)
        if self.check > 0:
            self.check -= 1
            return self._checked(made, args, kwargs)
        return self.body(made, *args, **kwargs)

    def _checked(self, made: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call both ways, and give what the function gives undivided."""
        try:
            copied_args, copied_kwargs = copy.deepcopy((args, kwargs))
            before = {name: digest_content(value) for name, value in made.items()}
        except Exception:
            logger.warning("A call of %s cannot be checked", self.__name__, exc_info=True)
            return self.whole(*args, **kwargs)
        divided = _outcome(lambda: self.body(made, *copied_args, **copied_kwargs))
        changed = [name for name, value in made.items() if _digest(value) != before[name]]
        undivided = _outcome(lambda: self.whole(*args, **kwargs))
        if changed or divided.seen != undivided.seen:
            self._was_wrong = True
            what = f"{', '.join(changed)} changed in a call" if changed else "a call gave something else than undivided"
            logger.warning(
                "The context that was found for %s is not fit: %s. Calls here run undivided from now on. Write the "
                "split as a block, or leave the function as it is",
                *(self.__name__, what),
            )
        if undivided.error is not None:
            raise undivided.error
        return undivided.value


@dataclass(frozen=True)
class _Outcome:
    seen: object  # equal for equal outcomes
    value: Any = None
    error: BaseException | None = None


def _outcome(call: Callable[[], Any]) -> _Outcome:
    try:
        value = call()
    except Exception as error:
        return _Outcome((type(error), str(error)), error=error)
    return _Outcome(_digest(value), value)


def _digest(value: object) -> object:
    """What is equal for what has equal content; nothing is equal to what cannot be digested."""
    try:
        return digest_content(value)
    except Exception:
        return object()


def why_not_shared(made: Mapping[str, Any], given_out: Mapping[str, int] = _NOTHING) -> str | None:
    """Which variable calls must not share, and why; None if they may share them all, as far as can be seen.

    Parameters
    ----------
    made
        Variables by name.
    given_out
        Those of which calls give out items, and from how many steps into them. Nobody must be able to change these.
    """
    for name, value in made.items():
        reason = why_not_kept(value)
        if reason is None and name in given_out and not _holds_fixed(value, given_out[name]):
            reason = "given out in parts that could be changed"
        if reason is not None:
            return f"{name} is {reason}"
    return None


def _holds_fixed(value: object, steps: int) -> bool:
    """Whether what is so many steps within a container is none of those objects that are made to be changed."""
    kind = type(value)
    if kind.__name__ == "ndarray":
        return bool(value.dtype != object and value.ndim <= steps)  # type: ignore[attr-defined]
    if not isinstance(value, list | tuple | dict | set | frozenset | collections.deque):
        return steps > 0 or kind.__name__ not in _CHANGEABLE
    if steps <= 0 and not isinstance(value, tuple | frozenset):
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_holds_fixed(each, steps - 1) for each in items)


def why_not_kept(value: object, depth: int = 1) -> str | None:
    """What a value is that calls must not share; None if they may, as far as can be seen."""
    kind = type(value)
    if isinstance(value, _USED_UP):
        return f"used up or changed by reading it ({kind.__qualname__})"
    if isinstance(value, _LOCKS) or _SOUNDS_LIVE.search(kind.__name__):
        return f"live ({kind.__qualname__})"
    if home_of(kind.__module__) is not Home.INSTALLED:
        return f"an object of a class of yours ({kind.__qualname__})"
    if depth and kind in (list, tuple, dict):
        items = list(value.values() if isinstance(value, dict) else value)[:_LOOKED_INTO]  # type: ignore[call-overload]
        reasons = (why_not_kept(each, depth - 1) for each in items)
        return next((f"a container of what is {reason}" for reason in reasons if reason is not None), None)
    return None
