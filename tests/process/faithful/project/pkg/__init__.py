"""A package of the user's."""

import sys

from . import kinds
from .sub import deep

__version__ = "1.2"

sys.__dict__.setdefault("faithful_loads", []).append(__name__)


def __getattr__(name):
    if name == "made_when_asked":
        return [name, __version__, kinds.__name__, deep.__name__]
    raise AttributeError(name)
