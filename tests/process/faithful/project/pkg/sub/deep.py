"""A module in a package in a package."""

from ..kinds import Colour


def is_red(value):
    return value is Colour.RED


class Deep:
    colour = Colour.GREEN
