"""Variables that functions have captured: they may have no value yet, or no more."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

_EMPTY = types.CellType()


def is_filled(cell: types.CellType) -> bool:
    """Whether a variable has a value."""
    return cell != _EMPTY  # compares no value with one that is not there


def filled_values(cells: Iterable[types.CellType] | None) -> list[Any]:
    """Values of those variables that have one."""
    return [cell.cell_contents for cell in cells or () if is_filled(cell)]
