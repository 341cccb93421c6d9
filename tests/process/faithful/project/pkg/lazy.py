"""Imports inside a function."""


def late():
    from . import _late

    return _late.Late()
