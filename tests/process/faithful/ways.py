"""The ways a project is run. Each runs it twice: in plain Python, and on workers at each level of reuse."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.conftest import LEFT_WITHIN_S, family

HERE = Path(__file__).parent
LEVELS = ("memory", "node", "isolated")  # "app", for the command line: an ordinary app, whose ways are stock's
SAME = "the value in plain Python"  # as in the project's harness.py
TIMEOUT_S = 400.0  # of one run of all probes, on a busy machine

Command = list[str]


@dataclass
class Outcome:
    """What the probes gave in one way of running."""

    plain: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by level
    output: str = ""  # the end of what the programs printed
    left: list[str] = field(default_factory=list)  # processes that outlived them

    def is_asked(self, probe: str) -> bool:
        """Whether plain Python can do what a probe does; where it cannot, nothing is asked of workers."""
        value = self.plain.get(probe)
        return self.expected.get(probe) != SAME or not (isinstance(value, list) and value[:1] == ["raised"])

    def wanted(self, probe: str) -> Any:
        """The value that a probe should have on workers."""
        value = self.expected.get(probe, SAME)
        return self.plain.get(probe, f"no value in plain Python: {self.output}") if value == SAME else value

    def seen(self, level: str, probe: str) -> Any:
        """The value that a probe has on workers."""
        return self.workers.get(level, {}).get(probe, f"no value: {self.output}")


@dataclass(frozen=True)
class Project:
    """What is run."""

    name: str  # of its folder, and of the list of rows that fail
    ways: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    more_levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def folder(self) -> Path:
        return HERE / self.name

    def usual_levels(self, way: str) -> tuple[str, ...]:
        """Levels that tests ask for unless they are told to ask for all."""
        return self.more_levels.get(way, ("memory",))

    def needs(self, way: str) -> tuple[str, ...]:
        """Modules that must be installed."""
        return (*self.libraries, *LIBRARIES.get(way, ()))


def probes(project: Project, way: str, level: str) -> list[str]:
    """Names of the probes, in the order of the project."""
    marks = _probes((project.folder / "main.py").read_text()) | (_probes(PYTEST_TAIL) if way in PYTEST_WAYS else {})
    return [name for name, needs_context in marks.items() if level != "app" or not needs_context]


@functools.cache
def _probes(text: str) -> dict[str, bool]:
    """Names of the probes in a text, and whether each needs a context."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        for mark in getattr(node, "decorator_list", []):
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id in ("probe", "sequence"):
                assert isinstance(node, ast.FunctionDef)
                found[node.name] = mark.func.id == "sequence" or bool(mark.args)
    return found


def run(project: Project, way: str, folder: Path, *, only: str | None = None, levels: str | None = None) -> Outcome:
    """Copy a project to a folder and run it there."""
    copy = folder / "project"
    shutil.copytree(project.folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "project" / "harness.py", copy)
    command, cwd, extra = WAYS[way](copy)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "", **extra}
    environment |= {key: value for key, value in {"FAITHFUL_ONLY": only, "FAITHFUL_LEVELS": levels}.items() if value}
    outcome = Outcome()
    for name, settings in {"plain": {"FAITHFUL_LOCAL": "1"}, "workers": {}}.items():
        out = folder / name
        settings = {**environment, **settings, "FAITHFUL_OUT": str(out)}
        outcome.output = _output(command, cwd, settings, folder / f"{name}.txt")
        for path in sorted(folder.glob(f"{name}.*.json")):
            values = json.loads(path.read_text())
            if name == "plain":
                outcome.plain |= values["plain"]
                outcome.expected |= values["expected"]
            else:
                for level, row in values.items():
                    outcome.workers.setdefault(level, {}).update(row)
    outcome.left = _left(folder)
    return outcome


