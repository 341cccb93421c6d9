"""Six modules that need each other and a file."""

from .molecules import Molecule
from .reading import read

__all__ = ["Molecule", "read"]
