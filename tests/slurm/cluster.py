"""A Slurm of four nodes on this machine, for tests and for trying things out.

    Cluster ─┬─ keeper ─ munged           it needs no rights, no service and nothing in /etc: each daemon is a
             ├─ keeper ─ slurmctld        child that runs in the foreground, and all files lie in one folder
             ├─ keeper ─ slurmd n1 ─ jobs
             ├─ ...
             └─ keeper ─ mariadbd, slurmdbd          with accounting

On Debian and Ubuntu, `PACKAGES` and `ACCOUNTING_PACKAGES` are what it needs.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.slurm.conf import GPUS, Layout, gres_conf, slurm_conf, slurmdbd_conf

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "slurm-wlm-torque")
ACCOUNTING_PACKAGES = ("slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server")
NODES = ("n1", "n2", "n3", "n4")

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "qsub")
_ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
_KEEPER = Path(__file__).with_name("keeper.py")
_UP_WITHIN_S = 60.0
_DOWN_WITHIN_S = 10.0
# Above KillWait of slurm.conf, after which jobs that heed no TERM are killed. [s]
_JOBS_END_WITHIN_S = 15.0


def search_path() -> str:
    """PATH with the folders of daemons, which people's often lacks."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def missing_programs(*, accounting: bool = False) -> list[str]:
    """What is not installed of what a cluster needs."""
    wanted = _PROGRAMS + (_ACCOUNTING_PROGRAMS if accounting else ())
    return [name for name in wanted if shutil.which(name, path=search_path()) is None]


