"""The example of neural network inferences on nodes of Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import BIN

EXAMPLE = Path(__file__).parents[2] / "examples" / "lnni.py"


@pytest.mark.library("onnxruntime", "magika")
def test_a_context_is_built_once_on_each_node(slurm: Cluster, run_dir: Path) -> None:
    options = ["--nodes", "2", "--workers", "1", "--calls", "12", "--levels", "memory", "--output", run_dir]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, EXAMPLE, *options], env=environment, check=True, capture_output=True, timeout=50)
    (level,) = json.loads((run_dir / "lnni.json").read_text())["levels"]
    assert level["contexts_built"] == 2
