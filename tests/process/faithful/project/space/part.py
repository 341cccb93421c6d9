"""A part of a namespace package: its folder has no __init__."""


class Part:
    pass


def whose(value):
    return isinstance(value, Part)
