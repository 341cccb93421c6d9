"""What a map gives for each item, from the outcomes of the tasks that its calls travel in."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from parsl_context.content.exceptions import Raised, another
from parsl_context.retain.calls import take_results

Give = Callable[[BaseException], Any]  # what is done with what a call raised: `raise_it` or `give_it`


class Sent:
    """Calls that travel together.

    Attributes
    ----------
    items : list of tuple
        Arguments of the calls.
    numbers : list of int
        Which items of the map these are, [0, items of the map).
    future : Future
        Of the task, once it was made.
    """

    def __init__(self, items: Sequence[tuple[Any, ...]] = (), first: int = 0) -> None:
        self.items = list(items)
        self.numbers = list(range(first, first + len(self.items)))
        self.future: Future[Any] | None = None
        self._values: Sequence[Any] | None = None
        self._error: BaseException | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the results are there."""
        return self.future is not None and self.future.done()

    def results(self, give: Give) -> Iterator[Any]:
        """All results in order; what a call raised is given to `give`, which raises it or gives what to deliver."""
        self._look()
        if self._error is None and give is raise_it:  # as nearly always
            assert self._values is not None
            yield from self._values
            return
        for index in range(len(self.items)):
            yield self.result(index, give)

    def result(self, index: int, give: Give) -> Any:
        """One result, once the task has ended."""
        self._look()
        assert self._values is not None
        if index < len(self._values):
            value = self._values[index]
            return give(self._noted(value.exception(), index)) if type(value) is Raised else value
        assert self._error is not None, "a task has a result for each of its calls, or an error"
        # What ended the task, as a dead worker does, may be the outcome of several calls: each notes on its own.
        return give(self._noted(self._error if give is raise_it else another(self._error), index))

    def _look(self) -> None:
        if self._values is None:
            self._values, self._error = self._outcome()

    def _outcome(self) -> tuple[Sequence[Any], BaseException | None]:
        assert self.future is not None
        try:
            return self.future.result(), None
        except (Exception, CancelledError) as error:
            return take_results(error), error

    def _noted(self, error: BaseException, index: int) -> BaseException:
        """An exception with a note that says which item it is about."""
        item = self.items[index]
        shown = _short.repr(item[0] if len(item) == 1 else item)
        notes = [*getattr(error, "__notes__", ()), f"item {self.numbers[index]} of the map: {shown}"]
        error.__dict__["__notes__"] = notes  # as `add_note`, which Python 3.10 does not have
        return error


def raise_it(error: BaseException) -> Any:
    """End the map with what a call raised."""
    raise error


def give_it(error: BaseException) -> Any:
    """Have the map deliver what a call raised."""
    return error


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
