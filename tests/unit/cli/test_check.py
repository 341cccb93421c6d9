"""`parsl-context check`: mistakes planted into configurations are found, and nothing in those that are shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parsl_context.cli.main import main

CONFIGS = Path(__file__).parents[3] / "configs"
SLURM = (CONFIGS / "slurm.py").read_text()


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Stands for the user's."""
    activate = tmp_path / "environment" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    return activate.parents[1]


def filled(text: str, environment: Path) -> str:
    """A configuration as a user would fill it in."""
    return re.sub(r"YOUR_\w+", "physics", text.replace("YOUR_ENVIRONMENT", str(environment)))


def checked(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    path = tmp_path / "site.py"
    path.write_text(text)
    status = main(["check", str(path), *options])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.py"))


@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_is_wrong_with_what_is_shipped_once_it_is_filled_in(
    name: str, environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CONFIGS / f"{name}.py").read_text()
    status, said = checked(filled(text, environment), tmp_path, capsys)
    assert status == 0
    assert re.fullmatch(r"\w+: nothing is found to be wrong\n", said)


LAUNCHERS = "MpiExecLauncher, SingleNodeLauncher, SrunLauncher"
MISTAKES = [
    # of the file for Slurm: what is replaced, by what, what is said, and whether it cannot work so
    ('account="physics"', 'account="<YOUR ACCOUNT>"', "provider.account still holds", True),
    ('walltime="02:00:00"', 'walltime="2h"', "walltime='2h' is no time", True),
    ('walltime="02:00:00"', 'walltime="00:01:30"', "Blocks live for 90 s", False),
    ("SrunLauncher(overrides", "SingleNodeLauncher(debug", "starts workers on the first alone", True),
    ("init_blocks=1", "init_blocks=5", "must not exceed max_blocks=4", True),
    ("cores_per_node=32", "cores_per_node=16", "do not fit into cores_per_node=16: 16 will be started", False),
    ("max_workers_per_node=32", "available_accelerators=4", "the job asks for none", False),
    ("max_workers_per_node=32", 'available_accelerators=["0", "0"]', "the job asks for none", False),
    ("exclusive=True", "gpus_per_node=4", "available_accelerators is not set", False),
    ("exclusive=True", 'scheduler_options="#SBATCH --gres=gpu:2"', "available_accelerators is not set", False),
    ("max_workers_per_node=32", 'max_workers_per_node=4, address="127.0.0.1"', "cannot be reached", True),
    ("exclusive=True", 'scheduler_options="--constraint=a100"', "would run as a command", True),
    ("exclusive=True", 'scheduler_options="#PBS -l gpus=4"', "is for another batch system", True),
    ("/bin/activate", "/bin/activte", "which is not here", True),
    ("max_workers_per_node=32", "drain_period=7200", "is not over before the walltime", True),
    ("max_workers_per_node=32", "heartbeat_period=120", "is not longer than", True),
    ('walltime="02:00:00"', 'walltime="30"', "is minutes to Slurm and seconds to PBS", True),
    ('walltime="02:00:00"', 'walltime="02:00"', "is minutes and seconds", False),
    ("exclusive=True", 'scheduler_options="#SBATCH --time=00:10:00"', "is to be left to walltime", True),
    ("exclusive=True", 'scheduler_options="#SBATCH -N 8"', "is to be left to nodes_per_block", True),
    ("exclusive=True", 'scheduler_options="#SBATCH --output=x"', "is to be left to the provider", True),
    ("exclusive=True", 'scheduler_options="#SBATCH \u2013\u2013constraint=a100"', "as copied from a page", True),
    ("export TMPDIR=/tmp", "module load cuda\\r", "line ends of Windows", True),
    ("SrunLauncher(overrides", "MpiExecLauncher(overrides", "works with PBS alone", True),
    ('overrides="--cpus-per-task=32"', "", "of which srun may give a manager one", False),
    ('overrides="--cpus-per-task=32"', 'overrides="-c 1"', "srun is told '-c 1'", False),
    ("exclusive=True", "mem_per_node=256000", "would be 256 TB. It counts in GB", True),
    ("max_workers_per_node=32", 'available_accelerators=["cuda:0"]', "which drivers do not know", True),
    ("max_workers_per_node=32", "max_workers_per_node=100, cores_per_worker=0.5", "needs a core for each of 64", True),
    ('cpu_affinity="block"', 'cpu_affinity="list:0-7:8-15"', "names cores for 2 workers, and 32 are started", True),
    ("max_workers_per_node=32", 'max_workers_per_node=32, node_store=["store"]', "which is no absolute path", True),
    ("max_workers_per_node=32", 'max_workers_per_node=32, node_store=["~/store"]', "on a shared file system", False),
    ("max_workers_per_node=32", 'max_workers_per_node=4, address="0.0.0.0"', "cannot be reached", True),
    ("max_workers_per_node=32", 'max_workers_per_node=4, environment="env.tar.zst"', "env.tar.zst' is not here", True),
    ("retries=2", 'retries=2, run_dir="/tmp/runs"', "is on a disk of this machine", False),
    ("retries=2", 'retries=2, run_dir="my runs"', "holds ' '", True),
    ("nodes_per_block=2", "nodes_per_block=0", "no block will ever have a node", True),
    ("max_blocks=4", "max_blocks=0", "no block will ever have a node", True),
    ("source PLACE/bin/activate", "conda activate science", "conda may not know how", False),
]


@pytest.mark.parametrize(("old", "new", "says", "is_error"), MISTAKES)
def test_a_mistake_is_found(
    old: str,
    new: str,
    says: str,
    is_error: bool,
    environment: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = filled(SLURM, environment).replace("import SrunLauncher", f"import {LAUNCHERS}")
    old = old.replace("PLACE", str(environment))
    assert old in text
    status, said = checked(text.replace(old, new), tmp_path, capsys)
    assert says in said
    assert status == int(is_error)
    assert ("slurm: error " if is_error else "slurm: perhaps ") in said


@pytest.mark.parametrize(
    ("changes", "says", "is_error"),
    [
        (
            [("exclusive=True", "gpus_per_node=4"), ("max_workers_per_node=32", 'available_accelerators=["0", "0"]')],
            "asks for 4 GPUs of a node, and workers use 1: the others lie idle",
            False,
        ),
        (
            [("exclusive=True", "gpus_per_node=2"), ("max_workers_per_node=32", 'available_accelerators=["1", "2"]')],
            "available_accelerators names 2, and the job's 2 GPUs are 0 to 1",
            True,
        ),
        (
            [("exclusive=True", "mem_per_node=64"), ("workers_per_node=32", "workers_per_node=32, mem_per_worker=4.0")],
            "do not fit into mem_per_node=64 GB: 16 will be started",
            False,
        ),
        (
            [
                ("exclusive=True", "mem_per_node=64"),
                ("workers_per_node=32", "workers_per_node=32, context_memory_gb=100"),
            ],
            "is more than mem_per_node=64 GB",
            True,
        ),
        (
            [("exclusive=True", "exclusive=False"), ("cores_per_node=32", "cores_per_node=None")],
            "jobs get one core",
            True,
        ),
        (
            [('strategy="htex_auto_scale"', 'strategy="none"'), ("init_blocks=1", "init_blocks=0")],
            "no block will ever",
            True,
        ),
        (
            [
                ('strategy="htex_auto_scale"', 'strategy="none"'),
                ("max_workers_per_node=32", "max_workers_per_node=32, overlap_blocks=1"),
            ],
            "overlap_blocks does nothing",
            True,
        ),
    ],
)
def test_what_several_options_come_to_is_found(
    changes: list[tuple[str, str]],
    says: str,
    is_error: bool,
    environment: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = filled(SLURM, environment)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    status, said = checked(text, tmp_path, capsys)
    assert status == int(is_error)
    assert says in said


@pytest.mark.parametrize(
    "before", ['eval "$(conda shell.bash hook)"', "source ~/miniconda3/etc/profile.d/conda.sh", "module load conda"]
)
def test_conda_is_not_found_fault_with_where_it_is_set_up(
    before: str, environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    activate = f"source {environment}/bin/activate"
    text = filled(SLURM, environment).replace(activate, f"{before}\nconda activate science")
    _, said = checked(text, tmp_path, capsys)
    assert "conda may not know how" not in said


@pytest.mark.parametrize(
    ("option", "argument"),
    [("-l walltime=01:00:00", "walltime"), ("-l select=4:ncpus=64", "nodes_per_block"), ("-o log", "the provider")],
)
def test_options_of_pbs_that_have_an_argument_are_found(
    option: str, argument: str, environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = filled((CONFIGS / "pbs.py").read_text(), environment)
    status, said = checked(
        text.replace("nodes_per_block=2", f'nodes_per_block=2, scheduler_options="#PBS {option}"'), tmp_path, capsys
    )
    assert status == 1
    assert f"is to be left to {argument}" in said


def test_the_script_is_that_which_a_block_would_be(
    environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = checked(filled(SLURM, environment), tmp_path, capsys, "--script")
    assert status == 0
    assert "#SBATCH --account=physics" in said
    assert "exec python3 -m parsl_context.pool" in said
    assert f"source {environment}/bin/activate" in said
    assert "--cert_dir=CERTIFICATES" in said or "--cert_dir CERTIFICATES" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "defines no parsl.Config named 'config'"),
        ("import parsl\na = parsl.Config()\nb = parsl.Config()", "It defines a, b: name one"),
        ("raise ValueError('no')", "ValueError"),
        (SLURM.replace("max_workers_per_node=", "max_workers="), "Perhaps max_workers_per_node"),
        (SLURM.replace("nodes_per_block=", "nodes_per_blocks="), "Perhaps nodes_per_block is meant"),
    ],
)
def test_a_file_without_a_configuration_is_told_so(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = checked(text, tmp_path, capsys)
    assert status in (1, 2)
    assert says in said
