"""A Slurm of four nodes to try things on: ``python -m tests.slurm up``, or ``make slurm-up``; then ``down``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.slurm.cluster import ACCOUNTING_PACKAGES, PACKAGES, Cluster, end_daemons, missing_programs, search_path

_KEEPERS = "keepers.json"  # what runs: process ids and their times of start


def main() -> int:
    """Start or stop the cluster. Gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm", description=__doc__)
    parser.add_argument("what", choices=["up", "down", "packages"], help="packages: what Debian and Ubuntu install")
    parser.add_argument("--accounting", action="store_true", help="with sacct, QOS and --clusters; needs MariaDB")
    chosen = parser.parse_args()
    if chosen.what == "packages":
        print(*PACKAGES, *ACCOUNTING_PACKAGES)
        return 0
    folder = Path(tempfile.gettempdir(), f"parsl-context-slurm-{os.getuid()}")
    return _up(folder, accounting=chosen.accounting) if chosen.what == "up" else _down(folder)


def _up(folder: Path, *, accounting: bool) -> int:
    if missing := missing_programs(accounting=accounting):
        packages = (*PACKAGES, *(ACCOUNTING_PACKAGES if accounting else ()))
        print(f"Not installed: {', '.join(missing)}. On Debian and Ubuntu: apt-get install {' '.join(packages)}")
        return 1
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        print(f"{folder} is there: a cluster runs, or was not stopped. make slurm-down")
        return 1
    cluster = Cluster(folder, accounting=accounting, is_bound=False)
    try:
        cluster.start()
    except BaseException:
        cluster.stop()
        shutil.rmtree(folder)
        raise
    running = [(keeper.pid, keeper.create_time()) for keeper in cluster.keepers.values()]
    (folder / _KEEPERS).write_text(json.dumps(running))
    print(
        f"A Slurm of {len(cluster.layout.nodes)} nodes is up. In each shell that is to use it:\n\n"
        f"    export SLURM_CONF={cluster.layout.slurm_conf}\n\n"
        "Then sinfo, sbatch, srun -N4 printenv SLURMD_NODENAME, or Parsl with\n\n"
        '    SlurmProvider(partition="main", nodes_per_block=2, launcher=SrunLauncher(),\n'
        f'                  worker_init="export PATH={os.path.dirname(sys.executable)}:$PATH")\n\n'
        'and ContextExecutor(address="127.0.0.1"). Other partitions: urgent, spare, again. '
        "make slurm-down ends it."
    )
    return 0


def _down(folder: Path) -> int:
    if not folder.is_dir() or folder.stat().st_uid != os.getuid():
        print("No cluster of yours is up.")
        return 1
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": search_path()}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["scancel", "--me"], env=environment, timeout=10, check=False)
    keepers = []
    with contextlib.suppress(FileNotFoundError):
        for pid, started in json.loads((folder / _KEEPERS).read_text()):
            with contextlib.suppress(psutil.NoSuchProcess):
                if (keeper := psutil.Process(pid)).create_time() == started:
                    keepers.append(keeper)
    end_daemons(keepers)
    shutil.rmtree(folder)
    print("The cluster is down.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
