"""Interpreters of this machine, with nothing of ours in them, and what runs a self-contained function there."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_WORKER = """
import importlib.util, json, pickle, sys, traceback
assert importlib.util.find_spec("parsl_context") is None
told = json.load(open(sys.argv[1]))
answers = []
for name, calls in told["calls"]:
    for args, kwargs in calls:
        # What an endpoint does: the function comes with each call.
        if told["how"] == "source":
            names = {}
            exec(told["sources"][name], names)
            function = names[name]
        else:
            function = pickle.loads(bytes.fromhex(told["pickles"][name]))
        try:
            answers.append(function(*args, **kwargs))
        except Exception as error:
            answers.append({"error": type(error).__name__, "text": traceback.format_exc()})
assert "parsl_context" not in sys.modules and "parsl" not in sys.modules
json.dump({"answers": answers, "python": sys.version_info[:2]}, open(sys.argv[2], "w"))
"""


@functools.cache
def interpreters() -> dict[str, str]:
    """Paths of Pythons, by version: of those that we support and that are here."""
    found = {}
    for minor in range(10, 15):
        name = f"python3.{minor}"
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
        paths = [*sorted(map(str, root.glob(f"3.{minor}.*/bin/{name}"))), shutil.which(name)]
        for path in paths:
            if path is not None and _runs(path):
                found[f"3.{minor}"] = path
                break
    own = f"3.{sys.version_info[1]}"
    return {**found, own: os.path.join(sys.base_prefix, "bin", f"python{own}")}


def own_python() -> str:
    """The Python that runs the tests, without their environment."""
    return interpreters()[f"3.{sys.version_info[1]}"]


def _runs(path: str) -> bool:
    has_ours = "import importlib.util, sys; sys.exit(importlib.util.find_spec('parsl_context') is not None)"
    return subprocess.run([path, "-I", "-c", has_ours], capture_output=True, timeout=20).returncode == 0


def run_there(python: str, made: dict[str, Any], calls: list[Any], folder: Path, how: str = "source") -> list[Any]:
    """What calls of functions give in a fresh process of a Python that has nothing of ours.

    Parameters
    ----------
    made
        Texts and pickles of the functions, by name, as `make_there` gives them.
    calls
        Name, and a list of (args, kwargs), for each function.
    """
    (folder / "told.json").write_text(json.dumps({**made, "calls": calls, "how": how}))
    (folder / "worker.py").write_text(_WORKER)
    subprocess.run(
        [python, "-I", "worker.py", "told.json", "answers.json"],
        cwd=folder,
        check=True,
        timeout=50,
        capture_output=True,
    )
    answers = json.loads((folder / "answers.json").read_text())
    assert f"3.{answers['python'][1]}" in python
    return list(answers["answers"])


_MAKER = """
import importlib, json, pickle, runpy, sys
sys.path.insert(0, "")
main = sys.argv[1]
import __main__
__main__.__file__ = main
exec(compile(open(main).read(), main, "exec"), vars(__main__))
made = {"sources": {}, "pickles": {}}
for each in sys.argv[4:]:
    found = __main__
    for part in each.split("."):
        found = getattr(found, part)
    function = found.as_globus_function(codec=sys.argv[3])
    made["sources"][function.__name__] = function.source
    made["pickles"][function.__name__] = pickle.dumps(function, 4).hex()
json.dump(made, open(sys.argv[2], "w"))
"""


def make_there(script: Path, *apps: str, codec: str = "source") -> dict[str, Any]:
    """The functions of apps of a script, made in a process that runs it."""
    (script.parent / "_make.py").write_text(_MAKER)
    command = [sys.executable, "_make.py", script.name, "made.json", codec, *apps]
    made = subprocess.run(command, cwd=script.parent, timeout=50, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return dict(json.loads((script.parent / "made.json").read_text()))
