"""Functions with a block, in a package."""

from harness import level
from parsl_context import context

from .kinds import Colour

BUILT = []


def paint(value, colour=Colour.RED):
    with context(**level()):
        from . import words  # beside this module

        class Brush:
            hue = colour

        BUILT.append(colour)
        brush = Brush()
    return [type(brush) is Brush, brush.hue is Colour.RED, BUILT[-1] is colour, words.__name__, value, colour.name]
