"""Which builds that failed are worth another try. Pure.

A build that takes minutes and fails for a reason of its own code fails in the same way wherever it is tried. What fails
for lack of something (memory, a file that is not there yet, a licence, a device) may not, or not on another node. All
that is known of an error here are the classes of Python's own that it belongs to, because nothing above a worker
unpickles what a worker sent.
"""

from __future__ import annotations

from collections.abc import Collection

# What these say of the code, or of the values that it is given, is true on every node.
_LASTING = frozenset(
    {
        "ArithmeticError",
        "AttributeError",
        "LookupError",
        "NameError",
        "NotImplementedError",
        "RecursionError",
        "SyntaxError",
        "TypeError",
        "ValueError",
    }
)
# Of the system, or of another machine. Some errors of libraries are both, such as those of certificates.
_PASSING = frozenset({"OSError", "MemoryError"})


def may_pass(kinds: Collection[str]) -> bool:
    """Whether a build that failed may go well when it is tried again.

    Parameters
    ----------
    kinds
        Python's own classes that the error belongs to, and so what it is derived from. None at all: the worker died,
        or the build took longer than it may; that may pass.

    Notes
    -----
    What is not an ``Exception`` (``SystemExit``, ``KeyboardInterrupt``) was meant to end the process, and lasts.
    ``ImportError``, ``AssertionError``, ``RuntimeError`` and a bare ``Exception`` may be the node's: an environment
    that is not there, a device that an assertion asks for or that is out of memory.
    """
    if not kinds or not _PASSING.isdisjoint(kinds):
        return True
    return "Exception" in kinds and _LASTING.isdisjoint(kinds)
