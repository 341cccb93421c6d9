"""What Slurm's daemons read: texts made of a cluster's names, folders and ports. Nothing is written here.

Nodes are emulated: each is a slurmd of its own on this machine, with a port and a spool folder of its own. They claim
more cores and memory than there may be; nobody holds them to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CORES = 4
MEMORY_MB = 4000
GPUS = 4  # each is /dev/null by another name: Slurm hands them out, and tells jobs by variables which they have


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a cluster lives. A path of a Unix socket holds 107 bytes: the folder's must be short."""

    folder: Path
    cluster: str
    nodes: tuple[str, ...]
    host: str  # name of this machine
    user: str  # who runs the daemons
    port: int  # of slurmctld; those of the nodes follow it, and that of slurmdbd comes last
    has_accounting: bool

    @property
    def munge_socket(self) -> Path:
        return self.folder / "munge" / "socket"

    @property
    def database_socket(self) -> Path:
        return self.folder / "database.socket"

    @property
    def slurm_conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def devices(self) -> Path:
        """Where the GPUs are."""
        return self.folder / "devices"

    @property
    def ports(self) -> int:
        """How many there are."""
        return len(self.nodes) + 2


def slurm_conf(at: Layout) -> str:
    """The text of slurm.conf."""
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={at.host} NodeAddr=127.0.0.1 Port={at.port + 1 + number} "
        f"CPUs={CORES} CoresPerSocket={CORES} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} "
        "Feature=gpu,nvme"
        for number, name in enumerate(at.nodes)
    )
    return f"""\
ClusterName={at.cluster}
SlurmctldHost={at.host}(127.0.0.1)
SlurmctldPort={at.port}
SlurmUser={at.user}
SlurmdUser={at.user}
CommunicationParameters=NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
# A job that is queued again after its node was lost waits for its old credential to expire: two minutes by default.
AuthInfo=socket={at.munge_socket},cred_expire=10

StateSaveLocation={at.folder}/state
SlurmdSpoolDir={at.folder}/spool.%n
SlurmctldPidFile={at.folder}/slurmctld.pid
SlurmdPidFile={at.folder}/slurmd.%n.pid
PlugStackConfig={at.folder}/plugstack.conf

# Processes of a job are found by descent, and not bound to cores: this machine's are not ours to give.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides

GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU={MEMORY_MB // CORES}
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0

# A node counts as lost after 15 s without a word; a job has 10 s between TERM and KILL (30 s if one does not say).
SlurmdTimeout=15
SlurmctldTimeout=15
ReturnToService=2
KillWait=10
# Jobs that are over are remembered for five minutes, so that tests may ask what became of them.
MinJobAge=300

PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1

{_accounting(at)}
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=urgent Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
# Jobs of these give way to those above, after five seconds of grace: for good, or to be queued again.
PartitionName=spare Nodes=ALL State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=5
PartitionName=again Nodes=ALL State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
"""


def gres_conf(at: Layout) -> str:
    """The text of gres.conf."""
    return f"Name=gpu File={at.devices}/gpu[0-{GPUS - 1}] Flags=nvidia_gpu_env\n"


def _accounting(at: Layout) -> str:
    if not at.has_accounting:
        return "AccountingStorageType=accounting_storage/none\n"
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={at.port + at.ports - 1}
AccountingStoragePass={at.munge_socket}
AccountingStorageEnforce=associations,qos
"""


def slurmdbd_conf(at: Layout) -> str:
    """The text of slurmdbd.conf, which Slurm wants to be readable by its user alone."""
    return f"""\
AuthType=auth/munge
AuthInfo=socket={at.munge_socket}
DbdHost={at.host}
DbdAddr=127.0.0.1
DbdPort={at.port + at.ports - 1}
SlurmUser={at.user}
PidFile={at.folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={at.user}
StorageLoc=accounting
"""
