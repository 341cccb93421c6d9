"""Half of a circle of imports."""

from . import left


class Right:
    def other(self):
        return left.Left()
