"""Functions, contexts and arguments made ready to be sent: pickled, with what the pickles need. Sends nothing."""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.options import UNKEPT_LEVELS
from parsl_context.content.carried import pack_code
from parsl_context.content.carrying import Needs, carry
from parsl_context.content.digests import digest_bytes
from parsl_context.content.exceptions import Raised
from parsl_context.content.modules import Home, home_of
from parsl_context.content.places import fails, place_of_failure
from parsl_context.content.serialization import pack_value
from parsl_context.discover.large import LARGE_BYTES, large_values
from parsl_context.discover.packages import Package, Packager
from parsl_context.discover.watching import NOTHING, Watch, observer
from parsl_context.errors import ContextSerializationError
from parsl_context.executor.environments import ContextEnvironments
from parsl_context.wire.messages import Batch, Digest

logger = logging.getLogger(f"parsl.{__name__}")
_CREATE_WHERE_USED = (
    "Pass data. Objects that cannot travel (connections, locks, open files, device handles) are created where they are "
    "used: in the function, or in a context."
)


@dataclass(frozen=True)
class Code:
    """What a call names instead of its function."""

    digest: Digest
    contexts: tuple[Digest, ...] = ()
    fresh: bool = False
    chunked: bool = False  # its one argument is a list of calls
    batch: Batch | None = None  # calls of it may run together
    keep: Any = None  # objects whose ids are in the key; they must live as long as it does
    size: int = 0
    watch: Watch = NOTHING  # what the code was made of
    package: Package | None = None  # what comes with it

    @functools.cached_property
    def names(self) -> tuple[Digest, ...]:
        """All that a call names."""
        return (self.digest, *self.contexts)

    def covers(self, needs: Needs) -> bool:
        """Whether what comes with the code is all that something else needs."""
        return self.package is not None and self.package.covers(needs)


@dataclass(frozen=True)
class PackedContext:
    """A context that is ready to be sent."""

    data: bytes
    package: Package | None
    watches: tuple[Watch, ...]


@dataclass(frozen=True)
class Packed:
    """Code that is ready to be sent, with its contexts as far as they were packed for it."""

    code: Code
    label: str
    data: bytes
    contexts: tuple[Context, ...] = ()
    ready: Mapping[Digest, PackedContext] = field(default_factory=dict)


class Packer:
    """Packs for one executor. Thread-safe; no lock is held, because code of the user's runs.

    Parameters
    ----------
    packager
        Finds what the user's code needs.
    reuse
        Level of contexts that do not choose one.
    environments
        In which contexts run.
    """

    def __init__(self, packager: Packager, reuse: str, environments: ContextEnvironments | None = None) -> None:
        self._environments = environments or ContextEnvironments(reuse=reuse)
        self._packager = packager
        self._reuse = reuse
        self._watches: dict[Digest, tuple[Watch, ...]] = {}  # of contexts, as they were packed last
        self._alone: set[tuple[str, str]] = set()  # apps of which it was said that calls run one by one, and why

    def app(self, function: Callable[..., Any], stream: bytes) -> Packed:
        """An ordinary app that Parsl has serialized."""
        return self._packed(function, stream, None, (), keep=None)

    def local_app(self, function: Callable[..., Any]) -> Packed:
        """An ordinary app of a module that workers cannot be expected to have."""
        return self._packed(function, *carry(function, defines=True), (), keep=function)

    def call(self, call: ContextCall) -> Packed:
        """A body with its contexts.

        Raises
        ------
        ContextSerializationError
            If the body or a context cannot be pickled.
        """
        current = self._current(call)
        if call.walltime_s is not None:
            self._run_alone(call, "a walltime is for one call")
        with _explained(call):
            stream, needs = carry(current.for_worker(), defines=True)
        return self._packed(current, stream, needs, current.known, keep=call)

    def wrapped(self, wrapper: Callable[..., Any], call: ContextCall | None, settled: ContextCall) -> Packed:
        """A function that Parsl, or somebody else, has put around a call.

        Parameters
        ----------
        call
            The call, in whose place a worker finds one that takes no keys; None to leave it as it is.
        settled
            The call with its contexts, and the values that these have waited for.
        """
        current = self._current(settled)
        self._run_alone(settled, "each is within a function that is put around it, such as that of Parsl's monitoring")

        def replace(value: object) -> Any:
            return current.for_worker().__reduce__() if value is call and call is not None else NotImplemented

        with _explained(settled):
            stream, needs = carry(wrapper, defines=True, replace=replace)
        return self._packed(wrapper, stream, needs, current.known, keep=(wrapper, settled))

    def _run_alone(self, call: ContextCall, reason: str) -> None:
        """Calls that might run together reach the body one by one: say so once."""
        if call.batching is not None and (call.__name__, reason) not in self._alone:
            self._alone.add((call.__name__, reason))
            logger.warning("Calls of %s do not run in batches: %s", call.__name__, reason)

    def needs(self, needs: Needs) -> Packed | None:
        """What arguments need, by itself; None if they need nothing that a worker does not have."""
        package = self._packager.package(needs, is_code=False)
        if package is None:
            return None
        code = Code(package.digest, size=len(package.data), watch=package.watch, package=package)
        return Packed(code, "what arguments need", package.data)

    def context(self, context: Context) -> PackedContext:
        """A context function with its arguments.

        Before a process unpickles them, and so imports what they need, it can read whether it must be fit to be forked
        after that: the whole is the pickle of that, of the header, of theirs, of what it requires, and of whether
        what it prints goes to the script.

        Raises
        ------
        ContextSerializationError
            If something in it cannot be pickled.
        """
        stream, needs = context.packed(self._reuse)
        package = self._packager.package(needs)
        header = None if package is None else package.digest
        requires = tuple(required.digest for required in context.requires)
        data = pickle.dumps((context.is_isolated, header, stream, requires, context.is_echoed), protocol=5)
        watches = [_watch(context.function)] if context.function.stands_there() else []
        watches += [] if package is None else [package.watch]
        packed = PackedContext(data, package, tuple(watches))
        self._watches[context.digest] = packed.watches
        return packed

    def forget(self, digests: Iterable[Digest]) -> None:
        """These contexts are not sent any more."""
        for digest in digests:
            self._watches.pop(digest, None)

    def _current(self, call: ContextCall) -> ContextCall:
        """A call with its contexts as their functions are now."""
        known = (self._watches.get(context.digest, ()) for context in with_required(call.known))
        return call if all(watch.is_current() for watches in known for watch in watches) else call.renewed()

    def _packed(
        self, function: Any, stream: bytes, needs: Needs | None, contexts: tuple[Context, ...], *, keep: Any
    ) -> Packed:
        package = None if needs is None else self._packager.package(needs)
        if len(stream) > LARGE_BYTES:
            # Of an ordinary app that Parsl has serialized, globals do not travel.
            large_values.look_into(getattr(function, "body", function), with_globals=needs is not None)
        watches = [] if package is None else [package.watch]
        ready: dict[Digest, PackedContext] = {}
        self._environments.check(with_required(contexts))
        for context in with_required(contexts):
            known = self._watches.get(context.digest)
            if known is None or not all(watch.is_current() for watch in known):
                ready[context.digest] = self.context(context)
            watches += self._watches[context.digest]
        data = pack_code(None if package is None else package.digest, stream)
        code = Code(
            digest=digest_bytes(data),
            contexts=tuple(context.digest for context in contexts),
            fresh=self._is_fresh(contexts),
            chunked=isinstance(function, ContextCall) and function.chunked,
            batch=_batch_of(function, contexts) if isinstance(function, ContextCall) else None,
            keep=keep,
            size=len(data) + (0 if package is None else package.size),
            watch=Watch.all_of(watches),
            package=package,
        )
        return Packed(code, getattr(function, "__name__", type(function).__name__), data, contexts, ready)

    def _is_fresh(self, contexts: Iterable[Context]) -> bool:
        return any((context.options.reuse or self._reuse) in UNKEPT_LEVELS for context in contexts)


