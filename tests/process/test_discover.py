"""`parsl-context discover` as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, Path(sysconfig.get_path("scripts"), "parsl-context"), "discover", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


def found(*arguments: str, folder: Path = ROOT, status: int = 0) -> dict[str, Any]:
    done = run(*arguments, "--json", folder=folder)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_context_of_the_quickstart_is_built_once(run_dir: Path) -> None:
    made = found(f"{ROOT}/examples/quickstart.py:search", "--trace", folder=run_dir)
    assert made["requirements"] == made["modules"] == made["captured"] == made["lacking"] == []
    (built,) = made["trace"]["built"]
    assert built["name"] == "search()"
    assert built["time_s"] > 0.1
    assert built["peak_bytes"] >= built["memory_bytes"] > 1_000_000
    assert made["trace"]["errors"] == []


def test_modules_of_an_example_are_named_and_imported(run_dir: Path) -> None:
    made = found(f"{ROOT}/examples/lnni.py:run_level", "--trace", folder=run_dir)
    assert [each["name"] for each in made["modules"]] == ["lnni_job", "networks"]
    assert f"rich=={metadata.version('rich')}" in made["requirements"]
    imported = {each["name"]: each for each in made["trace"]["imported"]}
    assert imported["your modules"]["modules"] == 2
    assert imported["numpy"]["time_s"] > 0.001
    assert imported["numpy"]["during"] == "the function"
    assert any("numpy" in each["path"] for each in made["trace"]["libraries"])
    assert made["trace"]["built"] == []


SCRIPT = """
import package
from parsl_context import context, context_app

@context
def first(path):
    with open(path) as file:
        return file.read(), bytearray(b"x") * 50_000_000, package.text()

@context
def second(one, fails=False):
    import numpy
    print("building")
    if fails:
        raise ValueError("it is asked to")
    yield one
    print("cleaning up")

@context_app(context=second(first("data.txt")))
def app(made, x): import gone

@context_app(context=second(first("data.txt"), fails=True))
def broken(made): return 1

@context
def fatal():
    import os
    os._exit(3)
"""
PACKAGE = "from pathlib import Path\ndef text(): return Path(__file__).with_name('beside.txt').read_text()"


@pytest.fixture
def project(run_dir: Path) -> Path:
    (run_dir / "script.py").write_text(SCRIPT)
    (run_dir / "package").mkdir()
    (run_dir / "package" / "__init__.py").write_text(PACKAGE)
    (run_dir / "package" / "beside.txt").write_text("12345")
    (run_dir / "data.txt").write_text("123")
    return run_dir


def test_a_trace_builds_contexts_as_a_worker_does(project: Path) -> None:
    """From what travels: not from what lies beside the script."""
    made = found("script.py:app", "--trace", folder=project)["trace"]
    assert [each["name"] for each in made["built"]] == ["first('data.txt')", "second(first('data.txt'))"]
    assert 40_000_000 < made["built"][0]["memory_bytes"] < 100_000_000
    opened = {Path(each["path"]).name: each for each in made["opened"]}
    assert opened["data.txt"]["size_bytes"] == 3
    assert opened["data.txt"]["during"] == "first('data.txt')"
    assert opened["beside.txt"]["path"] == str(project / "package" / "beside.txt")
    during = {each["name"]: each["during"] for each in made["imported"]}
    assert during["your modules"] == "first('data.txt')"
    assert during["numpy"] == "second(first('data.txt'))"


def test_what_a_context_prints_is_no_output_of_the_command(project: Path) -> None:
    done = run("script.py:app", "--trace", folder=project)
    assert done.returncode == 0, done.stderr
    assert "building" not in done.stdout
    assert "building" in done.stderr
    assert "cleaning up" in done.stderr
    assert "gone" in done.stdout
    for title in ("A worker would lack", "Built in a fresh process", "Imported, beyond what each worker has", "Opened"):
        assert title in done.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "broken",
            "Context second(first('data.txt'), fails=True) could not be built in a fresh process: ValueError: it is "
            "asked to.",
        ),
        ("fatal", "The fresh process died (exit status 3)."),
    ],
)
def test_a_context_that_cannot_be_built_is_an_error(project: Path, name: str, told: str) -> None:
    done = run(f"script.py:{name}", "--trace", folder=project)
    assert done.returncode == 1
    assert told in done.stderr.replace("\n", " ")
    assert name in done.stdout  # what it needs is shown all the same


def test_what_cannot_be_sent_is_an_error(project: Path) -> None:
    (project / "script.py").write_text("LINES = (each for each in [])\ndef f(): return LINES")
    made = found("script.py:f", "--trace", folder=project, status=1)
    (error,) = made["trace"]["errors"]
    assert error.startswith("The global 'LINES', of type generator, cannot be serialized")


def test_a_context_function_that_takes_arguments_is_imported_only(project: Path) -> None:
    done = run("script.py:second", "--trace", "--json", folder=project)
    assert done.returncode == 0, done.stderr
    assert "second takes arguments, so it is not built" in done.stderr
    made = json.loads(done.stdout)["trace"]
    assert made["built"] == []
    assert "numpy" in {each["name"] for each in made["imported"]}


SLOW = """
import time
from parsl import python_app


