"""A module beside the script that is imported inside functions alone."""

from beside import Beside


class Later(Beside):
    pass


def name_of(value):
    return type(value).__name__