class Cluster:
    """A Slurm cluster.

    Parameters
    ----------
    folder
        For everything that it writes; made if it is not there. Its path should be short.
    accounting
        Whether sacct, QOS and ``--clusters`` work: takes a database, and some seconds more to start.
    is_bound
        Whether the cluster ends with this process, however that ends.
    """

    def __init__(self, folder: Path, *, accounting: bool = False, is_bound: bool = True) -> None:
        ports = len(NODES) + 2
        self.layout = Layout(
            folder=folder.resolve(),
            cluster="emulated",
            nodes=NODES,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            port=_free_ports(ports),
            has_accounting=accounting,
        )
        self.environment = {"SLURM_CONF": str(self.layout.slurm_conf)}  # what makes commands speak to this cluster
        self.keepers: dict[str, psutil.Popen] = {}  # by daemon or node, in the order of their start
        self._is_bound = is_bound
        assert self.layout.ports == ports

    # --- life

    def start(self) -> None:
        """Start all daemons, and wait until every node is ready.

        Raises
        ------
        RuntimeError
            If a daemon ends, or it takes too long. With the end of the log.
        """
        at = self.layout
        for name in ("munge", "state", "log", "devices"):
            (at.folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(GPUS):
            device = at.devices / f"gpu{number}"
            device.unlink(missing_ok=True)
            device.symlink_to("/dev/null")
        at.slurm_conf.write_text(slurm_conf(at))
        # slurmd ends without such a file, and with this one leaves control groups alone.
        (at.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (at.folder / "gres.conf").write_text(gres_conf(at))
        (at.folder / "plugstack.conf").touch()
        self._start_munge()
        if at.has_accounting:
            self._start_accounting()
        self._keep("slurmctld", "slurmctld", "-D", "-c", "-f", str(at.slurm_conf))
        for node in at.nodes:
            self.start_node(node)
        self.wait_for(lambda: self.idle_nodes() == list(at.nodes), "every node is idle", _UP_WITHIN_S)

    def stop(self) -> None:
        """End all jobs, and then all daemons."""
        with contextlib.suppress(RuntimeError):
            self.end_jobs()
        end_daemons(self.keepers.values())
        self.keepers.clear()

    def start_node(self, node: str) -> None:
        """Start a node, or start it again."""
        self._keep(node, "slurmd", "-D", "-N", node, "-f", str(self.layout.slurm_conf))

    def kill_node(self, node: str) -> None:
        """The power of a node is cut: whatever runs there is gone at once, and says nothing."""
        keeper = self.keepers.pop(node)
        _kill_tree(keeper)

    def processes(self, node: str) -> list[psutil.Process]:
        """What runs on a node, its keeper excepted."""
        return _living(self.keepers[node])

    # --- commands

    def run(self, *command: Any) -> str:
        """What a command prints.

        Raises
        ------
        RuntimeError
            If it fails.
        """
        words = [str(word) for word in command]
        environment = {**os.environ, **self.environment, "PATH": search_path()}
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode != 0:
            raise RuntimeError(f"{' '.join(words)} exited with {ran.returncode}: {ran.stderr.strip()}")
        return ran.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit a job that runs a line of shell. Gives its id."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}")

    def state(self, job: str) -> str:
        """The state of a job, which may be over."""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def jobs(self) -> list[str]:
        """Jobs that are not over."""
        return self.run("squeue", "--noheader", "--format=%A").split()

    def idle_nodes(self) -> list[str]:
        """Nodes that could take a job now."""
        try:
            listed = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--states=idle", "--format=%N")
        except RuntimeError:  # slurmctld is not there yet
            return []
        return sorted(set(listed.split()))

    def end_jobs(self) -> None:
        """Cancel all jobs, and wait until they are gone."""
        if jobs := self.jobs():
            self.run("scancel", *jobs)
            self.wait_for(lambda: not self.jobs(), "all jobs are over", _JOBS_END_WITHIN_S)

    def wait_for(self, condition: Callable[[], Any], what: str, within_s: float) -> None:
        """Wait until a condition holds.

        Raises
        ------
        RuntimeError
            If a daemon ends meanwhile, or it takes too long.
        """
        deadline = time.monotonic() + within_s
        while not condition():
            if ended := [name for name, keeper in self.keepers.items() if keeper.poll() is not None]:
                raise RuntimeError(f"{', '.join(ended)} ended.\n{self._ends_of_logs(ended)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Waited {within_s:g} s until {what}, in vain.\n{self._ends_of_logs(self.keepers)}")
            time.sleep(0.05)

    # --- daemons

    def _start_munge(self) -> None:
        folder = self.layout.munge_socket.parent
        folder.chmod(0o711)
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"key-file": key, "socket": self.layout.munge_socket, "pid-file": folder / "pid"}
        files["seed-file"] = folder / "seed"
        self._keep("munged", "munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in files.items()))
        self.wait_for(self.layout.munge_socket.exists, "munged listens", _UP_WITHIN_S)

    def _start_accounting(self) -> None:
        at = self.layout
        data = f"--datadir={at.folder / 'database'}"
        self.run("mariadb-install-db", "--no-defaults", f"--user={at.user}", data)
        # Nobody but who may enter the folder can reach it, so that it needs no passwords.
        small = ("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0")
        options = ("--no-defaults", f"--user={at.user}", data, f"--socket={at.database_socket}", *small)
        self._keep("mariadbd", "mariadbd", *options, "--skip-networking", "--skip-grant-tables")
        self.wait_for(at.database_socket.exists, "the database listens", _UP_WITHIN_S)
        conf = at.folder / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(slurmdbd_conf(at))
        self._keep("slurmdbd", "slurmdbd", "-D")
        self.wait_for(lambda: self._account("list", "cluster"), "slurmdbd answers", _UP_WITHIN_S)
        self._account("add", "cluster", at.cluster)
        self._account("add", "account", "science")
        self._account("add", "qos", "night")
        self._account("add", "user", at.user, "account=science")
        self._account("modify", "cluster", at.cluster, "set", "qos=normal,night")

    def _account(self, *words: str) -> bool:
        try:
            self.run("sacctmgr", "--immediate", *words)
        except RuntimeError as error:
            return "Nothing new added" in str(error)
        return True

    def _keep(self, name: str, *command: str) -> None:
        environment = {**os.environ, **self.environment, "PATH": search_path()}
        environment["MYSQL_UNIX_PORT"] = str(self.layout.database_socket)
        bound = ["--bound"] if self._is_bound else []
        with open(self._log(name), "ab") as log:
            self.keepers[name] = psutil.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), *bound, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.layout.folder,
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self.layout.folder / "log" / f"{name}.log"

    def _ends_of_logs(self, names: Iterable[str]) -> str:
        return "\n".join(f"--- {name}\n{self._log(name).read_text(errors='replace')[-1500:]}" for name in names)


def end_daemons(keepers: Iterable[psutil.Process]) -> None:
    """End daemons, those that were started last first."""
    for keeper in reversed(list(keepers)):
        keeper.terminate()
        try:
            keeper.wait(_DOWN_WITHIN_S)
        except psutil.TimeoutExpired:
            _kill_tree(keeper)


def _kill_tree(keeper: psutil.Process) -> None:
    """Kill a keeper and everything below it."""
    keeper.suspend()  # so that it stays, and adopts what loses its parent, until nothing is left
    while doomed := _living(keeper):
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    keeper.kill()
    keeper.wait()


def _living(keeper: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in keeper.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens at."""
    for first in range(27000, 32000, count):  # below those that systems give to outgoing connections
        if all(map(_is_free, range(first, first + count))):
            return first
    raise RuntimeError("There are not enough free ports in a row for a cluster.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def running(folder: Path, *, accounting: bool = False) -> Iterator[Cluster]:
    """A cluster that runs meanwhile."""
    cluster = Cluster(folder, accounting=accounting)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
