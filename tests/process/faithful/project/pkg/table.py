"""Reads files of the package."""

import importlib.resources
import pkgutil
from pathlib import Path


def beside():
    return (Path(__file__).parent / "data" / "table.txt").read_text()


def resource():
    return (importlib.resources.files("pkg") / "data" / "table.txt").read_text()


def by_pkgutil():
    return pkgutil.get_data("pkg.data", "table.txt").decode()
