"""Weights and kinds."""

import enum

WEIGHTS = {"C": 12.0, "O": 16.0}


class Kind(enum.Enum):
    CARBON = "C"
    OXYGEN = "O"
