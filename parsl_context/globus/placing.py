"""Placement of tasks by warmth, within an endpoint that runs our executor.

The engine of an endpoint hands over tasks as they came: a function's text, arguments, all serialized. Which contexts a
self-contained function has, its text says; so a task becomes a call with a context that stands for those. Building it
has the function build its own, in the worker, and the executor's scheduler places, measures and gives up as always.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec
from globus_compute_common import messagepack
from globus_compute_sdk.serialize import ComputeSerializer

from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.decorator import context
from parsl_context.standalone.function import KEY_MARK, MARK, TOLD

logger = logging.getLogger(f"parsl.{__name__}")

_MAX_CALLS = 1024  # that are remembered, by what they have in common
_FUNCTION = re.compile(rb"# " + MARK.encode() + rb" ([0-9a-f]{32})")
_KEY = re.compile(KEY_MARK.encode() + rb" ([0-9a-f]{32})")
# Version 1 of Globus Compute's protocol (`globus_compute_common.messagepack`): a task is this byte and JSON. Its own
# reader takes a tenth of a millisecond, for what is read again in the worker.
_VERSION = b"\x01"


class _Data(msgspec.Struct):
    task_buffer: str


class _Task(msgspec.Struct):
    data: _Data


_decoder = msgspec.json.Decoder(_Task)


class Placing:
    """Tells what tasks have in common."""

    def __init__(self) -> None:
        self._serializer = ComputeSerializer()
        self._affinities: OrderedDict[str, str | None] = OrderedDict()  # of functions, by their text
        self._calls: OrderedDict[str, ContextCall] = OrderedDict()

    def call_of(self, packed: bytes) -> ContextCall | None:
        """The call that a task is: all with the same contexts have one. None for other functions.

        Parameters
        ----------
        packed
            The task, as it came from the web service.
        """
        code, _, kwargs = self._serializer.unpack_buffers(_buffer_of(packed))
        affinity = self._affinity_of(code)
        if affinity is None:
            return None
        key = _KEY.search(_plain(kwargs))
        if key is not None:
            affinity = f"{affinity} {key[1].decode()}"
        if affinity not in self._calls:
            # Contexts that wait for keys are built by the first call.
            kept = standing_for(affinity, None if key is not None else code)
            self._calls[affinity] = ContextCall(run_task, (None,), (kept,))
            _trim(self._calls)
        self._calls.move_to_end(affinity)
        return self._calls[affinity]

    def _affinity_of(self, code: str) -> str | None:
        if code not in self._affinities:
            found = _FUNCTION.search(_plain(code))
            self._affinities[code] = None if found is None else found[1].decode()
            _trim(self._affinities)
        return self._affinities[code]


def _buffer_of(packed: bytes) -> str:
    """Function and arguments of a task."""
    if packed[:1] == _VERSION:
        try:
            return _decoder.decode(memoryview(packed)[1:]).data.task_buffer
        except msgspec.MsgspecError:  # its own reader says what is wrong
            pass
    return str(messagepack.unpack(packed).task_buffer)


def _plain(serialized: str) -> bytes:
    """What was serialized, as far as texts in it are concerned."""
    text = serialized.partition("\n")[2]  # without the mark of its serializer
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogatepass")


def _trim(cache: OrderedDict[str, Any]) -> None:
    while len(cache) > _MAX_CALLS:
        cache.popitem(last=False)


@context
def standing_for(affinity: str, code: str | None) -> Iterator[str]:
    """What stands for the contexts of a self-contained function; runs in a worker.

    Parameters
    ----------
    affinity
        What its calls have in common.
    code
        The function, serialized; None if its contexts wait for a call.
    """
    function = None if code is None else ComputeSerializer().deserialize(code)
    if function is not None:
        try:
            function(**{TOLD: {"warm": True}})
        except Exception:  # the call, which tries again, says so to whom it concerns
            logger.exception("Contexts of %s could not be built", getattr(function, "__name__", function))
    yield affinity
    if function is not None:
        function(**{TOLD: {"unload": True}})


def run_task(_: str, task_executor: dict[str, Any], packed: bytes) -> Any:
    """Run a task where its contexts are, as Parsl's workers run it."""
    module, _, name = task_executor["f"].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    return function(packed, *task_executor["a"], **task_executor["k"])