@python_app(executors=["a"])
def infer(x):
    \"\"\"Infer.\"\"\"
    import numpy as np

    if x is None:
        raise ValueError("none")
    # The table.
    table = np.linspace(0.0, 1.0, 200_000)
    total = np.sort(table)[::2].sum()
    print("called")
    return float(total) + x
"""
WRITTEN = """
import time
from parsl import python_app
from parsl_context import context, context_app


@context_app(executors=["a"])
def infer(x):
    \"\"\"Infer.\"\"\"
    with context:
        import numpy as np
        # The table.
        table = np.linspace(0.0, 1.0, 200_000)
        total = np.sort(table)[::2].sum()

    if x is None:
        raise ValueError("none")
    print("called")
    return float(total) + x
"""


def test_a_call_tells_what_a_context_saves(run_dir: Path) -> None:
    (run_dir / "slow.py").write_text(SLOW)
    made = found("slow.py:infer", "--run", "infer(3)", folder=run_dir)
    assert [each["place"] for each in made["statements"]] == ["both", "body", "context", "context", "body", "body"]
    first, *_ = made["statements"]
    assert first["first_s"] > 10 * first["later_s"]  # it is imported once
    assert made["savings"]["shared_s"] > 0.5 * made["savings"]["call_s"]
    done = run("slow.py:infer", "--run", "infer(3)", folder=run_dir)
    assert done.returncode == 0, done.stderr
    assert "is set-up that may be shared: with a" in done.stdout
    assert "\ncalled" not in done.stdout
    assert done.stderr == "called\n" * 3


def test_a_split_is_written_into_the_file(run_dir: Path) -> None:
    path = run_dir / "slow.py"
    path.write_text(SLOW)
    path.chmod(0o740)
    done = run("slow.py:infer", "--apply", folder=run_dir)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == WRITTEN
    assert path.stat().st_mode & 0o777 == 0o740
    assert [each.name for each in run_dir.iterdir() if each.suffix == ".py"] == ["slow.py"]
    assert "+    with context:\n+        import numpy as np\n" in done.stdout
    assert done.stderr.startswith("Note: Line 11, a guard, ran before line 15: ")
    assert done.stderr.endswith("slow.py is written.\n")
    again = run("slow.py:infer", "--apply", folder=run_dir)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "infer is split already: it has a `with context:` block.\n"


def test_the_diff_is_a_patch(run_dir: Path) -> None:
    (run_dir / "slow.py").write_bytes(SLOW.replace("\n", "\r\n").encode())
    command = [sys.executable, Path(sysconfig.get_path("scripts"), "parsl-context"), "discover", "slow.py:infer"]
    diff = subprocess.run([*command, "--apply", "--diff"], cwd=run_dir, capture_output=True, timeout=100).stdout
    subprocess.run(["git", "apply", "-p0", "--unsafe-paths", "-"], cwd=run_dir, input=diff, check=True, timeout=100)
    assert (run_dir / "slow.py").read_bytes() == WRITTEN.replace("\n", "\r\n").encode()


def test_a_read_only_file_stays(run_dir: Path) -> None:
    path = run_dir / "slow.py"
    path.write_text(SLOW)
    path.chmod(0o444)
    done = run("slow.py:infer", "--apply", folder=run_dir)
    assert (done.returncode, done.stdout) == (1, "")
    assert "slow.py is read-only, and stays as it is. --apply --diff shows what would be written." in done.stderr
    assert path.read_text() == SLOW
