"""A module of one file beside the script."""

import threading

from pkg.kinds import Colour

LOCK = threading.Lock()
FAVOURITE = Colour.RED
_level = 0


class Beside:
    made = 0

    def __init__(self):
        type(self).made += 1


def set_level(value):
    global _level
    _level = value


def level():
    return _level


def in_a_child(value):
    return [value, __name__, Colour(1) is FAVOURITE]
