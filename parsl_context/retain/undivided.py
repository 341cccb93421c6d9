"""An automatic context, and the body that goes on without it: where it cannot be built or kept, a call runs undivided.

So errors and guards are Python's, and what turns out to be an iterator, a connection or an object of the user's classes
when it is made is not shared by calls.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parsl_context.content.digests import digest_content
from parsl_context.retain.drift import say
from parsl_context.retain.fingerprints import changes, fingerprint
from parsl_context.retain.terms import NO_TERMS, Terms

logger = logging.getLogger(f"parsl.{__name__}")


class LeadingWork:
    """The context function of an automatic split.

    Parameters
    ----------
    function
        Runs the statements that have moved, and gives variables by name.
    terms
        What must hold for calls to share the variables.
    """

    def __init__(self, function: Callable[[], Mapping[str, Any]], terms: Terms = NO_TERMS) -> None:
        self.function = function
        self.terms = terms
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
        if (reason := self.terms.why_not_shared(made)) is not None:
            logger.warning("Calls of %s run undivided: %s", self.__name__, reason)
            return None
        tables = self.terms.pictures(getattr(self.function, "__globals__", {}))
        return _Made(made, tables) if tables else made


class _Made(dict[str, Any]):
    """Variables that depend on globals.

    Attributes
    ----------
    tables : list
        How these were.
    """

    def __init__(self, made: Mapping[str, Any], tables: list[object]) -> None:
        super().__init__(made)
        self.tables = tables


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
    terms
        What must hold for a call to use the variables.
    """

    def __init__(
        self, body: Callable[..., Any], whole: Callable[..., Any], check: int = 0, terms: Terms = NO_TERMS
    ) -> None:
        self.body = body
        self.whole = whole
        self.check = check
        self.terms = terms
        self._was_wrong = False
        self.__parsl_context_says__ = check > 0
        self.__name__ = whole.__name__
        self.__qualname__ = whole.__qualname__
        self.__module__ = whole.__module__
        self.__doc__ = whole.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.body)

    def __call__(self, made: Mapping[str, Any] | None, /, *args: Any, **kwargs: Any) -> Any:
        if made is None or self._was_wrong or (self.terms.tables and self._is_outdated(made)):
            return self.whole(*args, **kwargs)
        if self.check > 0:
            self.check -= 1
            return self._checked(made, args, kwargs)
        return self.body(made, *args, **kwargs)

    def _is_outdated(self, made: Mapping[str, Any]) -> bool:
        """Whether a global that the variables were made of has been changed."""
        space = getattr(self.whole, "__globals__", {})
        return isinstance(made, _Made) and made.tables != self.terms.pictures(space)

    def _checked(self, made: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call both ways, and give what the function gives undivided."""
        try:
            copied_args, copied_kwargs = copy.deepcopy((args, kwargs))
            before = {name: digest_content(value) for name, value in made.items()}
        except Exception:
            logger.warning("A call of %s cannot be checked", self.__name__, exc_info=True)
            return self.whole(*args, **kwargs)
        looks = {name: fingerprint(value, name) for name, value in made.items()}
        divided = _outcome(lambda: self.body(made, *copied_args, **copied_kwargs))
        changed = [name for name, value in made.items() if _digest(value) != before[name]]
        undivided = _outcome(lambda: self.whole(*args, **kwargs))
        if changed or divided.seen != undivided.seen:
            self._was_wrong = True
            within = [
                each for name in changed for each in changes(looks[name], fingerprint(made[name], name)) or [name]
            ]
            what = f"a call changed {'; '.join(within)}" if changed else "a call gave something else than undivided"
            say(
                f"The context that was found for {self.__name__} is not fit: {what}. Calls there run undivided from "
                "now on. Write the split as a block, or leave the function as it is."
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
