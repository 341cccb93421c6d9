"""How long a build may take: until it is talked about, and until it is ended. Numbers in, numbers out."""

from __future__ import annotations

_UNKNOWN_S = 60.0  # nobody has seen it end: a minute is long
_TIMES = 10.0  # as long as it used to take is long
_LEAST_S = 5.0  # nobody wants to hear of less


def warn_after_s(usual_s: float | None) -> float:
    """Time from which a build is worth a warning. [s]

    Ten times what it used to take, or a minute, whichever is less, but at least twice what it used to take and 5 s.

    Parameters
    ----------
    usual_s
        Mean of the builds so far; None: there was none. [s]
    """
    if usual_s is None:
        return _UNKNOWN_S
    return max(_LEAST_S, min(_TIMES * usual_s, max(_UNKNOWN_S, 2 * usual_s)))
