"""Apps that are written as one function, whose first block is the context: ``with context:``."""

from __future__ import annotations

from typing import Any

from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.decorator import BlockOptions, context
from parsl_context.apps.keys import RESERVED, KeyedContext
from parsl_context.apps.options import Options
from parsl_context.content.space import space
from parsl_context.discover.blocks import split_block
from parsl_context.discover.halves import Split
from parsl_context.errors import SplitError


def split(function: Any) -> Split:
    """How a function with a ``with context:`` block, or the app that was made of it, is split.

    Raises
    ------
    SplitError
        If it cannot be split; the reason, with file and line.
    """
    known = getattr(function, "split", None)
    if isinstance(known, Split):
        return known
    found = split_block(function, _is_marker)
    if {*map(id, found.context.__closure__ or ())} & {*map(id, found.body.__closure__ or ())}:
        for half in (found.context, found.body):
            space.identify_cells(half)  # a variable around the function is one for both, also over there
    return found


def block_of(found: Split) -> ContextFunction:
    """The context function that the block of a function is."""
    marker = found.marker
    made = ContextFunction(found.context, marker.options if isinstance(marker, BlockOptions) else Options())
    made.is_block = True
    return made


def context_of(found: Split, block: ContextFunction) -> Context | KeyedContext:
    """The context of the app: one, or one for each value of its keys.

    Raises
    ------
    SplitError
        If Parsl takes a key for itself.
    """
    for key in found.keys:
        if key in RESERVED:
            code = found.function.__code__
            reason = f"its block uses {key}, which Parsl takes of every call for itself. Give it another name."
            raise SplitError(found.function.__qualname__, code.co_filename, code.co_firstlineno, reason)
    return block.by(*found.keys) if found.keys else block()


def _is_marker(value: object) -> bool:
    return value is context or isinstance(value, BlockOptions)