def _batch_of(call: ContextCall, contexts: Sequence[Context]) -> Batch | None:
    """How calls run together, if they may; no batch is larger than the number of calls that an instance serves."""
    if call.batching is None or call.chunked or call.walltime_s is not None:
        return None
    uses = [context.options.max_uses for context in with_required(contexts) if context.options.max_uses is not None]
    sizes = [*uses, *([] if call.batching.size is None else [call.batching.size])]
    return Batch(min(sizes, default=None), call.batching.wait_s)


def with_required(contexts: Sequence[Context]) -> list[Context]:
    """These and those that they require, each after what it requires."""
    found: dict[Digest, Context] = {}

    def add(context: Context) -> None:
        if context.digest not in found:
            for required in context.requires:
                add(required)
            found[context.digest] = context

    for context in contexts:
        add(context)
    return list(found.values())


def _watch(function: ContextFunction) -> Watch:
    """Whether a context function stands under its name still."""
    assert function.place is not None
    names, name = function.place
    is_in_file = home_of(function.__module__) is Home.CARRIED
    return Watch(((names, name, names[name]),), observer.epoch if is_in_file else None)


def unsendable(function: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> dict[int, Raised]:
    """Of many calls in one task, the places of those whose arguments cannot be pickled, with what stands for each."""
    found: dict[int, Raised] = {}
    for place, row in enumerate(rows):
        try:
            pack_value(row)
        except Exception as cause:
            error = cannot_send(function, row, {}, cause)
            error.__cause__ = cause
            found[place] = Raised(error)
    return found


def cannot_send(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], cause: Exception
) -> ContextSerializationError:
    """The error of a call whose arguments cannot be pickled: names the first that cannot, and the place in it."""
    name = getattr(function, "__name__", repr(function))
    named = [(f"Argument {place}", value) for place, value in enumerate(args)]
    named += [(f"Argument {key!r}", value) for key, value in kwargs.items()]
    for text, value in named:
        if fails(pack_value, value):
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            part = f"{text} of a call of {name}, of type {kind}{place_of_failure(pack_value, value) or ','}"
            return ContextSerializationError(part, cause, _CREATE_WHERE_USED)
    return ContextSerializationError(f"What a call of {name} was given", cause, _CREATE_WHERE_USED)


@contextlib.contextmanager
def _explained(call: ContextCall) -> Iterator[None]:
    try:
        yield
    except ContextSerializationError:
        raise
    except Exception as error:
        raise ContextSerializationError(f"The body {call.__name__}", error) from error
