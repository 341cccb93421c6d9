"""The layers that `make check` enforces: pyproject.toml names them, import-linter reads them."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("planted", "line", "broken"),
    [
        ("wire/codec.py", "import parsl_context.apps.options", "from top to bottom"),
        ("retain/calls.py", "import parsl_context.pool.settings", "from top to bottom"),
        ("scheduling/node/room.py", "import parsl_context.scheduling.cluster.events", "do not know each other"),
        ("scheduling/cluster/views.py", "import time", "no input or output"),
    ],
)
def test_an_import_that_points_upwards_is_refused(tmp_path, planted, line, broken):
    shutil.copytree(ROOT / "parsl_context", tmp_path / "parsl_context", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert "0 broken" in lint(tmp_path)
    with (tmp_path / "parsl_context" / planted).open("a") as file:
        file.write(f"\n{line}\n")
    report = lint(tmp_path)
    assert "1 broken" in report
    assert any(broken in row and "BROKEN" in row for row in report.splitlines())


def lint(folder: pathlib.Path) -> str:
    command = [str(pathlib.Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout
