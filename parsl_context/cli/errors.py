"""What a command says when it cannot do what it was asked."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot go on.

    Attributes
    ----------
    status : int
        Exit status: 2 if the command line is to be changed, 1 for all else.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status
