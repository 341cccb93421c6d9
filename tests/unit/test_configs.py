"""What the configurations that are shipped say, each of them: people copy one and read no other."""

import ast
import re
import runpy
from pathlib import Path

import parsl
import pytest
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))
SHIPPED = [path for path in CONFIGS if path.stem not in ("quiet_logging",)]  # which is about logging alone
ON_CLUSTERS = [path for path in SHIPPED if "LocalProvider" not in path.read_text()]
SITES = [path for path in SHIPPED if path.stem in ("frontier", "perlmutter", "polaris", "aurora")]


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def executor_of(path):
    (executor,) = runpy.run_path(str(path))["config"].executors
    return executor


def comment_before(path, pattern):
    """The comment above the first line that matches, or beside it."""
    lines = path.read_text().splitlines()
    (index, *_) = [i for i, line in enumerate(lines) if re.match(rf"\s*{pattern}", line)]
    first = index
    while lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(line.strip("# ") for line in lines[first:index])


def test_all_are_looked_at():
    assert {path.stem for path in SHIPPED} >= {"local", "slurm", "slurm_gpu", "slurm_many_nodes", "pbs", "aurora"}
    assert len(SITES) == 4


@each(SHIPPED)
def test_it_chooses_a_level_and_says_why(path):
    assert executor_of(path).reuse in ("memory", "node")
    assert comment_before(path, "reuse=")


@each(ON_CLUSTERS)
def test_it_says_where_copies_of_files_lie_and_why(path):
    executor = executor_of(path)
    assert executor.node_store or "PARSL_CONTEXT_STORE=" in executor.provider.worker_init
    assert re.search(r"\bdisk\b|\bNVMe\b|\bSSD\b", comment_before(path, "worker_init="))


@each(ON_CLUSTERS)
def test_it_names_the_folder_for_temporary_files(path):
    assert "export TMPDIR=" in executor_of(path).provider.worker_init


@each(SHIPPED)
def test_it_says_how_to_have_monitoring(path):
    text = path.read_text()
    assert "monitoring=" in text
    code = re.search(r"# (monitoring=parsl\.MonitoringHub\(.*\)),?", text)
    assert isinstance(eval(code[1].partition("=")[2], {"parsl": parsl}), parsl.MonitoringHub)


@each([path for path in ON_CLUSTERS if isinstance(executor_of(path).provider, SlurmProvider)])
def test_the_manager_of_a_node_may_use_all_cores_that_the_job_has(path):
    provider = executor_of(path).provider
    assert provider.cores_per_node
    assert isinstance(provider.launcher, SrunLauncher)
    assert f"--cpus-per-task={provider.cores_per_node}" in provider.launcher.overrides


@each(ON_CLUSTERS)
def test_it_says_what_to_edit_and_how_to_try_it(path):
    head = " ".join(ast.get_docstring(ast.parse(path.read_text())).split())
    assert "in capitals are yours to fill in" in head
    assert f"parsl-context check {path.name} --submit" in head


@each(SITES)
def test_what_was_not_seen_on_the_machine_is_marked_one_by_one(path):
    text = path.read_text()
    assert "(?)" in ast.get_docstring(ast.parse(text)), "what the mark means"
    values = re.findall(r"/mnt/bb|/local/scratch|hsn0|place=|partition=\"batch|constraint=|qos=\"|queue=\"\w", text)
    lines = text.splitlines()
    for value in dict.fromkeys(values):
        index = next(i for i, line in enumerate(lines) if value in line)
        near = " ".join(lines[max(0, index - 6) : index + 2])
        assert "(?)" in near, f"{value} in line {index + 1}"
