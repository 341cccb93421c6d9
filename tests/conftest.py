"""Tests that need large libraries: skipped where these are missing, or failed where none may be (`--all-libraries`).

`--all-levels` is for `process/faithful`: options must be known before tests are found.
"""

from __future__ import annotations

import importlib.util

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-libraries", action="store_true", help="a test whose libraries are missing fails")
    parser.addoption("--all-levels", action="store_true", help="user code is run in each way at each level of reuse")


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("library")
    missing = [name for name in marker.args if importlib.util.find_spec(name) is None] if marker is not None else []
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed: make test-all installs it"
    if item.config.getoption("--all-libraries"):
        pytest.fail(reason)
    pytest.skip(reason)
