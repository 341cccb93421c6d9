"""Loads the script or module that a command names, without running what the script is for.

A script is loaded as `multiprocessing` loads it in the processes that it spawns: what stands under ``if __name__ ==
"__main__":`` does not run. Loading also ends where Parsl would start: what was defined until then is what there is.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from parsl.dataflow.dflow import DataFlowKernel

from parsl_context.cli.errors import CommandError
from parsl_context.errors import sentence

SPAWNED_MAIN = "__mp_main__"  # what `multiprocessing.spawn` calls it


@dataclass(frozen=True)
class Loaded:
    """A script or module.

    Attributes
    ----------
    name : str
        As it was given.
    module : ModuleType
        What it defines.
    stopped : str or None
        Why it was not loaded to its end, in a sentence.
    """

    name: str
    module: types.ModuleType
    stopped: str | None = None

    def find(self, place: str) -> Any:
        """What a dotted name stands for.

        Raises
        ------
        CommandError
            If there is no such name.
        """
        found: Any = self.module
        for part in place.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                why = f" {self.stopped}" if self.stopped else ""
                raise CommandError(
                    f"{self.name} does not define {place!r}.{why} What it has: parsl-context discover {self.name}", 2
                ) from None
        return found


def load(name: str) -> Loaded:
    """Load a script by its path, or a module by its name.

    Raises
    ------
    CommandError
        If there is none, or it raises an error.
    """
    is_script = name.endswith(".py") or os.sep in name or os.path.isfile(name)
    # What it prints is not what the command prints.
    with contextlib.redirect_stdout(sys.stderr), _no_kernel():
        return _load_script(name) if is_script else _load_module(name)


class _StartsParslError(BaseException):
    """Raised where Parsl would start; nothing that scripts catch."""


@contextlib.contextmanager
def _no_kernel() -> Iterator[None]:
    """No DataFlowKernel starts meanwhile."""

    def refuse(*_: Any, **__: Any) -> None:
        raise _StartsParslError

    with mock.patch.object(DataFlowKernel, "__init__", refuse):
        yield


def _load_script(name: str) -> Loaded:
    path = Path(name).absolute()
    if not path.is_file():
        raise CommandError(f"There is no file {path}. Give the path of a script, or the name of a module.", 2)
    module = types.ModuleType(SPAWNED_MAIN)
    module.__file__ = str(path)
    vars(module)["__package__"] = None
    sys.modules["__main__"] = sys.modules[SPAWNED_MAIN] = module
    sys.path[0] = str(path.parent)
    sys.argv[:] = [str(path)]

    def run() -> None:
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))

    stopped = _run(run, name, str(path))
    return Loaded(name, module, stopped)


def _load_module(name: str) -> Loaded:
    sys.path[0] = os.getcwd()
    made: list[types.ModuleType] = []
    stopped = _run(lambda: made.append(importlib.import_module(name)), name, name)
    if not made:
        raise CommandError(f"{name} cannot be loaded. {stopped}")
    return Loaded(name, made[0], stopped)


def _run(load: Any, name: str, file: str) -> str | None:
    """Load it. Gives why it ended before its end, if that can be lived with."""
    advice = 'Put what is to run under `if __name__ == "__main__":`.'
    try:
        load()
    except _StartsParslError as error:
        return f"It starts Parsl {_line(error, file)}, and was loaded up to there. {advice}"
    except (SystemExit, KeyboardInterrupt) as error:
        return f"It ended {_line(error, file)} ({type(error).__name__}: {error}), and was loaded up to there. {advice}"
    except ModuleNotFoundError as error:
        if error.name == name or (error.name and name.startswith(f"{error.name}.")):
            told = f"There is no module {error.name} here or on PYTHONPATH, and no file {name}."
            raise CommandError(told, 2) from None
        raise CommandError(
            f"{name} cannot be loaded, as it needs the module {error.name} {_line(error, file)}, which is not found. "
            "Install it, or run this command with the Python that runs the script."
        ) from None
    except Exception as error:
        hint = ""
        if isinstance(error, ImportError) and "relative import" in str(error):
            hint = " It is part of a package: give the name of the module instead, as package.module."
        elif isinstance(error, SyntaxError):
            hint = f" ({error.filename}, line {error.lineno})"
        told = sentence(f"{type(error).__name__}: {error}")
        raise CommandError(f"{name} cannot be loaded: {_line(error, file)} it raises {told}{hint}") from None
    return None


def _line(error: BaseException, file: str) -> str:
    """The line that it got to, as the end of a sentence; of another file if none of its own is on the way."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    return f"in line {own[-1].lineno}" if own[-1].filename == file else f"in {own[-1].filename}:{own[-1].lineno}"
