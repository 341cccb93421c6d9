"""Configurations that how-to guides show, on a real Slurm: fitted to it, they do what the guides say."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import parsl
import pytest

from parsl_context import context, context_app
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import BIN

CODE = Path(__file__).parents[2] / "docs" / "code" / "slurm"


@context
def here() -> tuple[str, str, str]:
    """Python, namespace of mounts and folder of the node's store."""
    return sys.prefix, os.readlink("/proc/self/ns/mnt"), os.environ.get("PARSL_CONTEXT_STORE", "")


@context_app(context=here())
def look(here: tuple[str, str, str]) -> tuple[str, str, str]:
    return here


@pytest.fixture
def runs(slurm: Cluster, run_dir: Path) -> Iterator[Callable[..., tuple[str, str, str]]]:
    """Runs a call with a configuration of the guides, in which some texts are replaced."""
    kernels = []

    def run(name: str, *fitted: tuple[str, str]) -> tuple[str, str, str]:
        text = (CODE / name).read_text()
        for old, new in (*fitted, (r"YOUR_PARTITION", "main"), (r"YOUR_\w+", "physics")):
            text, count = re.subn(old, new, text)
            assert count or old.startswith("YOUR_"), old
        (run_dir / name).write_text(text)
        config = runpy.run_path(str(run_dir / name))["config"]
        config.run_dir, config.usage_tracking, config.strategy = str(run_dir), 0, "none"
        kernels.append(parsl.load(config))
        found: tuple[str, str, str] = look().result(timeout=50)
        return found

    yield run
    for kernel in kernels:
        kernel.cleanup()
    parsl.clear()


@pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--map-current-user", "--mount", "true"], check=False).returncode != 0,
    reason="namespaces cannot be made here",
)
def test_managers_and_workers_run_in_a_container(runs: Callable[..., tuple[str, str, str]]) -> None:
    """There is no Apptainer here; but what it makes, a namespace with mounts of its own."""
    _, mounts, _ = runs(
        "container.py",
        (r"apptainer exec.*\.sif", "unshare --user --map-current-user --mount"),
        ("module load apptainer", f"export PATH={BIN}:$PATH"),
        ("nodes_per_block=2", "nodes_per_block=1"),
    )
    assert mounts != os.readlink("/proc/self/ns/mnt")


def test_an_environment_is_copied_to_nodes(runs: Callable[..., tuple[str, str, str]], run_dir: Path) -> None:
    packed = run_dir / "packed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", packed], check=True)
    (site,) = packed.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"))
    for path in Path(sysconfig.get_path("purelib")).glob("__editable__*"):
        shutil.copy(path, site)
    with tarfile.open(run_dir / "environment.tar.gz", "w:gz") as archive:
        archive.add(packed, arcname=".")
    disk = run_dir / "nvme"
    disk.mkdir()
    prefix, _, store = runs(
        "sbcast.py", (r"/mnt/bb/\$USER", str(disk)), (r"YOUR_ENVIRONMENT", str(run_dir / "environment"))
    )
    assert prefix == str(disk / "environment")
    assert store == str(disk / "parsl-context")


def test_blocks_that_follow_each_other_run_calls(runs: Callable[..., tuple[str, str, str]]) -> None:
    prefix, *_ = runs("walltime.py", (r"YOUR_ENVIRONMENT", str(BIN.parent)))
    assert prefix == str(BIN.parent)
