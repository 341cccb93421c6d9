"""What the resource specification of a call means to us: which values it may hold, and the priority in it."""

from __future__ import annotations

import math
from typing import Any

from parsl.executors.errors import InvalidResourceSpecification


def check_values(resources: dict[str, Any] | None) -> None:
    """Refuse here what no message could carry.

    Raises
    ------
    InvalidResourceSpecification
        If a value is neither a number nor a text.
    """
    wrong = {name for name, value in (resources or {}).items() if not isinstance(value, int | float | str)}
    if wrong:
        names = ", ".join(sorted(wrong))
        raise InvalidResourceSpecification(wrong, f"Values must be numbers or texts, which those of {names} are not.")


def priority(resources: dict[str, Any] | None) -> float:
    """Place of the call in the queue: the lower the sooner, and last if it does not say."""
    return float(resources.get("priority", math.inf)) if resources else math.inf