def _left(folder: Path) -> list[str]:
    """Commands of processes that work in a folder, for longer than it takes to end."""
    deadline = time.monotonic() + LEFT_WITHIN_S
    while (found := family(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [str(process) for process in found]


def _output(command: Command, cwd: Path, environment: dict[str, str], log: Path) -> str:
    """The end of what a program printed; it and all it started are gone."""
    text = cwd / ".repl_input"
    with log.open("wb") as output, contextlib.ExitStack() as stack:
        source = stack.enter_context(text.open("rb")) if text.exists() else subprocess.DEVNULL
        program = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=source, stdout=output, stderr=output, start_new_session=True
        )
        try:
            program.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    return log.read_text(errors="replace")[-2000:]


# The ways. Each prepares a copy of the project and says what to run, where, and with what in the environment.


def script(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """`python main.py`"""
    return [sys.executable, "main.py"], project, {}


def elsewhere(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """The script, from another working directory."""
    place = project.parent / "elsewhere"
    place.mkdir()
    return [sys.executable, "../project/main.py"], place, {}


def far(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """The script, on workers that do not have its folder."""
    command, place, _ = elsewhere(project)
    return command, place, {"FAITHFUL_HIDDEN": str(project)}


def module(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """`python -m pkg.main`, with relative imports."""
    text = (project / "main.py").read_text()
    text = re.sub(r"^from pkg import", "from . import", text, flags=re.MULTILINE)
    text = re.sub(r"^from pkg\.", "from .", text, flags=re.MULTILINE)
    (project / "pkg" / "main.py").write_text(text)
    (project / "main.py").unlink()
    return [sys.executable, "-m", "pkg.main"], project, {}


def pytest_prepend(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """A test module, as pytest imports it by default."""
    return _under_pytest(project, "prepend")


def pytest_importlib(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """A test module with `--import-mode=importlib`."""
    return _under_pytest(project, "importlib")


def pytest_xdist(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """A test module in two processes of pytest-xdist."""
    return _under_pytest(project, "prepend", shares=2)


def notebook(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """Cells in a Jupyter kernel."""
    text = (project / "main.py").read_text()
    (project / "main.py").unlink()
    cells = [cell.partition("\n")[2] for cell in text.split("\n# %%")]
    (project.parent / "cells.json").write_text(json.dumps(cells))
    return [sys.executable, str(Path(__file__).with_name("run_notebook.py")), "../cells.json"], project, {}


def repl(project: Path) -> tuple[Command, Path, dict[str, str]]:
    """Statements typed at the prompt of `python -i`."""
    text = (project / "main.py").read_text()
    (project / "main.py").unlink()
    (project / ".repl_input").write_text("\n".join(_typed(text)))
    return [sys.executable, "-i", "-q", "-"], project, {}


def _typed(text: str) -> Iterator[str]:
    """Statements as they are typed: without empty lines, and one after each."""
    lines = text.splitlines()
    for node in ast.parse(text).body[1:]:
        first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))])
        yield from (line for line in lines[first - 1 : node.end_lineno] if line.strip())
        yield ""


PYTEST_TAIL = """
import pytest


@pytest.mark.parametrize("share", range(int(os.environ["FAITHFUL_SHARES"])))
def test_probes(share, lent):
    class Local:
        kind = "local"

    @probe(Local, args=lambda: (Local(),), after=lambda result: [result[0], type(result[1]) is Local])
    def class_local_to_a_test(held, given):
        return [type(held) is type(given) is Local, given]

    @probe(lent, args=lambda: (lent(), lent), after=lambda result: [result[0], type(result[1]) is lent])
    def class_of_conftest(held, given, cls):
        return [type(held) is type(given) is cls is lent, given]

    main(share, int(os.environ["FAITHFUL_SHARES"]))
"""

CONFTEST = """
import pytest


class Lent:
    def where(self):
        return __name__


@pytest.fixture
def lent():
    return Lent
"""


def _under_pytest(project: Path, mode: str, shares: int = 1) -> tuple[Command, Path, dict[str, str]]:
    text = (project / "main.py").read_text().partition("\n# %% run")[0]
    (project / "main.py").unlink()
    tests = project / "tests"
    tests.mkdir()
    (tests / "test_project.py").write_text(text + PYTEST_TAIL)
    (tests / "conftest.py").write_text(CONFTEST)
    (project / "pytest.ini").write_text(f"[pytest]\naddopts = --import-mode={mode}\npythonpath = .\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_project.py"]
    return command + (["-n", "2"] if shares > 1 else []), project, {"FAITHFUL_SHARES": str(shares)}


Way = Callable[[Path], tuple[Command, Path, dict[str, str]]]
PYTEST_WAYS: dict[str, Way] = {
    "pytest_prepend": pytest_prepend,
    "pytest_importlib": pytest_importlib,
    "pytest_xdist": pytest_xdist,
}
WAYS: dict[str, Way] = {
    "script": script,
    "elsewhere": elsewhere,
    "far": far,
    "module": module,
    **PYTEST_WAYS,
    "notebook": notebook,
    "repl": repl,
}

LIBRARIES = {"pytest_xdist": ("xdist",), "notebook": ("nbclient", "ipykernel")}  # what a way needs

# How code gets to a worker depends on the way; what a level makes of it there hardly does. So not every way has to be
# asked at each level each time, and each level is asked in ways that differ.
PROJECT = Project(
    "project",
    tuple(WAYS),
    more_levels={
        "script": LEVELS,
        "far": ("memory", "node"),
        "pytest_importlib": ("memory", "isolated"),
        "notebook": ("memory", "node"),
        "repl": ("memory", "isolated"),
    },
)
LIBRARY_PROJECT = Project(
    "library_project",
    ("script", "far", "notebook"),
    ("sklearn", "torch", "pydantic", "rdkit", "pandas"),
    more_levels={"script": LEVELS},
)
PROJECTS = {project.name: project for project in (PROJECT, LIBRARY_PROJECT)}
