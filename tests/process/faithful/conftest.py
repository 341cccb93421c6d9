"""Runs each project once in each way that is asked for, two at a time. The rows look at what that gave."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.process.faithful.rows import Outcomes
from tests.process.faithful.ways import LEVELS, Outcome, Project, run

HERE = Path(__file__).parent
AT_ONCE = 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out levels that are not asked each time."""
    if config.getoption("--all-levels"):
        return
    left_out = {item for item in items if _is_row(item) and not _is_usual(item)}
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What all probes of a project gave in a way of running."""
    runs: dict[tuple[Project, str], Future[Outcome]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for (project, way), levels in _asked(request.session.items).items():
            if all(map(importlib.util.find_spec, project.needs(way))):
                asked = ",".join(level for level in LEVELS if level in (levels or project.usual_levels(way)))
                runs[project, way] = pool.submit(run, project, way, tmp_path_factory.mktemp(way), levels=asked)
        yield lambda project, way: runs[project, way].result()
        for each in runs.values():
            each.cancel()  # a test that failed may end them all


def _asked(items: list[pytest.Item]) -> dict[tuple[Project, str], set[str]]:
    """Levels that rows ask for, by project and way, in the order of the rows."""
    found: dict[tuple[Project, str], set[str]] = {}
    for item in filter(_is_row, items):
        words = _words(item)
        found.setdefault((_project(item), words["way"]), set()).update({words["level"]} if "level" in words else ())
    return found


def _is_usual(item: pytest.Item) -> bool:
    words = _words(item)
    return words.get("level", "memory") in _project(item).usual_levels(words["way"])


def _is_row(item: pytest.Item) -> bool:
    return item.path.parent == HERE and "way" in _words(item)


def _project(item: Any) -> Project:
    project: Project = item.module.project
    return project


def _words(item: pytest.Item) -> dict[str, Any]:
    """Parameters of a test."""
    return getattr(getattr(item, "callspec", None), "params", {})
