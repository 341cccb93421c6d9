"""Half of a circle of imports."""

from . import right


class Left:
    def other(self):
        return right.Right()
